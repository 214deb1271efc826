// The plan of a job's stages: how a train stage is cut into spans, when it is validated, when a
// checkpoint is due, and when it stops early. Pure: a plan is a function of the job file and of the
// number of samples; where a stage stands is a cursor that the caller keeps.
//
// Values; safe from any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "proto/job.pb.h"
#include "proto/status.h"

namespace emporium::scheduler {

// A micro-batch that fails wherever it is computed, and which its step goes on without.
struct LeftOut {
  uint32_t stage = 0;
  uint64_t step = 0;
  uint32_t micro_batch = 0;
  std::string why;
  friend bool operator==(const LeftOut&, const LeftOut&) = default;
};

// Where a train stage stands, between two spans. All of it is in the checkpoint's manifest.
struct TrainCursor {
  uint64_t step = 0;                       // applied steps
  std::optional<uint64_t> validated_step;  // the newest validation was made here
  std::optional<double> best;              // early stop: best value so far
  std::optional<uint64_t> best_step;       // where it was
  uint32_t without_improvement = 0;        // validations since then
  uint32_t plateaus = 0;                   // validations without improvement in all
  bool stopped_early = false;
  // Of the weights at best_step, where the stage keeps them and steps have followed.
  std::optional<uint64_t> best_checkpoint;
  // Of this stage and those before it. What is here stays when the job goes back.
  std::vector<LeftOut> left_out = {};
  // At the beginning of another stage.
  TrainCursor Afresh() const;
  friend bool operator==(const TrainCursor&, const TrainCursor&) = default;
};

// What a train stage does next.
struct TrainWork {
  enum class Kind { kSpan, kValidate, kFinished };
  Kind kind = Kind::kFinished;
  uint64_t from = 0, until = 0;  // kSpan: steps [from, until)
  friend bool operator==(const TrainWork&, const TrainWork&) = default;
};

class TrainPlan {
 public:
  // InvalidArgument when there is nothing to train on.
  // `span_periods`: spans end at multiples of each, too (where tables let rows expire: no pull of
  // the version before may follow, see ps/shard.h).
  static Result<TrainPlan> Make(const spec::Stage& stage, int64_t samples_per_epoch,
                                uint64_t checkpoint_every_steps,
                                std::vector<uint64_t> span_periods = {});

  uint64_t steps_per_epoch() const { return steps_per_epoch_; }
  uint64_t total_steps() const { return total_steps_; }
  // Most micro-batches of a step, and those of step t: the last step of an epoch may have fewer.
  uint32_t micro_batches_per_step() const { return train_.micro_batches_per_step(); }
  uint32_t MicroBatches(uint64_t step) const;
  uint64_t SamplesUntil(uint64_t step) const;

  // At a boundary validation comes first, so that its outcome is in the checkpoint.
  TrainWork Next(const TrainCursor& cursor) const;
  // Whether the policy wants a checkpoint where the cursor stands, or weights are kept that are the
  // best so far.
  bool CheckpointDue(const TrainCursor& cursor) const;
  // The cursor stands at weights that the stage must be able to go back to.
  bool AtKept(const TrainCursor& cursor) const;
  // The stage is finished, and leaves the weights of another step: that of the cursor's best.
  bool GoesBack(const TrainCursor& cursor) const;
  // Where the stage stands when it has gone back.
  static TrainCursor WentBack(const TrainCursor& cursor);
  // Factor on the learning rate of what follows.
  double RateFactor(const TrainCursor& cursor) const;
  // Takes the metrics of a validation at cursor->step. InvalidArgument when the metric that early
  // stopping looks at is not among them.
  Status Validated(const std::map<std::string, double>& metrics, TrainCursor* cursor) const;

 private:
  TrainPlan() = default;

  spec::Train train_;
  std::string name_;
  uint64_t samples_ = 0;  // per epoch
  uint64_t steps_per_epoch_ = 0;
  uint64_t total_steps_ = 0;
  uint64_t checkpoint_every_ = 0;  // 0: only at the end
  uint64_t validate_every_ = 0;    // in steps; 0: never
  std::vector<uint64_t> span_periods_;
};

// Steps after which tables of the job look for rows that expire.
std::vector<uint64_t> ExpiryPeriods(const spec::Job& job);

// SHA-256 (hex) of everything that a stage's outcome depends on apart from the weights. A finished
// stage whose digest has changed is run again.
std::string StageDigest(const spec::Stage& stage);

}  // namespace emporium::scheduler
