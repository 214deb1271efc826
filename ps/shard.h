// One shard: the state machine that owns the rows of its partitions and says what every frame does
// to them. Bytes in, bytes out; no socket, no clock, no thread. docs/architecture.md tells how the
// shards and workers of a step play together.
//
// Belongs to one thread. Invariants:
//  1. A frame that is refused changes nothing, and a frame is refused before it changes anything:
//     what has been staged can be applied without failing.
//  2. version() grows by one exactly when all micro-batches of that step have been staged; each is
//     applied once, however often it is sent.
//  3. What tables hold is a function of the pushes by (step, micro-batch), not of their order.
//  4. Staged and parked bytes are bounded; at the bound the answer is Busy.
//
// A train stage begins with the first Pull or Push of a later stage at step 0 while nothing is
// staged (the scheduler starts a stage only after every worker has finished the one before). Pulls
// of `any_version` and Assign frames belong to no stage.
//
// Every push of a step must hold a section, with or without keys, for every table that keeps
// popularity: its total is the same on all shards.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proto/frame.h"
#include "proto/ids.h"
#include "proto/limits.h"
#include "proto/status.h"
#include "ps/barrier.h"
#include "ps/frame_bytes.h"
#include "ps/step_rows.h"
#include "ps/table.h"

namespace emporium::ps {

using PeerId = std::string;

// The one kind of action: bytes to send to a peer.
struct Send {
  PeerId peer;
  std::vector<std::byte> bytes;
};

// Where a shard stands.
struct Position {
  std::optional<StageId> stage;  // nothing: no train stage has begun
  Step version;                  // updates applied in the stage
  uint32_t global_step = 0;      // updates applied in all stages
  friend bool operator==(const Position&, const Position&) = default;
};

struct ShardCounters {
  uint64_t pulls = 0, pushes = 0, assigns = 0;  // accepted
  uint64_t duplicate_pushes = 0;
  uint64_t rows_pulled = 0, rows_pushed = 0;
  uint64_t bytes_pulled = 0, bytes_pushed = 0;  // answers of pulls, pushes
  uint64_t refused_frames = 0;                  // malformed, or against the job
  uint64_t stale_frames = 0, busy_frames = 0;
  uint64_t steps_applied = 0, rows_updated = 0;
  uint64_t staged_bytes = 0, parked_pulls = 0;  // at present
};

class Shard {
 public:
  struct Config {
    ShardId id;
    RouteVersion route_version;
    uint32_t partitions = 0;  // of the key space, a power of two
    std::vector<PartitionId> owned;
    std::vector<TableSettings> tables;  // index: TableId
    uint64_t max_staged_bytes = limits::kMaxStagedBytesPerShard;
    uint32_t max_parked_pulls = limits::kMaxParkedPullsPerShard;
  };

  explicit Shard(Config config);

  // Takes one frame, however malformed, and appends the answers that are due.
  void Handle(const PeerId& peer, FrameBytes bytes, std::vector<Send>* out);

  // Makes the shard stand ready for a checkpoint of `stage` at `step` (a stage that has not begun
  // is begun at step 0). FailedPrecondition when it stands elsewhere or a step is half staged.
  Status ReadyForCheckpoint(StageId stage, Step step, std::vector<Send>* out);
  // Stands where a checkpoint stood, with nothing staged; the tables were restored by the caller.
  void RestorePosition(const Position& position);
  // Refuses every parked pull: the shard is about to be replaced.
  void RefuseParked(const std::string& why, std::vector<Send>* out);

  const Config& config() const { return config_; }
  const Position& position() const { return position_; }
  ShardCounters counters() const;
  size_t tables() const { return tables_.size(); }
  Table& table(size_t i) { return *tables_[i]; }
  const Table& table(size_t i) const { return *tables_[i]; }

 private:
  struct ParkedPull {
    PeerId peer;
    FrameBytes bytes;
    FrameView frame;
  };
  Status CheckRoute(const FrameHeader& header) const;
  Status CheckSection(FrameType type, const SectionView& section) const;
  Status CheckSections(const FrameView& frame) const;
  Status EnterStage(const FrameHeader& header, std::vector<Send>* out);
  void BeginStage(StageId stage, std::vector<Send>* out);

  // Each returns what the peer is told when the frame is not accepted.
  Status HandlePull(const PeerId& peer, FrameBytes&& bytes, FrameView&& frame,
                    std::vector<Send>* out);
  Status HandlePush(const PeerId& peer, FrameBytes&& bytes, FrameView&& frame,
                    std::vector<Send>* out);
  Status HandleAssign(const PeerId& peer, const FrameView& frame, std::vector<Send>* out);
  Status Park(const PeerId& peer, FrameBytes&& bytes, FrameView&& frame);

  void AnswerPull(const PeerId& peer, const FrameView& frame, bool previous,
                  std::vector<Send>* out);
  void Acknowledge(const PeerId& peer, const FrameHeader& header, std::vector<Send>* out);
  void Refuse(const PeerId& peer, const FrameHeader& header, const Status& why,
              std::vector<Send>* out);
  void ApplyStep(std::vector<Send>* out);
  void ApplyTable(size_t i, const std::vector<StagedPush>& pushes);

  const Config config_;
  std::vector<bool> owns_;  // index: partition
  std::vector<std::unique_ptr<Table>> tables_;
  Position position_;
  Barrier barrier_;
  std::vector<ParkedPull> parked_;  // all for version + 1
  uint64_t parked_bytes_ = 0;
  // The step before, by table: what pulls of the version before are answered with.
  bool previous_known_ = false;
  std::vector<StepRows> step_rows_;
  std::vector<double> previous_total_;
  std::vector<Slot> slots_;  // scratch
  ShardCounters counters_;
};

}  // namespace emporium::ps
