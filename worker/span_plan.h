// What one worker does in one span of steps: which micro-batches, in which order, and when it is
// done. A state machine without threads, sockets or time: the pipeline tells it what happened and
// asks what may be done next.
//
// Belongs to whoever guards it (the pipeline's mutex). Invariants:
//  1. Micro-batches are given out in the order of (step, micro-batch), each once.
//  2. After Pause no step is begun that had not been begun before.
//  3. Done() holds exactly when every micro-batch of this worker below the limit is acknowledged.
//  4. A shard parks pulls of the version after its own and refuses later ones. So a pull of step t
//     is sent only when all shards are known to stand at t - 1; for a step in which this worker has
//     no micro-batch (an epoch's last may be short) a pull without keys is given out to find out.
//  5. Where gradients are clipped by their norm, a step that this worker has pushed gradients of is
//     its to have applied too: also the last of a span. Only a pause does not wait for that: the
//     span that ends it begins with that step.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "proto/ids.h"
#include "worker/batch_source.h"

namespace emporium::worker {

// The part of a train stage that a worker was told to compute: steps [from, until), micro-batches
// rank, rank + workers, ... of each.
struct SpanAssignment {
  Generation generation;
  StageId stage;
  uint32_t rank = 0;
  uint32_t workers = 1;
  Step from;
  Step until;
  uint64_t stage_steps = 0;  // of the whole stage
  double rate_factor = 1;    // on the learning rate of its schedule
  // Pushed without gradients: they fail wherever they are computed.
  std::set<std::pair<Step, MicroBatch>> left_out = {};
};

struct MicroBatchId {
  Step step;
  MicroBatch micro_batch;
  uint32_t of = 0;          // micro-batches of the step
  bool only_await = false;  // nothing to compute: wait until the shards stand at `step`
};

class SpanPlan {
 public:
  // `version` is the smallest version that any shard stands at: steps before it are done.
  // `applies`: shards apply a step when they are told to.
  SpanPlan(const StagePlan& stage, const SpanAssignment& assignment, Step version,
           bool applies = false);

  // The next micro-batch to read, or nothing (yet, or for ever: see Done).
  std::optional<MicroBatchId> Next();
  // Whether shards would take (answer or park) a pull of this step.
  bool MayPull(Step step) const { return step <= known_version_.next(); }
  // Every shard stands here or later.
  Step known_version() const { return known_version_; }
  // Every shard has answered a pull of this step.
  void Answered(Step step) { known_version_ = std::max(known_version_, step); }
  // Whether a micro-batch of this step may be computed now.
  bool MayBegin(Step step) const { return step < limit_; }
  // A lane has taken a micro-batch of this step (for which MayBegin held).
  void Begin(Step step);
  // Every shard has acknowledged the gradients of a micro-batch (or it was only_await). Whether
  // these were the step's last, and it is now this worker's to have applied.
  bool Acknowledged(Step step);
  // Every shard has applied that step.
  void Applied(Step step);
  // No further step is to be begun.
  void Pause();

  bool Done() const;
  // The step for which nothing but other workers' micro-batches is missing, so that this one's next
  // step may begin; nothing while it has work to do itself, and when no step of it follows.
  std::optional<Step> WaitsForOthers() const;
  // This worker has (or had) micro-batches of that step to apply, where steps are applied when
  // workers say so.
  bool SeesToStep(Step step) const { return !applies_ || open_.contains(step); }
  // The highest step begun, if any was.
  std::optional<Step> highest_begun() const { return highest_begun_; }

 private:
  struct Open {
    uint32_t micro_batches = 0;  // given out and not acknowledged
    bool applies = false;        // then it is to be applied
  };

  const StagePlan stage_;
  const SpanAssignment assignment_;
  const bool applies_;
  Step limit_;          // steps from here on are not begun
  Step known_version_;  // every shard stands here or later
  Step next_step_;      // next micro-batch to give out
  uint64_t next_micro_batch_ = 0;
  std::map<Step, Open> open_;
  bool paused_ = false;
  std::optional<Step> highest_begun_;
};

// Samples of all micro-batches of a step.
uint64_t SamplesOfStep(const StagePlan& stage, Step step);

// The seed of the random numbers that the model uses in micro-batch m of step t of a stage.
uint64_t RandomSeed(uint64_t job_seed, StageId stage, Step step, MicroBatch micro_batch);

}  // namespace emporium::worker
