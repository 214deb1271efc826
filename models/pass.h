// One batch on its way through LibTorch: the dense parameters as leaf tensors, the rows of the
// tables, the random numbers of dropout, and the way back.
//
// A Pass lives for one call of a Model and belongs to the calling thread. It must outlive every
// tensor of its graph: the graph reads the batch, the caller's buffers and what Keep was given.
//
// Invariants: dense parameters are copied to storage that is aligned alike in every call, so that
// LibTorch sees the same addresses modulo 64 and gives the same bits whatever buffer the caller
// brings; row gradients are written by the nodes of models/rows.h straight into the caller's
// buffers, which the Pass has set to zero.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "models/batch.h"
#include "models/model.h"
#include "models/parameters.h"
#include "models/random.h"

namespace emporium::models {

class Pass {
 public:
  // With `random_seed` the pass trains: dropout is on and gradients are wanted.
  Pass(const ParameterList& parameters, const Batch& batch, const RowSet& rows,
       const DenseSet& dense, std::optional<uint64_t> random_seed);
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;

  bool training() const { return random_.has_value(); }
  const Batch& batch() const { return batch_; }
  const at::Tensor& dense(ParameterId id) const { return dense_[id.index]; }
  const TableRows& table(TableId id) const;
  Random& random() { return *random_; }

  // Keeps indices that were made for this batch until the pass ends.
  std::span<const int32_t> Keep(std::vector<int32_t> indices);

  // x with a share `rate` of its elements zeroed and the rest scaled up; x itself when scoring.
  at::Tensor Dropout(const at::Tensor& x, float rate);

  // Runs the graph backwards from `roots` with the gradients of the loss with respect to them, and
  // writes the dense gradients to the caller's buffer.
  void Backward(const std::vector<at::Tensor>& roots, const std::vector<at::Tensor>& gradients);

 private:
  const ParameterList& parameters_;
  const Batch& batch_;
  const RowSet& rows_;
  std::span<float> dense_gradient_;
  std::optional<Random> random_;
  std::vector<at::Tensor> dense_;
  std::deque<std::vector<int32_t>> kept_;
};

}  // namespace emporium::models
