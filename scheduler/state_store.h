// What of the scheduler survives it, and the interface of the store that keeps it. The weights and
// the place in a train stage are in the checkpoints; where the two disagree, the newest whole
// checkpoint decides and the store is taken back to it (StateChange::rewind).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "proto/status.h"

namespace emporium::scheduler {

using Metrics = std::map<std::string, double>;

// A place in the job: `step` steps of `stage` are applied; `done`: nothing is left of the stage.
struct Position {
  uint32_t stage = 0;
  uint64_t step = 0;
  bool done = false;
  friend bool operator==(const Position&, const Position&) = default;
};
inline bool IsBefore(const Position& a, const Position& b) {
  return std::tie(a.stage, a.step, a.done) < std::tie(b.stage, b.step, b.done);
}

struct Event {
  int64_t unix_ms = 0;
  std::string level;  // "info", "warning", "error"
  std::string text;
  friend bool operator==(const Event&, const Event&) = default;
};

struct CheckpointRecord {
  uint64_t number = 0;
  Position position;
  uint64_t bytes = 0;
  int64_t pause_ms = 0;  // in which no step ran
  std::string content_digest;
  std::string error;  // empty: it is whole
  int64_t unix_ms = 0;
  friend bool operator==(const CheckpointRecord&, const CheckpointRecord&) = default;
};

// Mean losses of the steps [step, step + steps).
struct CurvePoint {
  uint64_t step = 0;
  uint64_t steps = 0;
  std::map<std::string, double> terms;
  friend bool operator==(const CurvePoint&, const CurvePoint&) = default;
};

struct StageMetrics {
  uint32_t stage = 0;
  std::optional<uint64_t> step;  // of a validation; nothing: the stage's own
  Metrics metrics;
  friend bool operator==(const StageMetrics&, const StageMetrics&) = default;
};

// What changes together: all of it is stored or nothing.
struct StateChange {
  std::optional<int64_t> generation, next_node, runs;
  std::optional<std::string> running;  // EncodeRunning
  // Forgets stages from rewind->stage on: that they are finished, and their metrics and curves, but
  // for what lies at or before rewind->step in that stage itself.
  std::optional<Position> rewind;
  std::optional<std::string> fingerprint;
  std::map<uint32_t, std::string> finished;  // stage -> StageDigest
  std::vector<StageMetrics> metrics;
  std::vector<CheckpointRecord> checkpoints;
  std::map<uint32_t, std::vector<CurvePoint>> curves;  // each replaces the stage's curve
  std::vector<Event> events;

  void Add(StateChange later);
  bool empty() const;

 private:
  void TakeBack(const Position& to);
};

struct StoredState {
  std::string fingerprint;  // empty: a new store
  int64_t generation = 0, next_node = 1;
  int64_t runs = 0;     // of the scheduler on this store
  std::string running;  // EncodeRunning; empty: nothing to go on with
  std::map<uint32_t, std::string> finished;
  std::vector<StageMetrics> metrics;          // by stage and step
  std::vector<CheckpointRecord> checkpoints;  // by number, the newest limits::kMaxCheckpointRecords
  std::map<uint32_t, std::vector<CurvePoint>> curves;
  std::vector<Event> events;  // oldest first, the newest limits::kMaxEvents
};

// One thread at a time.
class StateStore {
 public:
  virtual ~StateStore() = default;
  virtual Result<StoredState> Load() = 0;
  // Durable when it returns Ok; without effect when it does not.
  virtual Status Apply(const StateChange& change) = 0;
};

// A SQLite file, made when it is not there. Only one store can have it open: another one is waited
// for a moment, then Busy.
Result<std::unique_ptr<StateStore>> OpenSqliteStore(const std::string& path);

}  // namespace emporium::scheduler
