// Runs one span of a train stage on this worker: reader threads make batches ahead of need, pulls
// go out as soon as shards take them, lanes compute side by side, pushes are awaited at the end.
//
//   reader threads        client's thread          lane threads            client's thread
//   read, split by shard -> pull ... answered -> unpack, compute, pack -> push ... acknowledged
//
// What may happen next is decided by SpanPlan; here are the threads, the memory and the waiting.
// Bounds: at most kReadAheadPerLane batches per lane wait for their pull and kPullsPerLane per lane
// are pulled or wait for a lane. Pulls go out in order and lanes take the lowest micro-batch that
// is there, so a step's micro-batches are never behind a later step's: there is no deadlock,
// however few lanes there are.
//
// A lane that waits for other workers longer than usual computes micro-batches of theirs
// (worker/backups.h), from reading to the acknowledgement by itself: it has nothing else to do.
//
// Run belongs to one thread; Pause, Abort and the readers of state to any.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "proto/job.pb.h"
#include "proto/status.h"
#include "runtime/clock.h"
#include "runtime/thread_annotations.h"
#include "worker/backups.h"
#include "worker/batch_source.h"
#include "worker/lane.h"
#include "worker/ps_client.h"
#include "worker/span_plan.h"
#include "worker/work.h"

namespace emporium::worker {

struct StepLoss {
  Step step;
  MicroBatch micro_batch;
  int64_t samples = 0;
  std::vector<models::LossTerm> terms;
  int64_t acknowledged_ms = 0;  // since 1970: when all shards had taken its push
  bool backup = false;          // of another worker's micro-batch
  bool backup_first = false;    // ... and no shard had its gradients before
};

// What the threads spent their time on, in seconds, summed over threads. Readers: read, plan.
// Lanes: the others; together they make up the lanes' whole time.
struct TimeByPart {
  double read = 0;       // samples into columns
  double plan = 0;       // keys split by shard, pulls packed
  double read_wait = 0;  // a lane had nothing because no batch was read yet
  double pull_wait = 0;  // ... because rows had not arrived yet (or the step was not reached)
  double unpack = 0;     // answers into rows
  double compute = 0;
  double pack = 0;       // gradients into pushes
  double push_wait = 0;  // ... because only acknowledgements were missing
  void Add(const TimeByPart& other);
};

// What a pipeline works with; all of it outlives the pipeline.
struct PipelineParts {
  const spec::Job* job = nullptr;
  const BatchSource* source = nullptr;
  PsClient* client = nullptr;
  const DenseLayout* dense = nullptr;
  std::vector<uint32_t> dims;  // by TableId
  std::vector<Lane*> lanes;
  uint32_t readers = 1;
  Backups* backups = nullptr;  // null: none; of one pipeline at a time
};

class Pipeline {
 public:
  // `version`: the smallest at which a shard stands.
  Pipeline(const PipelineParts& parts, const SpanAssignment& assignment, Step version);
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  // Returns when the span is done (or, after Pause, what had been begun of it), or with the first
  // error. No call to a shard is under way afterwards. Stale also when others have gone on without
  // this worker: then what it had begun is acknowledged, too, and it may look where they are.
  Status Run();
  // Begins no further step; Run returns when those begun are acknowledged.
  void Pause() EMPORIUM_EXCLUDES(mutex_);
  // Ends Run soon, with `why`.
  void Abort(const Status& why) EMPORIUM_EXCLUDES(mutex_);

  std::optional<Step> highest_begun() const EMPORIUM_EXCLUDES(mutex_);
  // What could not be read or computed, if that is why Run ended.
  std::optional<MicroBatchId> failed() const EMPORIUM_EXCLUDES(mutex_);
  // Losses of the micro-batches acknowledged since the last call. Where gradients are clipped by
  // their norm, of the steps whose norm is known: then it is the term "gradient_norm".
  std::vector<StepLoss> TakeLosses() EMPORIUM_EXCLUDES(mutex_);
  TimeByPart time() const EMPORIUM_EXCLUDES(mutex_);

 private:
  enum class State { kReading, kRead, kPulling, kPulled, kComputing, kPushing };
  struct Item {
    State state = State::kReading;
    Work work;
    PsCall pull;                            // between planning and sending
    std::vector<runtime::Message> replies;  // between answer and unpacking
  };
  using Number = uint64_t;  // order in which micro-batches were given out

