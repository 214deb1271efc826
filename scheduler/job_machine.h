// The job as a state machine: who is there, which stage is in work, what every node does next.
// docs/architecture.md ("Who tells whom") is its specification. Events come in as calls with the
// present time; actions go out. No socket, clock, thread or file.
//
// Belongs to one thread (the service guards it with its mutex). Invariants:
//  1. A phase is left only when every node that works in it has finished or is gone.
//  2. Shards stand at exactly `weights_` whenever a checkpoint is taken, until all have taken their
//     cut; the files are written while the job goes on. One checkpoint at a time.
//  3. The generation grows whenever the set of workers that a command counts on changes, and when
//     workers must look again where the shards stand.
//  4. A stage counts as finished only after its outcome was given to SaveState.
//  5. A lost server takes the job back to the newest whole checkpoint, as if it had been started
//     again: `stage_`, `cursor_`, `weights_` and what people see are those of that checkpoint.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "proto/control_types.h"
#include "proto/job.pb.h"
#include "proto/status.h"
#include "runtime/manifest.h"
#include "scheduler/actions.h"
#include "scheduler/checkpoints.h"
#include "scheduler/chunks.h"
#include "scheduler/losses.h"
#include "scheduler/membership.h"
#include "scheduler/running_state.h"
#include "scheduler/stages.h"
#include "scheduler/state_store.h"

namespace emporium::scheduler {

enum class Phase {
  kGathering,      // waiting for the servers and workers that the job wants
  kRestoring,      // servers read the checkpoint
  kTraining,       // workers run a span
  kPausing,        // workers say which step they have begun, so that the span can end early
  kEvaluating,     // workers compute chunks
  kCombining,      // one worker merges their results
  kCheckpointing,  // shards take their cut, or what comes next waits for what is being written
  kStopping,       // nodes leave
  kOver,
};
const char* PhaseName(Phase phase);

// A stage as people see it.
struct StageView {
  enum class State { kWaiting, kRunning, kDone };
  State state = State::kWaiting;
  uint64_t done = 0, total = 0;  // steps of a train stage, else chunks; total 0: not known yet
  uint64_t samples = 0;          // trained, in all epochs
  Metrics metrics;               // of an evaluate or export stage
  std::map<uint64_t, Metrics> validations;  // of a train stage, by step
  std::vector<CurvePoint> curve;            // of a train stage that is not in work
};

class JobMachine {
 public:
  struct Config {
    spec::Job job;
    std::string job_text;
    std::string fingerprint;
    std::string checkpoint_root;
    uint32_t servers = 1, workers = 1;  // that must be there before the job begins
    int64_t incarnation_base = 0;       // differs between two runs of the scheduler
    int64_t unix_minus_now_ms = 0;      // time of day at now_ms = 0, for records
    int64_t lease_ms = 0, heartbeat_ms = 0;
    // Nodes of an earlier run of the scheduler may still be there: they are waited for.
    bool rejoin = false;
    // Only the export stages, from the newest checkpoint, also when they were run before.
    bool exports_only = false;
  };
  struct Counts {
    int64_t lost_nodes = 0, refused_registrations = 0, failed_checkpoints = 0, generations = 0;
    int64_t returns = 0;  // to a checkpoint, after the loss of a server
  };

  // `checkpoint`: the newest whole one, if any; `next_checkpoint`: a number that no directory has.
  // DataLoss when the checkpoint's manifest says what cannot be; InvalidArgument for a cluster
  // without servers or workers.
  static Result<std::unique_ptr<JobMachine>> Make(
      Config config, StoredState stored, const std::optional<runtime::CheckpointInfo>& checkpoint,
      uint64_t next_checkpoint);

