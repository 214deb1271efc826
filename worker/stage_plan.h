// How a train stage is cut into epochs, steps and micro-batches, and which samples each of them
// has: a function of (job seed, stage, epoch) and the number of samples alone. Values; any thread.
//
//   epoch      := ceil(samples / micro_batch_size) micro-batches, the last one smaller
//   step       := micro_batches_per_step of them, an epoch's last step fewer
#pragma once

#include <cstdint>

#include "proto/ids.h"
#include "proto/job.pb.h"
#include "worker/batch_source.h"
#include "worker/sampler.h"

namespace emporium::worker {

StagePlan PlanStage(uint64_t samples, const spec::Train& train);

// The samples of one micro-batch, by their numbers in the stage's list (which is in time order).
class MicroBatchSamples {
 public:
  MicroBatchSamples(const StagePlan& plan, uint64_t seed, StageId stage, bool in_time_order,
                    Step step, MicroBatch m);

  uint32_t size() const { return static_cast<uint32_t>(end_ - begin_); }
  uint64_t sample(uint32_t i) const {
    return in_time_order_ ? begin_ + i : permutation_(begin_ + i);
  }

 private:
  uint64_t begin_ = 0;
  uint64_t end_ = 0;
  bool in_time_order_;
  Permutation permutation_;
};

}  // namespace emporium::worker
