#include "worker/stage_plan.h"

#include <algorithm>

#include "proto/check.h"

namespace emporium::worker {
namespace {

uint64_t CeilDiv(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

uint64_t ShuffleKey(uint64_t seed, StageId stage, uint64_t epoch) {
  return RandomStream(seed, Purpose::kShuffle, {stage.value(), epoch}).Next();
}

}  // namespace

StagePlan PlanStage(uint64_t samples, const spec::Train& train) {
  EMPORIUM_CHECK(train.micro_batch_size() > 0 && train.micro_batches_per_step() > 0,
                 "a checked job has sizes above zero");
  StagePlan plan;
  plan.samples = samples;
  plan.micro_batch_size = train.micro_batch_size();
  plan.micro_batches_per_step = train.micro_batches_per_step();
  plan.steps_per_epoch =
      CeilDiv(CeilDiv(samples, plan.micro_batch_size), plan.micro_batches_per_step);
  plan.total_steps = plan.steps_per_epoch * train.epochs();
  if (train.max_steps() > 0) {
    plan.total_steps = std::min(plan.total_steps, train.max_steps());
  }
  return plan;
}

uint32_t StagePlan::MicroBatches(Step step) const {
  EMPORIUM_CHECK(steps_per_epoch > 0, "a train stage has samples");
  const uint64_t before = step.value() % steps_per_epoch * micro_batches_per_step;
  const uint64_t left = CeilDiv(samples, micro_batch_size) - before;
  return static_cast<uint32_t>(std::min<uint64_t>(left, micro_batches_per_step));
}

MicroBatchSamples::MicroBatchSamples(const StagePlan& plan, uint64_t seed, StageId stage,
                                     bool in_time_order, Step step, MicroBatch m)
    : in_time_order_(in_time_order),
      permutation_(plan.samples, ShuffleKey(seed, stage, step.value() / plan.steps_per_epoch)) {
  EMPORIUM_CHECK(m.value() < plan.MicroBatches(step), "a micro-batch of the step");
  const uint64_t number =
      step.value() % plan.steps_per_epoch * plan.micro_batches_per_step + m.value();
  begin_ = number * plan.micro_batch_size;
  end_ = std::min(begin_ + plan.micro_batch_size, plan.samples);
}

}  // namespace emporium::worker
