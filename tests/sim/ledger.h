// What a shard has acknowledged, kept beside it: each micro-batch is taken once, an acknowledgement
// is of what was taken, and a step is applied when all of it was.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "ps/shard.h"

namespace emporium::sim {

class Ledger {
 public:
  // Begins where the shard stands.
  void Begin(const ps::Shard& shard) {
    steps_.clear();
    stage_ = shard.position().stage;
    next_ = shard.position().version;
    pushes_ = shard.counters().pushes;
  }

  // After a frame. `acknowledged`: as far as it was a push. What is broken; empty: nothing.
  std::string Handled(const FrameHeader& push, bool acknowledged, const ps::Shard& shard) {
    const ps::Position& now = shard.position();
    if (now.stage != stage_) {  // the frame has begun it
      steps_.clear();
      stage_ = now.stage;
      next_ = Step(0);
    }
    const bool taken = shard.counters().pushes > pushes_;
    pushes_ = shard.counters().pushes;
    const bool of_past = push.step < next_;
    Taken& here = steps_[push.step];
    const bool known = of_past || here.micro_batches.contains(push.micro_batch.value());
    if (taken && known) return "took a micro-batch twice";
    if (acknowledged && !taken && !known) return "acknowledged what it does not have";
    if (taken) {
      here.of = push.micro_batches;
      here.micro_batches.insert(push.micro_batch.value());
    }
    for (; next_ < now.version; next_ = next_.next()) {
      const Taken& step = steps_[next_];
      if (step.of == 0 || step.micro_batches.size() != step.of) {
        return "applied a step that it does not have all of";
      }
    }
    steps_.erase(steps_.begin(), steps_.lower_bound(next_));
    return "";
  }

 private:
  struct Taken {
    uint32_t of = 0;
    std::set<uint32_t> micro_batches;
  };
  std::optional<StageId> stage_;
  Step next_;  // to be applied
  uint64_t pushes_ = 0;
  std::map<Step, Taken> steps_;
};

}  // namespace emporium::sim
