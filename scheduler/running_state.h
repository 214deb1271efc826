// What the state store holds of a job that runs, beside its outcomes: which nodes there are, what
// the shards hold and what the workers were told last. With it a scheduler that is started again
// goes on where the nodes are instead of at the last checkpoint (docs/semantics.md). Values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proto/control_types.h"
#include "proto/status.h"
#include "scheduler/stages.h"
#include "scheduler/state_store.h"

namespace emporium::scheduler {

struct RunningState {
  struct KnownNode {
    int64_t id = 0, incarnation = 0;
    int32_t first_shard = 0;
    control::Registration registration;
    friend bool operator==(const KnownNode&, const KnownNode&) = default;
  };
  // Steps [from, until) that workers were told to train.
  struct Span {
    uint64_t from = 0, until = 0;
    bool shortened = false;  // `until` was agreed upon after a pause
    friend bool operator==(const Span&, const Span&) = default;
  };
  std::optional<Status> ended;  // how: the nodes were told to leave, and nothing else counts
  std::vector<KnownNode> nodes;
  bool begun = false;    // servers were told what to restore
  bool serving = false;  // they have, and stand at `weights` or in `span`
  control::Route route;  // while serving
  uint32_t stage = 0;
  TrainCursor cursor;
  std::optional<Position> weights;
  std::optional<Span> span;
  uint32_t workers_wanted = 0;
  uint64_t saved_number = 0;  // the newest whole checkpoint; 0: none
  // Servers may still be writing files of the numbers below.
  uint64_t next_checkpoint = 0;
};

// Of what has not ended and has no nodes: an empty text.
std::string EncodeRunning(const RunningState& state);
// DataLoss when it is not the state of this version.
Result<RunningState> DecodeRunning(const std::string& text);

}  // namespace emporium::scheduler
