// What a model computes on: the CPU, or a GPU with a stream of its own. A Pass moves a batch there
// and the gradients back; everything in between names the device's memory.
//
// A Device belongs to one lane and outlives its model. It is used by the lane's thread and, while
// that waits, by the thread that LibTorch goes backwards on. No LibTorch here, so that worker/ can
// hold one.
//
// Invariants: the same calls give the same bits on every device of one kind, however many there
// are; an address that Put gave stays good until the next Begin.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "models/row_kernels.h"
#include "proto/status.h"

namespace emporium::models {

class Device {
 public:
  struct Place {
    bool remote = false;  // its memory is not the caller's
    int32_t gpu = -1;     // LibTorch's number of the GPU; negative: its tensors are the CPU's
    int64_t stream = 0;   // LibTorch's id of the stream that computes
  };
  struct Copy {
    const void* from = nullptr;  // of the device's memory
    void* to = nullptr;          // of the caller's
    size_t bytes = 0;
  };

  virtual ~Device() = default;

  virtual const Place& place() const = 0;
  // A new pass: gives up what was put there for the one before.
  virtual void Begin() = 0;
  // Where the device has (a copy of) these bytes; what is computed next sees them.
  virtual const void* Put(const void* host, size_t bytes) = 0;
  // Waits for what was computed and copies it.
  virtual void Get(std::span<const Copy> copies) = 0;
  virtual RowKernels& kernels() = 0;
};

// The calling thread's own memory and the loops of models/kernels.h. Without state: any thread.
Device& Cpu();
std::unique_ptr<Device> MakeCpuDevice();

// A GPU, by its number on this host. FailedPrecondition where there is none or where this program
// cannot use it, saying what is missing and what to do.
Result<std::unique_ptr<Device>> MakeCudaDevice(uint32_t gpu);
// How many there are, or why none can be used.
Result<uint32_t> CountGpus();

}  // namespace emporium::models