  // -- Events. Start comes first, and once ------------------------------------------------------
  void Start(int64_t now_ms, Actions* out);
  Result<control::Registered> Register(int64_t now_ms, const control::Registration& registration,
                                       Actions* out);
  Status Report(int64_t now_ms, const control::Report& report, Actions* out);
  // What chunks and metrics are of. Of the same weights they are the same, whoever computed them.
  struct Evaluation {
    int64_t stage = 0;
    bool validation = false;
    int64_t step = 0;
    bool operator==(const Evaluation&) const = default;
  };
  Status PutChunk(int64_t now_ms, int64_t node, int64_t incarnation, const Evaluation& of,
                  int64_t chunk, std::string result);
  Result<std::vector<std::string>> GetChunks(int64_t now_ms, int64_t node, int64_t incarnation,
                                             const Evaluation& of, int64_t from);
  Status PutMetrics(int64_t now_ms, int64_t node, int64_t incarnation, const Evaluation& of,
                    const std::vector<control::Metric>& metrics);
  Status RequestCheckpoint(int64_t now_ms, Actions* out);
  // The first time: after the step in work and a checkpoint. The second time: at once.
  void RequestStop(int64_t now_ms, const std::string& why, Actions* out);
  // So many workers are wanted; whoever starts them looks at workers_wanted.
  Status Scale(int64_t now_ms, int64_t workers, Actions* out);
  void CheckpointWritten(int64_t now_ms, uint64_t number, const Status& status, Actions* out);
  void Tick(int64_t now_ms, Actions* out);
  // When Tick is wanted next, if nothing else happens.
  std::optional<int64_t> next_deadline_ms() const;

  // -- What people see ----------------------------------------------------------------------------
  const Config& config() const { return config_; }
  Phase phase() const { return phase_; }
  const Status& result() const { return result_; }  // when kOver
  size_t stage() const { return stage_; }           // in work; stage_count() when all are done
  size_t stage_count() const { return views_.size(); }
  // Index: stage. The one in work is up to date.
  std::vector<StageView> stages() const;
  const Membership& members() const { return members_; }
  const LossTracker* losses() const { return losses_.get(); }  // of the train stage in work
  double samples_per_second(int64_t now_ms) const { return samples_rate_.PerSecond(now_ms); }
  double done_per_second(int64_t now_ms) const { return done_rate_.PerSecond(now_ms); }
  bool validating() const { return validating_; }
  bool stop_requested() const { return stop_requested_; }
  int64_t generation() const { return generation_; }
  uint32_t workers_wanted() const { return workers_wanted_; }
  const std::vector<CheckpointRecord>& checkpoints() const { return checkpoints_; }
  // That is in the making; 0: none.
  uint64_t checkpoint_in_work() const { return checkpoint_ ? checkpoint_->number() : 0; }
  const Counts& counts() const { return counts_; }
  // Micro-batches that the job goes on without, of all stages.
  const std::vector<LeftOut>& left_out() const { return cursor_.left_out; }
  // "the same command goes on from checkpoint 3 (stage 'pretrain', step 1200)"
  std::string HowToGoOn() const;

 private:
  struct Span {
    uint64_t from = 0, until = 0;
    uint64_t generations = 0;  // that have worked on it
    bool shortened = false;    // `until` was agreed upon after a pause: no further pause
    bool resumed = false;      // by a scheduler that has not heard its first losses
    bool left = false;         // by a worker that may have taken losses along
  };
  // What the state store's RunningState depends on.
  struct Standing {
    int64_t generation = 0, next_node = 0;
    uint64_t removals = 0;
    size_t stage = 0;
    TrainCursor cursor;
    std::optional<Position> weights;
    uint64_t saved_number = 0;
    uint64_t next_checkpoint = 0;
    uint32_t workers_wanted = 0;
    Phase phase = Phase::kGathering;
    std::optional<RunningState::Span> span;
    friend bool operator==(const Standing&, const Standing&) = default;
  };

  explicit JobMachine(Config config, const StoredState& stored);
  Status TakeCheckpoint(const runtime::CheckpointInfo& checkpoint);
  void TakePosition(StoredState stored);
  void SkipStages();
  void SavePosition(Actions* out) const;

  // job_machine_resume.cc: a scheduler that was started again goes on with what it finds.
  Standing StandingNow() const;
  void SaveRunning(Actions* out);
  RunningState Running() const;
  bool MayResume(const RunningState& running) const;
  Status TakeRunning(RunningState running, StoredState stored);
  void Rejoin(int64_t now_ms, Actions* out);
  bool ServersReported();
  void Resume(int64_t now_ms, Actions* out);

