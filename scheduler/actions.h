// What the job machine wants done. The service does it in the order given, before anybody can see
// the outcome of the event; what takes long (WriteManifest) it does aside and tells the machine
// later. Values.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "proto/control_types.h"
#include "proto/manifest.pb.h"
#include "proto/status.h"
#include "scheduler/state_store.h"

namespace emporium::scheduler {

struct SendCommand {
  int64_t node = 0;
  control::Command command;
};

// Must be durable before any command of the same event is seen.
struct SaveState {
  StateChange change;
};

// A line for the log, the status and the state store.
struct Note {
  enum class Level { kInfo, kWarning, kError };
  Level level = Level::kInfo;
  std::string text;
};

struct MakeCheckpointDir {
  std::string dir;
};
// Aside: gives the parent's files that the checkpoint builds on a second name in its directory,
// reads the files that are new, writes the manifest, reads it, and answers
// JobMachine::CheckpointWritten.
struct WriteManifest {
  uint64_t number = 0;
  std::string dir;
  spec::CheckpointManifest manifest;
  std::string parent_dir;
  std::map<std::string, std::string> links;  // name in dir -> name in parent_dir
};
// A checkpoint that failed: nothing of it is left.
struct RemoveCheckpoint {
  std::string dir;
};
// Only after a newer checkpoint was verified: removes all but the newest `keep` and the one that a
// stage may go back to.
struct PruneCheckpoints {
  uint32_t keep = 2;
  std::optional<uint64_t> also;
};

// The job is over; comes once. No command comes after it.
struct JobOver {
  Status result;
};

using Action = std::variant<SendCommand, SaveState, Note, MakeCheckpointDir, WriteManifest,
                            RemoveCheckpoint, PruneCheckpoints, JobOver>;
using Actions = std::vector<Action>;

}  // namespace emporium::scheduler
