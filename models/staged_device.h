// A device with memory of its own: batches reach it through staging memory, and the row kernels are
// tasks (models/device_tasks.h) in its queue. What is special to a kind of device is a Backend:
// CUDA's is models/device_cuda.cc, and tests have one of the host's memory that runs the very same
// tasks, plans and copies without a GPU.
//
// Staging: an arena in pinned host memory and its twin on the device, laid out alike, so that any
// number of small arrays goes over in one copy. Between two Begins the arena only grows.
//
// A sum over the occurrences of a row is planned on the host (PlanScatter): one task element per
// distinct row and column adds its terms in the order in which the CPU would. So there are no
// atomic additions, and the bits are those of the CPU where the arithmetic is the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <variant>
#include <vector>

#include "models/device.h"
#include "models/device_tasks.h"

namespace emporium::models {

using DeviceTask = std::variant<GatherTask, ScatterTask, AgeSharesTask, AgeSumTask, AgePullTask,
                                AgeLogitTask, FmSumTask, FmOutTask, FmGradientTask, CounterTask,
                                CounterChunkTask, CounterTotalTask>;

// The memory and the queues of one device. Calls are of one thread at a time; a fault of the device
// is thrown as std::runtime_error, as LibTorch throws its own.
class Backend {
 public:
  struct Block {
    std::byte* host = nullptr;    // pinned
    std::byte* device = nullptr;  // as large
    size_t bytes = 0;
  };

  virtual ~Backend() = default;
  virtual const Device::Place& place() const = 0;
  virtual Block Allocate(size_t bytes) = 0;
  // Waits for what may still use it.
  virtual void Free(const Block& block) = 0;
  // Copies [from, to) of the block to the device; tasks given later see it.
  virtual void Send(const Block& block, size_t from, size_t to) = 0;
  // Copies to pinned memory what tasks given earlier left there; Wait waits for it.
  virtual void Receive(const void* device, std::byte* pinned, size_t bytes) = 0;
  virtual void Run(const DeviceTask& task) = 0;
  virtual void Wait() = 0;
};

// Terms of a sum by target row; see ScatterTask.
struct ScatterPlan {
  std::vector<int32_t> row;
  std::vector<int32_t> begin;
  std::vector<int64_t> from;
  std::vector<float> factor;
};
struct ScatterTerm {
  int32_t row = 0;
  int64_t from = 0;
  float factor = 1;
};
// Groups the terms by their row, rows ascending, each row's terms in the order given.
ScatterPlan PlanScatter(std::span<const ScatterTerm> terms, int32_t rows);
// The terms of `sink`, in the order of models/row_kernels.h.
std::vector<ScatterTerm> TermsOf(const Assembly& assembly, const float* sink);

std::unique_ptr<Device> MakeStagedDevice(std::unique_ptr<Backend> backend);

}  // namespace emporium::models