  // job_machine_nodes.cc: nodes come, report and go.
  Status CheckJob(const control::Registration& registration) const;
  Status CheckRegistration(const control::Registration& registration) const;
  Status CheckFacts(const control::DatasetFacts& facts) const;
  Status AdoptFacts(const control::DatasetFacts& facts);
  void FillDoneStages();
  Status Replace(int64_t now_ms, const control::Registration& registration, Actions* out);
  bool Joins(const Node& node) const;
  std::optional<uint64_t> LowestBegun();
  void TakeLosses(int64_t now_ms, const control::Report& report);
  void NodeLost(int64_t now_ms, int64_t id, const std::string& how, Actions* out);
  void WorkerLost(int64_t now_ms, int64_t id, Actions* out);
  void HandleFailure(int64_t now_ms, const Node& node, Actions* out);
  void WorkAgain(int64_t now_ms, Actions* out);

  // job_machine_failed.cc: a worker's work has failed.
  void WorkFailed(int64_t now_ms, const Node& node, Actions* out);
  bool SomeoneElse() const;
  bool Suspect(const Node& node);
  bool LeavePoisonOut(const std::string& why);

  // job_machine_back.cc: a server is lost, and the job goes back to its last checkpoint.
  void GoToSaved(int64_t now_ms, Actions* out);
  void ServerLost(int64_t now_ms, const Node& node, const std::string& how, Actions* out);
  std::string WhereItReturns() const;
  bool Gathered() const;
  void ReturnToSaved(Actions* out);
  StoredState Remembered() const;

  // job_machine.cc: from phase to phase.
  void Advance(int64_t now_ms, Actions* out);
  bool Step(int64_t now_ms, Actions* out);
  bool ParticipantsDone();
  bool ServersDone();
  void Give(Node* node, const control::Command& command, Actions* out);

  // job_machine_work.cc: stages.
  void StartRestore(int64_t now_ms, Actions* out);
  void EnterStage(Actions* out);
  void NextWork(int64_t now_ms, Actions* out);
  void NextTrainWork(int64_t now_ms, Actions* out);
  void GoBack(int64_t now_ms, Actions* out);
  bool AssignWorkers(int64_t now_ms, uint64_t at_most, bool new_generation, Actions* out);
  void NewWork();
  void SendToParticipants(control::Command command, Actions* out);
  void StartSpan(int64_t now_ms, uint64_t from, uint64_t until, Actions* out);
  void SendSpan(int64_t now_ms, bool new_generation, Actions* out);
  bool PauseWanted() const;
  bool CanPause();
  void SendPause(Actions* out);
  void PauseFinished(int64_t now_ms, Actions* out);
  void SpanFinished(int64_t now_ms, Actions* out);
  void StartEvaluate(int64_t now_ms, bool validation, Actions* out);
  void SendEvaluate(int64_t now_ms, bool new_generation, Actions* out);
  void SendCombine(int64_t now_ms, Actions* out);
  void CombineFinished(int64_t now_ms, Actions* out);
  void SaveCurve(StateChange* change) const;
  void FinishStage(int64_t now_ms, Actions* out);

  // job_machine_checkpoint.cc
  bool CheckpointWanted(bool due) const;
  bool AwaitsCheckpoint(bool next_wanted) const;
  void StartCheckpoint(int64_t now_ms, Actions* out);
  void CutTaken(int64_t now_ms, Actions* out);
  void TakeFiles(const Node& server, const control::Report& report);
  bool FinishFiles(int64_t now_ms, Actions* out);
  void FilesWritten(int64_t now_ms, Actions* out);
  void Remember(CheckpointRecord record);
  void RecordFailure(int64_t now_ms, const std::string& why, Actions* out);
  void CheckpointFailed(int64_t now_ms, const std::string& why, Actions* out);

