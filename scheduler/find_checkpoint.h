// Where a scheduler that starts goes on: the newest whole checkpoint of its job. Files; the
// caller's thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proto/status.h"
#include "runtime/manifest.h"
#include "scheduler/actions.h"
#include "scheduler/state_store.h"

namespace emporium::scheduler {

// A place to go on from, and what was found on the way to it.
struct FoundCheckpoint {
  std::optional<runtime::CheckpointInfo> checkpoint;
  uint64_t next_number = 1;  // that no checkpoint has had
  std::vector<Note> notes;
};

// Removes what was never finished: nobody is writing it now, or whoever is will not be believed.
// DataLoss when there are checkpoints and none of them is whole.
Result<FoundCheckpoint> FindCheckpoint(const std::string& root, const std::string& fingerprint,
                                       const StoredState& stored);

}  // namespace emporium::scheduler
