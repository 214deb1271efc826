#include "worker/span_plan.h"

#include "proto/check.h"
#include "runtime/route.h"

namespace emporium::worker {

SpanPlan::SpanPlan(const StagePlan& stage, const SpanAssignment& assignment, Step version,
                   bool applies)
    : stage_(stage),
      assignment_(assignment),
      applies_(applies),
      limit_(assignment.until),
      known_version_(version),
      next_step_(std::clamp(version, assignment.from, assignment.until)),
      next_micro_batch_(assignment.rank) {
  EMPORIUM_CHECK(assignment.workers > 0 && assignment.rank < assignment.workers,
                 "a worker's rank is below the number of workers");
  EMPORIUM_CHECK(assignment.from <= assignment.until, "a span does not run backwards");
}

std::optional<MicroBatchId> SpanPlan::Next() {
  if (next_step_ >= limit_) return std::nullopt;
  MicroBatchId id;
  id.step = next_step_;
  id.of = stage_.MicroBatches(next_step_);
  id.only_await = next_micro_batch_ >= id.of;
  if (!id.only_await) {
    id.micro_batch = MicroBatch(static_cast<uint32_t>(next_micro_batch_));
    next_micro_batch_ += assignment_.workers;
  }
  Open& open = open_[next_step_];
  ++open.micro_batches;
  open.applies = open.applies || (applies_ && !id.only_await);
  if (next_micro_batch_ >= id.of) {
    next_step_ = next_step_.next();
    next_micro_batch_ = assignment_.rank;
  }
  return id;
}

void SpanPlan::Begin(Step step) {
  EMPORIUM_CHECK(MayBegin(step), "no step is begun at or beyond the limit");
  highest_begun_ = highest_begun_ ? std::max(*highest_begun_, step) : step;
}

bool SpanPlan::Acknowledged(Step step) {
  const auto open = open_.find(step);
  EMPORIUM_CHECK(open != open_.end() && open->second.micro_batches > 0,
                 "only what was given out is acknowledged");
  if (--open->second.micro_batches > 0) return false;
  if (open->second.applies) return step < next_step_;
  open_.erase(open);
  return false;
}

void SpanPlan::Applied(Step step) {
  const auto open = open_.find(step);
  EMPORIUM_CHECK(open != open_.end() && open->second.micro_batches == 0,
                 "a step is applied when all of it has been acknowledged");
  open_.erase(open);
}

void SpanPlan::Pause() {
  paused_ = true;
  // Without a step begun the limit is where the span starts for us.
  const Step first = open_.empty() ? next_step_ : open_.begin()->first;
  limit_ = std::min(limit_, highest_begun_ ? highest_begun_->next() : first);
}

bool SpanPlan::Done() const {
  if (next_step_ < limit_) return false;
  return std::none_of(open_.begin(), open_.end(), [this](const auto& entry) {
    const auto& [step, open] = entry;
    return step < limit_ && (open.micro_batches > 0 || !paused_);
  });
}

std::optional<Step> SpanPlan::WaitsForOthers() const {
  const bool given_out = known_version_ < next_step_ && known_version_.next() < limit_;
  if (!given_out) return std::nullopt;
  const auto open = open_.find(known_version_);
  if (open != open_.end() && open->second.micro_batches > 0) return std::nullopt;
  return known_version_;
}

uint64_t SamplesOfStep(const StagePlan& stage, Step step) {
  const uint64_t full = uint64_t{stage.micro_batch_size} * stage.micro_batches_per_step;
  const uint64_t before = (step.value() % stage.steps_per_epoch) * full;
  EMPORIUM_CHECK(before < stage.samples, "a step has samples");
  return std::min(full, stage.samples - before);
}

uint64_t RandomSeed(uint64_t job_seed, StageId stage, Step step, MicroBatch micro_batch) {
  // Each word is mixed in by a bijection, so that neighbours share nothing.
  constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;
  uint64_t seed = runtime::MixKey(job_seed + kGolden);
  for (const uint64_t word :
       {uint64_t{stage.value()}, step.value(), uint64_t{micro_batch.value()}}) {
    seed = runtime::MixKey((seed ^ word) + kGolden);
  }
  return seed;
}

}  // namespace emporium::worker
