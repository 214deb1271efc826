// The sum of a step's dense gradients over the GPUs of one process, so that one of them can push it
// for all: with NCCL, but not with its reductions, whose order is their own. Each GPU gets one
// segment of every micro-batch's gradient, sums it in the order of micro-batches, as a shard would,
// and sends the sum to GPU 0. So the bits are those of pushing every gradient, for any number of
// GPUs and whoever computed which micro-batch. Every link carries as much as in a ring reduction.
//
// A ReducePlan is immutable; any thread. DenseReduce: one thread for each rank, all side by side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "proto/status.h"

namespace emporium::worker {

// Who sends what to whom. Rank r sums the segment r of the gradient.
class ReducePlan {
 public:
  struct Segment {
    size_t offset = 0;
    size_t floats = 0;
  };
  // A segment of one micro-batch's gradient, between this rank and `peer`.
  struct Transfer {
    uint32_t peer = 0;
    uint32_t micro_batch = 0;
    Segment segment;
  };

  // owners[m]: the rank that computed micro-batch m of the step.
  ReducePlan(size_t floats, std::vector<uint32_t> owners, uint32_t ranks);

  uint32_t ranks() const { return ranks_; }
  uint32_t micro_batches() const { return static_cast<uint32_t>(owners_.size()); }
  uint32_t owner(uint32_t micro_batch) const { return owners_[micro_batch]; }
  // Segments lie one after another; all but the last begin at a multiple of kAlignFloats.
  Segment segment(uint32_t rank) const;
  // Between two ranks both sides list the same transfers in the same order.
  std::vector<Transfer> Sends(uint32_t rank) const;
  std::vector<Transfer> Receives(uint32_t rank) const;

  static constexpr size_t kAlignFloats = 64;

 private:
  const size_t floats_;
  const std::vector<uint32_t> owners_;
  const uint32_t ranks_;
};

class DenseReduce {
 public:
  // One micro-batch's gradient [floats] in the memory of the GPU that computed it, and what a push
  // would scale it by (Work::scale).
  struct Part {
    const float* gradient = nullptr;
    uint32_t micro_batch = 0;
  };

  virtual ~DenseReduce() = default;

  // Called by every rank's thread, with the same plan and scales (by micro-batch); `mine` are the
  // parts that the rank owns, complete before the call. Rank 0's `sum` [floats] receives the total;
  // the others' stay as they are. After an error the ranks do not agree any more: nothing but the
  // end of the process helps.
  virtual Status Sum(uint32_t rank, const ReducePlan& plan, std::span<const float> scales,
                     std::span<const Part> mine, std::span<float> sum) = 0;
};

// gpus[r] is rank r's GPU; no two alike. Only where the CUDA toolkit and NCCL are
// (EMPORIUM_HAVE_CUDA).
Result<std::unique_ptr<DenseReduce>> MakeNcclReduce(const std::vector<uint32_t>& gpus);

}  // namespace emporium::worker