  void ReaderLoop();
  void LaneLoop(Lane* lane);
  // Fills item->work and packs its pulls.
  Status Prepare(Item* item, TimeByPart* time);
  Status Compute(Lane* lane, Work* work, std::vector<runtime::Message> replies, TimeByPart* time);
  PsCall PullCall(const Work* work) const;
  PsCall PushCall(const Work* work) const;
  void Push(Number number, Item* item, TimeByPart* time) EMPORIUM_EXCLUDES(mutex_);
  // What other workers are waited for: worker/pipeline_backup.cc.
  bool BackupDue() const EMPORIUM_REQUIRES(mutex_);
  // Until something happens, or a backup is due.
  void WaitForEvents() EMPORIUM_REQUIRES(mutex_);
  void NoteWait() EMPORIUM_REQUIRES(mutex_);
  void BackUp(Lane* lane, TimeByPart* time) EMPORIUM_EXCLUDES(mutex_);
  std::optional<MicroBatchId> ChooseBackup(Step step) EMPORIUM_EXCLUDES(mutex_);
  Status ComputeBackup(const MicroBatchId& id, Lane* lane, TimeByPart* time)
      EMPORIUM_EXCLUDES(mutex_);
  void RecordBackup(Work* work, std::span<const runtime::Message> acks) EMPORIUM_EXCLUDES(mutex_);
  void RecordLoss(Work* work) EMPORIUM_REQUIRES(mutex_);
  // Hands on the losses of a step that wait for its norm; without it when it is not known.
  void ReleaseLosses(Step step, std::optional<double> norm) EMPORIUM_REQUIRES(mutex_);

  // The lowest micro-batch that a lane may take now.
  Item* NextReady(Number* number) EMPORIUM_REQUIRES(mutex_);
  // Waits for one; nothing when the span is over or a backup is due. Says in `time` what was
  // missing.
  Item* WaitReady(Number* number, TimeByPart* time) EMPORIUM_REQUIRES(mutex_);
  bool RoomToRead() const EMPORIUM_REQUIRES(mutex_);
  // Sends the pulls that may be sent.
  void SendPulls() EMPORIUM_REQUIRES(mutex_);
  void PullAnswered(Number number, const Status& status, std::vector<runtime::Message> replies)
      EMPORIUM_EXCLUDES(mutex_);
  void PushAcknowledged(Number number, const Status& status) EMPORIUM_EXCLUDES(mutex_);
  // Where gradients are clipped by their norm: asks all shards, then tells them what to apply.
  PsCall StepCall(FrameType type, Step step, float gradient_scale) const;
  void AskForSquares(Step step) EMPORIUM_REQUIRES(mutex_);
  void SquaresAnswered(Step step, const Status& status,
                       const std::vector<runtime::Message>& replies) EMPORIUM_EXCLUDES(mutex_);
  void StepApplied(Step step) EMPORIUM_REQUIRES(mutex_);
  void Finish(Number number) EMPORIUM_REQUIRES(mutex_);
  void WakeWhenDone() EMPORIUM_REQUIRES(mutex_);
  void Fail(const Status& status) EMPORIUM_REQUIRES(mutex_);
  void FailAt(const MicroBatchId& id, const Status& status) EMPORIUM_EXCLUDES(mutex_);
  // A shard has refused a pull as stale: nothing more is begun.
  void Overtaken(const Status& status) EMPORIUM_REQUIRES(mutex_);
  bool Over() const EMPORIUM_REQUIRES(mutex_);
  Status Outcome() const EMPORIUM_EXCLUDES(mutex_);

  const PipelineParts parts_;
  const SpanAssignment assignment_;
  const WorkPlanner planner_;

  mutable runtime::Mutex mutex_;
  runtime::CondVar read_room_;   // readers wait here
  runtime::CondVar lane_ready_;  // lanes wait here
  SpanPlan plan_ EMPORIUM_GUARDED_BY(mutex_);
  std::map<Number, std::unique_ptr<Item>> items_ EMPORIUM_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<Item>> spare_ EMPORIUM_GUARDED_BY(mutex_);
  Number next_number_ EMPORIUM_GUARDED_BY(mutex_) = 0;
  std::optional<Status> failure_ EMPORIUM_GUARDED_BY(mutex_);
  std::optional<MicroBatchId> failed_ EMPORIUM_GUARDED_BY(mutex_);
  std::optional<Status> overtaken_ EMPORIUM_GUARDED_BY(mutex_);
  std::vector<StepLoss> losses_ EMPORIUM_GUARDED_BY(mutex_);
  std::map<Step, std::vector<StepLoss>> unnormed_ EMPORIUM_GUARDED_BY(mutex_);
  TimeByPart time_ EMPORIUM_GUARDED_BY(mutex_);
};

}  // namespace emporium::worker
