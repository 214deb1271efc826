// One shard: the state machine that owns the rows of its partitions and says what every frame does
// to them. Bytes in, bytes out; no socket, no clock, no thread. docs/architecture.md tells how the
// shards and workers of a step play together.
//
// Belongs to one thread. Invariants:
//  1. A frame that is refused changes nothing, and a frame is refused before it changes anything:
//     what has been staged can be applied without failing.
//  2. version() grows by one exactly when all micro-batches of that step have been staged and, if
//  the
//     step awaits a scale, an Apply has brought it; each is applied once, however often it is sent.
//  3. What tables hold is a function of the pushes by (step, micro-batch), not of their order:
//     gradients are added in the order of micro-batches, as soon as those before them are here.
//  4. Staged and parked bytes are bounded; at the bound the answer is Busy.
//  5. A frame of another route, or of a generation before one that was told, is refused as Stale.
//  6. Slots are kept across frames (pull_memory.h, step_rows.h): what erases or moves rows does so
//     while no step is half staged, and calls ForgetSlots.
//
// A train stage begins with the first Pull or Push of a later stage at step 0 while nothing is
// staged (the scheduler starts a stage only after every worker has finished the one before). Pulls
// of `any_version` and Assign frames belong to no stage.
//
// Rows expire when the first frame of a version that is a multiple of a table's every_steps
// arrives. The scheduler ends spans there, so that no pull of an earlier version can follow.
//
// Every push of a step must hold a section, with or without keys, for every table that keeps
// popularity or counters: their totals are the same on all shards.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proto/frame.h"
#include "proto/ids.h"
#include "proto/limits.h"
#include "proto/status.h"
#include "ps/barrier.h"
#include "ps/cut.h"
#include "ps/frame_bytes.h"
#include "ps/pull_memory.h"
#include "ps/step_rows.h"
#include "ps/table.h"

namespace emporium::ps {

using PeerId = std::string;

// The one kind of action: bytes to send to a peer.
struct Send {
  PeerId peer;
  Bytes bytes;
};

struct ShardCounters {
  uint64_t pulls = 0, pushes = 0, assigns = 0;  // accepted
  uint64_t duplicate_pushes = 0;
  uint64_t rows_pulled = 0, rows_pushed = 0;
  uint64_t bytes_pulled = 0, bytes_pushed = 0;  // answers of pulls, pushes
  uint64_t refused_frames = 0;                  // malformed, or against the job
  uint64_t stale_frames = 0, busy_frames = 0;
  uint64_t steps_applied = 0, rows_updated = 0;
  uint64_t squares_asked = 0, applies = 0;      // accepted
  uint64_t staged_bytes = 0, parked_pulls = 0;  // at present
};

// What a table has let go of.
struct RetentionCounters {
  uint64_t keys_refused = 0;  // keys of a step whose gradients were dropped: not admitted
  uint64_t rows_expired = 0;
};

class Shard {
 public:
  struct Config {
    ShardId id;
    RouteVersion route_version;
    Generation generation;    // requests of lower ones are refused
    uint32_t partitions = 0;  // of the key space, a power of two
    std::vector<PartitionId> owned;
    PageAhead* page_ahead = nullptr;    // of the tables (ps/table.h); outlives the shard
    std::vector<TableSettings> tables;  // index: TableId
    uint64_t max_staged_bytes = limits::kMaxStagedBytesPerShard;
    uint32_t max_parked_pulls = limits::kMaxParkedPullsPerShard;
    uint64_t memory_bytes = 0;    // for rows and what waits; 0: no bound
    bool follow_changes = false;  // so that cuts of changes can be made
  };

  explicit Shard(Config config);

  // Takes one frame, however malformed, and appends the answers that are due. Pulls that it has
  // unblocked are answered by AnswerNext.
  void Handle(const PeerId& peer, FrameBytes bytes, std::vector<Send>* out);
  // Answers one pull whose version has come; false when there is none. One at a time, so that the
  // first to compute need not wait until the rows of all have been gathered. To be called until
  // false before the next frame.
  bool AnswerNext(std::vector<Send>* out);

  // Makes the shard stand ready for a checkpoint of `stage` at `step` (a stage that has not begun
  // is begun at step 0). FailedPrecondition when it stands elsewhere or a step is half staged.
  Status ReadyForCheckpoint(StageId stage, Step step, std::vector<Send>* out);
  // Takes a cut for checkpoint `number` where the shard stands, which is at a stage (ps/cut.h). It
  // is of the changes since checkpoint `parent` if that was the cut before and all that changed is
  // known; else of all rows. One that is not complete is given up.
  Cut BeginCut(uint64_t number, uint64_t parent);
  // Copies the next rows of the cut, about `bytes` of them; false when there is no cut. A cut ends
  // with its last piece.
  bool NextPiece(size_t bytes, CutPiece* piece);
  // Gives up a cut that has not ended.
  void EndCut();
  // Memory that the cut under way takes.
  uint64_t cut_bytes() const;

