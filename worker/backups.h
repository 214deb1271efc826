// Backup execution: when a worker that waits for the others of a step computes micro-batches of
// theirs as well, and which. A state machine without threads, sockets or clock.
//
// The worker has nothing else to do, a push is a function of (step, micro-batch) alone, and shards
// recognise repetitions: so a backup changes neither bits nor what anybody else does. What it costs
// is a machine's idle time, and that of shards; so there are few in a cluster that is in balance:
// a backup is due when the wait is longer than in all but `percent` of recent steps, and longer
// than kOwnParts times what a worker's own part of a step takes.
//
// Belongs to whoever guards it (the pipeline's mutex); what it has measured outlives a span.
// Invariants:
//  1. Nothing is due unless this worker's part of the present step has been acknowledged.
//  2. A wait that was ended by a backup counts as if it had ended when that was due: backups do not
//     make each other rarer.
//  3. Of a step each micro-batch is chosen once, and never one of this worker's own.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include "proto/ids.h"

namespace emporium::worker {

class Backups {
 public:
  using Time = std::chrono::nanoseconds;  // since an arbitrary moment, as runtime::Clock gives it

  // `percent` 0: nothing is ever due. `first`: waits that are known before one counts as long.
  explicit Backups(uint32_t percent, size_t first = 20) : percent_(percent), first_(first) {}

  // A span begins: nothing is known of its steps.
  void Begin(uint32_t rank, uint32_t workers);
  // Every shard stands at `step` or beyond.
  void Reached(Step step, Time now);
  // Only others are waited for in `step`, which was reached last. More calls say nothing new.
  void Waits(Step step, Time now);

  // From when on a lane may look for something to do.
  std::optional<Time> due() const { return looking_ ? std::nullopt : due_; }
  // A lane looks: nobody else does before Choose or GiveUp. The step that is waited for.
  Step Look();
  // What it is to compute, when `lowest` is the first of the step's `of` micro-batches that a shard
  // has not got. Nothing when others do it: they are looked at again after a while.
  std::optional<MicroBatch> Choose(Step step, uint32_t lowest, uint32_t of, Time now);
  void GiveUp(Step step, Time now);
  // Whether that step is still waited for.
  bool Waiting(Step step) const { return waits_since_.has_value() && step == step_; }

 private:
  // The newest kRecent of something that is measured each step.
  class Recent {
   public:
    void Add(Time value);
    size_t size() const { return values_.size(); }
    // So many percent are at most this. There is one or more.
    Time Percentile(uint32_t percent) const;

   private:
    std::vector<Time> values_;
    size_t next_ = 0;
  };
  void Postpone(Time now);

  uint32_t percent_;
  size_t first_;
  uint32_t rank_ = 0, workers_ = 1;
  Recent own_parts_;  // from when a step was reached until this worker's part was acknowledged
  Recent waits_;      // from then until the next was reached
  std::optional<Time> reached_at_;
  Step step_;
  std::optional<Time> waits_since_;
  Time patience_{0};  // of this wait
  std::optional<Time> due_;
  bool looking_ = false;
  bool backed_up_ = false;  // something of this step was chosen
  uint32_t rounds_ = 0;     // that ended without anything to do
  std::set<uint32_t> chosen_;
};

}  // namespace emporium::worker