  // job_machine_end.cc: chunks, and how the job ends.
  Evaluation EvaluationNow() const;
  Status CheckInWork(const Evaluation& of) const;
  void Stop(int64_t now_ms, Status result, Actions* out);
  void StopAsAsked(int64_t now_ms, Actions* out);
  void Fail(int64_t now_ms, const Status& status, Actions* out);
  void Over(Actions* out);

  const spec::Stage& spec_stage() const { return config_.job.stage(static_cast<int>(stage_)); }
  std::string StageName(uint32_t stage) const {
    return config_.job.stage(static_cast<int>(stage)).name();
  }

  const Config config_;
  Membership members_;
  Phase phase_ = Phase::kGathering;
  Status result_;
  int64_t now_ms_ = 0;  // of the newest event
  Counts counts_;

  // Where the job stands.
  std::optional<control::DatasetFacts> facts_;
  std::string data_digest_;  // of the restored checkpoint; empty: none
  std::vector<std::string> stage_digests_;
  std::vector<StageView> views_;
  size_t stage_ = 0;
  TrainCursor cursor_;                           // of the train stage in work
  std::vector<std::optional<TrainPlan>> plans_;  // index: stage; known with facts_
  std::unique_ptr<LossTracker> losses_;
  RateMeter samples_rate_, done_rate_;  // done: steps or chunks
  uint64_t done_seen_ = 0;
  uint64_t span_samples_ = 0;  // reported of the span in work

  // Who works on what.
  uint32_t workers_wanted_;
  control::Route route_;
  const int64_t stored_generation_;    // by the run of the scheduler before
  int64_t generation_ = 0;             // no two runs give out the same one
  std::vector<int64_t> participants_;  // index: rank
  int64_t combiner_ = 0;
  std::optional<int64_t> workerless_since_ms_;  // work waits for a worker
  std::set<int64_t> failed_workers_;            // at the work in hand; others do it
  uint32_t retries_ = 0;                        // of the work in hand
  // Micro-batches (step, number) of the span that have failed, and on whom.
  using MicroBatchOfStep = std::pair<uint64_t, uint32_t>;
  std::map<MicroBatchOfStep, std::set<int64_t>> suspects_;
  MicroBatchOfStep newest_suspect_;
  uint32_t suspicions_ = 0;  // since one was left out
  Span span_;
  bool validating_ = false;
  ChunkResults chunks_;
  std::optional<Metrics> combined_;

  // Checkpoints.
  struct Restored {
    uint64_t number = 0;
    std::string dir;  // empty: servers start from nothing
  };
  Restored restore_;                 // what servers read, or have read last
  std::optional<Position> weights_;  // what the shards hold; nothing: never trained
  std::optional<Position> saved_;    // the newest whole checkpoint
  uint64_t saved_number_ = 0;
  TrainCursor saved_cursor_;           // of saved_
  std::optional<Position> attempted_;  // no further try there unless someone asks
  SavedFiles saved_files_;             // of saved_
  std::optional<CheckpointRun> checkpoint_;
  bool cutting_ = false;                     // not every shard has taken its cut
  int64_t pause_ms_ = 0;                     // until they had
  TrainCursor writing_cursor_;               // of checkpoint_
  std::optional<CheckpointRecord> writing_;  // whose manifest is in work
  SavedFiles writing_files_;
  uint64_t next_checkpoint_ = 1;
  std::vector<CheckpointRecord> checkpoints_;

  // Going on after a restart of the scheduler, and going back.
  const int64_t runs_;           // of the scheduler on this store, with this one
  std::optional<Status> ended_;  // the job has, before this scheduler was started
  bool resumes_ = false;         // gathering: shards and workers may hold what the store says
  Standing stored_standing_;
  bool begun_ = false;    // servers were told what to restore, by this scheduler or the one before
  bool returns_ = false;  // gathering, after the loss of a server
  int64_t returns_until_ms_ = 0;
  uint32_t returns_here_ = 0;  // to saved_

  bool checkpoint_requested_ = false;
  bool stop_requested_ = false;
  std::string stop_why_;
  int64_t stop_deadline_ms_ = 0;
};

}  // namespace emporium::scheduler