  // Stands where a checkpoint stood, with nothing staged; the tables were restored by the caller.
  void RestorePosition(const Position& position);
  // Whether frames are taken at all; others are answered Busy. At first they are.
  void SetServing(bool serving) { serving_ = serving; }
  // Refuses every parked pull: the shard is about to be replaced.
  void RefuseParked(const std::string& why, std::vector<Send>* out);

  const Config& config() const { return config_; }
  const Position& position() const { return position_; }
  // The highest that a request has told.
  Generation generation() const { return generation_; }
  ShardCounters counters() const;
  const RetentionCounters& retention(size_t table) const { return retention_[table]; }
  // Memory of rows, indexes, sketches and of what waits.
  uint64_t memory_bytes() const;
  size_t tables() const { return tables_.size(); }
  Table& table(size_t i) { return *tables_[i]; }
  const Table& table(size_t i) const { return *tables_[i]; }

 private:
  struct ParkedPull {
    PeerId peer;
    FrameBytes bytes;
    FrameView frame;
  };
  // Who asks for the squares of the present step before all of it is here.
  struct Asking {
    PeerId peer;
    FrameHeader header;
  };
  Status CheckSender(const FrameHeader& header) const;
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
  Status HandleSquares(const PeerId& peer, const FrameHeader& header, std::vector<Send>* out);
  Status HandleApply(const PeerId& peer, const FrameHeader& header, std::vector<Send>* out);
  Status Park(const PeerId& peer, FrameBytes&& bytes, FrameView&& frame);

  // Answers a pull and remembers it for its push.
  void Serve(const PeerId& peer, FrameBytes&& bytes, const FrameView& frame,
             std::vector<Send>* out);
  // Answers a pull; the slots of its keys, by section.
  std::vector<UnclearedVector<Slot>> AnswerPull(const PeerId& peer, const FrameView& frame,
                                                bool previous, std::vector<Send>* out);
  // Puts the pull beside the push whose keys it has. NotFound when it is not known here.
  Status RecallKeys(StagedPush* push);
  void Acknowledge(const PeerId& peer, const FrameHeader& header, std::vector<Send>* out);
  void Refuse(const PeerId& peer, const FrameHeader& header, const Status& why,
              std::vector<Send>* out);
  // ResourceExhausted when the rows that a push may make do not fit the memory budget.
  Status CheckMemory(const StagedPush& push) const;
  // Lets rows expire that are due at the present version. To be called before the first frame of
  // that version is looked at further; more calls do nothing.
  void ExpireOnce();
  // Adds up what is here of the present step, and applies it when that is all and awaits no scale.
  void Advance(std::vector<Send>* out);
  void AddPush(StagedPush given);
  void CompleteStep(std::vector<Send>* out);
  void ApplyStep(float gradient_scale);
  Status TellSquares(const PeerId& peer, const FrameHeader& header, const StepSquares& squares,
                     std::vector<Send>* out);
  // What was added up of a table's totals.
  void ApplyTotals(size_t table);
  // Slots have changed or will: forgets all that is kept by slot, so that the version before cannot
  // be answered any more.
  void ForgetSlots();

  const Config config_;
  std::vector<bool> owns_;  // index: partition
  std::vector<std::unique_ptr<Table>> tables_;
  Position position_;
  Generation generation_;
  bool serving_ = true;
  std::optional<size_t> cut_table_;  // whose rows are copied next; nothing: no cut is under way
  uint64_t last_cut_ = 0;            // checkpoint that changes are followed since; 0: none
  Barrier barrier_;
  std::vector<ParkedPull> parked_;  // all for version + 1
  std::deque<ParkedPull> due_;      // for the present version, to be answered
  uint64_t parked_bytes_ = 0;       // of both
  std::vector<Asking> asking_;
  std::optional<StepSquares> squares_;        // of the present step while it awaits its scale
  std::optional<ExactSum> previous_squares_;  // of the step before, if it awaited one
  PullMemory memory_;                         // of the present version
  // By table: the step that is being added up, and the step before, whose rows pulls of the version
  // before are answered with.
  std::vector<StepRows> step_rows_;
  std::vector<StagedPush> added_;  // of the step under way: step_rows_ read their gradients
  std::vector<Table::Totals> added_totals_;
  uint32_t event_time_ = 0;      // newest event of the step that is being added up
  std::optional<Step> expired_;  // the version at which rows were let go last, in this stage
  std::vector<RetentionCounters> retention_;
  bool previous_known_ = false;
  std::vector<Table::Totals> previous_totals_;
  ShardCounters counters_;
};

}  // namespace emporium::ps
