// A state store in memory: what OpenSqliteStore's is compared with, and what simulations use.
#pragma once

#include <algorithm>
#include <vector>

#include "scheduler/limits.h"
#include "scheduler/state_store.h"

namespace emporium::scheduler::testing {

class MemoryStore final : public StateStore {
 public:
  Result<StoredState> Load() override { return state_; }

  Status Apply(const StateChange& change) override {
    if (change.generation) state_.generation = *change.generation;
    if (change.next_node) state_.next_node = *change.next_node;
    if (change.runs) state_.runs = *change.runs;
    if (change.running) state_.running = *change.running;
    if (change.fingerprint) state_.fingerprint = *change.fingerprint;
    if (change.rewind) Rewind(*change.rewind);
    for (const auto& [stage, digest] : change.finished) state_.finished[stage] = digest;
    for (const StageMetrics& m : change.metrics) {
      std::erase_if(state_.metrics, [&](const StageMetrics& old) {
        return old.stage == m.stage && old.step == m.step;
      });
      if (!m.metrics.empty()) state_.metrics.push_back(m);
    }
    std::sort(state_.metrics.begin(), state_.metrics.end(),
              [](const StageMetrics& a, const StageMetrics& b) {
                return std::pair(a.stage, a.step) < std::pair(b.stage, b.step);
              });
    for (const CheckpointRecord& record : change.checkpoints) {
      std::erase_if(state_.checkpoints,
                    [&](const auto& old) { return old.number == record.number; });
      state_.checkpoints.push_back(record);
    }
    std::sort(state_.checkpoints.begin(), state_.checkpoints.end(),
              [](const auto& a, const auto& b) { return a.number < b.number; });
    for (const auto& [stage, curve] : change.curves) {
      state_.curves.erase(stage);
      if (!curve.empty()) state_.curves[stage] = curve;
    }
    state_.events.insert(state_.events.end(), change.events.begin(), change.events.end());
    while (state_.events.size() > limits::kMaxEvents) state_.events.erase(state_.events.begin());
    return Status::Ok();
  }

 private:
  void Rewind(const Position& to) {
    std::erase_if(state_.finished, [&](const auto& f) { return f.first >= to.stage; });
    std::erase_if(state_.curves, [&](const auto& c) { return c.first >= to.stage; });
    std::erase_if(state_.metrics, [&](const StageMetrics& m) {
      return m.stage > to.stage || (m.stage == to.stage && (!m.step || *m.step > to.step));
    });
  }

  StoredState state_;
};

}  // namespace emporium::scheduler::testing
