// One batch on its way through LibTorch on a device: the dense parameters as leaf tensors, the rows
// of the tables, the random numbers of dropout, and the way back.
//
// A Pass lives for one call of a Model and belongs to the calling thread. It must outlive every
// tensor of its graph: the graph reads the batch, the caller's buffers and what Keep was given.
//
// Invariants: dense parameters are copied to storage that is aligned alike in every call, so that
// LibTorch sees the same addresses modulo 64 and gives the same bits whatever buffer the caller
// brings; on the CPU row gradients are written by the nodes of models/rows.h straight into the
// caller's buffers, which the Pass has set to zero. On a device with memory of its own they are
// copied there by Backward. Everything that a Pass hands out is of the device's memory, popularity
// and index arrays excepted.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/StreamGuard.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "models/batch.h"
#include "models/device.h"
#include "models/model.h"
#include "models/parameters.h"
#include "models/random.h"

namespace emporium::models {

class Pass {
 public:
  // With `random_seed` the pass trains: dropout is on and gradients are wanted.
  Pass(Device& device, const ParameterList& parameters, const Batch& batch, const RowSet& rows,
       const DenseSet& dense, std::optional<uint64_t> random_seed);
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;

  bool training() const { return random_.has_value(); }
  const Batch& batch() const { return batch_; }
  const at::Tensor& dense(ParameterId id) const { return dense_[id.index]; }
  const TableRows& table(TableId id) const;
  Random& random() { return *random_; }
  Device& device() const { return device_; }
  // Of new tensors: floats of the device.
  const at::TensorOptions& options() const { return options_; }

  // `host`, a contiguous tensor of floats of the CPU, on the device: itself where that is the CPU.
  at::Tensor ToDevice(const at::Tensor& host) const;
  // The other way.
  at::Tensor ToHost(const at::Tensor& tensor) const;

  // Keeps indices that were made for this batch until the pass ends.
  std::span<const int32_t> Keep(std::vector<int32_t> indices);

  // x with a share `rate` of its elements zeroed and the rest scaled up; x itself when scoring.
  at::Tensor Dropout(const at::Tensor& x, float rate);

  // Says what this batch shows of a statistic (ParameterList::AddStatistic), once at most; a
  // statistic of which nothing is said stays as it is. Training only.
  void Observe(ParameterId id, const at::Tensor& value);
  // The same for a statistic to which `value` is added, times the group's learning rate.
  void ObserveSum(ParameterId id, const at::Tensor& value);

  // Runs the graph backwards from `roots` with the gradients of the loss with respect to them, and
  // writes the dense gradients to the caller's buffer.
  void Backward(const std::vector<at::Tensor>& roots, const std::vector<at::Tensor>& gradients);

 private:
  void TakeDense(const DenseSet& dense);
  void TakeRows();

  Device& device_;
  const at::TensorOptions options_;
  std::optional<c10::StreamGuard> stream_;  // of a GPU, for the calling thread
  const ParameterList& parameters_;
  const Batch& batch_;
  const RowSet& given_;  // the caller's
  RowSet rows_;          // their copies on a device with memory of its own, else the same
  std::vector<at::Tensor> row_gradients_;  // of such a device
  std::span<float> dense_gradient_;
  std::optional<Random> random_;
  std::vector<at::Tensor> dense_;
  std::deque<std::vector<int32_t>> kept_;
};

}  // namespace emporium::models
