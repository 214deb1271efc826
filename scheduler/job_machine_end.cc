// JobMachine: chunks and metrics, checkpoints, requests from outside, and how the job ends.
#include <algorithm>
#include <utility>

#include "proto/limits.h"
#include "proto/planted_bug.h"
#include "scheduler/job_machine.h"
#include "scheduler/limits.h"

namespace emporium::scheduler {

using control::CommandKind;

// ---- Chunks and metrics ------------------------------------------------------------------------

Status JobMachine::CheckPhaseOf(uint32_t stage, bool validation) const {
  const bool open = phase_ == Phase::kEvaluating || phase_ == Phase::kCombining;
  if (Planted(PlantedBug::kBelievesAnyChunk)) return Status::Ok();
  if (!open || stage != stage_ || validation != validating_) {
    return Stale("stage " + std::to_string(stage) + " is not being " +
                 (validation ? "validated" : "evaluated") + " now");
  }
  return Status::Ok();
}

Status JobMachine::PutChunk(int64_t now_ms, int64_t node, int64_t incarnation, uint32_t stage,
                            bool validation, int64_t chunk, std::string result) {
  EMPORIUM_ASSIGN_OR_RETURN(Node * sender, members_.Find(node, incarnation));
  sender->heard_ms = now_ms;
  EMPORIUM_RETURN_IF_ERROR(CheckPhaseOf(stage, validation));
  const int64_t before = chunks_.present();
  EMPORIUM_RETURN_IF_ERROR(chunks_.Put(chunk, std::move(result)));
  if (chunks_.present() > before) done_rate_.Add(now_ms, 1);
  return Status::Ok();
}

Result<std::vector<std::string>> JobMachine::GetChunks(int64_t now_ms, int64_t node,
                                                       int64_t incarnation, uint32_t stage,
                                                       bool validation, int64_t from) {
  EMPORIUM_ASSIGN_OR_RETURN(Node * sender, members_.Find(node, incarnation));
  sender->heard_ms = now_ms;
  EMPORIUM_RETURN_IF_ERROR(CheckPhaseOf(stage, validation));
  return chunks_.Get(from);
}

Status JobMachine::PutMetrics(int64_t now_ms, int64_t node, int64_t incarnation, uint32_t stage,
                              bool validation, const std::vector<control::Metric>& metrics) {
  EMPORIUM_ASSIGN_OR_RETURN(Node * sender, members_.Find(node, incarnation));
  sender->heard_ms = now_ms;
  EMPORIUM_RETURN_IF_ERROR(CheckPhaseOf(stage, validation));
  if (phase_ != Phase::kCombining || node != combiner_) {
    return Stale(sender->Name() + " was not asked to combine the results");
  }
  if (metrics.size() > limits::kMaxMetrics) {
    return InvalidArgument("an evaluation gives " + std::to_string(metrics.size()) +
                           " metrics; the most is " + std::to_string(limits::kMaxMetrics));
  }
  combined_.emplace();
  for (const control::Metric& metric : metrics) (*combined_)[metric.name] = metric.value;
  return Status::Ok();
}

// ---- Checkpoints -------------------------------------------------------------------------------

bool JobMachine::CheckpointWanted(bool due) const {
  return (due || checkpoint_requested_ || stop_requested_) && weights_.has_value() &&
         weights_ != saved_ && weights_ != attempted_;
}

void JobMachine::StartCheckpoint(int64_t now_ms, Actions* out) {
  const uint64_t number = next_checkpoint_++;
  attempted_ = weights_;
  checkpoint_requested_ = false;
  phase_ = Phase::kCheckpointing;
  checkpoint_.emplace(number, runtime::CheckpointDir(config_.checkpoint_root, number), *weights_,
                      static_cast<uint32_t>(route_.endpoint_of_shard.size()), now_ms);
  if (Planted(PlantedBug::kPrunesEarly)) {
    out->push_back(PruneCheckpoints{1, cursor_.best_checkpoint});
  }
  out->push_back(MakeCheckpointDir{checkpoint_->dir()});
  for (Node* server : members_.Servers()) {
    control::Command command;
    command.kind = CommandKind::CHECKPOINT;
    command.generation = generation_;
    command.stage = static_cast<int32_t>(weights_->stage);
    command.from_step = command.until_step = static_cast<int64_t>(weights_->step);
    command.checkpoint_dir = checkpoint_->dir();
    command.checkpoint = static_cast<int64_t>(number);
    command.route = route_;
    Give(server, command, out);
  }
}

void JobMachine::ServersWroteCheckpoint(int64_t now_ms, Actions* out) {
  for (const Node* server : members_.Servers()) {
    if (!server->failure.ok() || !checkpoint_->failure().empty()) continue;
    const Status added =
        checkpoint_->AddFiles(server->first_shard, server->shards(), server->shard_files);
    if (!added.ok()) checkpoint_->Fail(server->Name() + ": " + added.message());
  }
  spec::CheckpointManifest manifest;
  manifest.set_job_name(config_.job.name());
  manifest.set_job_fingerprint(config_.fingerprint);
  manifest.set_job_text(config_.job_text);
  // Weights of a stage before the one in work were left where that stage ended.
  writing_cursor_ = checkpoint_->position().stage == stage_ ? cursor_ : TrainCursor();
  writing_cursor_.step = checkpoint_->position().step;
  manifest.set_scheduler_state(EncodeState({facts_->digest, writing_cursor_}));
  if (checkpoint_->failure().empty() || Planted(PlantedBug::kMissesFiles)) {
    const Status filled = checkpoint_->FillManifest(config_.job.cluster().partitions(), &manifest);
    if (!filled.ok()) checkpoint_->Fail(filled.message());
  }
  if (!checkpoint_->failure().empty() && !Planted(PlantedBug::kMissesFiles)) {
    CheckpointFailed(now_ms, checkpoint_->failure(), out);
    if (phase_ == Phase::kCheckpointing) NextWork(now_ms, out);
    return;
  }
  CheckpointRecord record;
  record.number = checkpoint_->number();
  record.position = checkpoint_->position();
  record.bytes = checkpoint_->bytes();
  record.content_digest = manifest.content_digest();
  writing_ = std::move(record);
  out->push_back(WriteManifest{checkpoint_->number(), checkpoint_->dir(), std::move(manifest)});
}

void JobMachine::Remember(CheckpointRecord record) {
  checkpoints_.push_back(std::move(record));
  if (checkpoints_.size() > limits::kMaxCheckpointRecords) checkpoints_.erase(checkpoints_.begin());
}

// What the failed checkpoint has left behind is removed.
void JobMachine::RecordFailure(int64_t now_ms, const std::string& why, Actions* out) {
  ++counts_.failed_checkpoints;
  CheckpointRecord record;
  record.number = checkpoint_->number();
  record.position = checkpoint_->position();
  record.pause_ms = now_ms - checkpoint_->started_ms();
  record.error = why;
  record.unix_ms = now_ms + config_.unix_minus_now_ms;
  StateChange change;
  change.checkpoints.push_back(record);
  Remember(std::move(record));
  out->push_back(SaveState{std::move(change)});
  out->push_back(RemoveCheckpoint{checkpoint_->dir()});
  out->push_back(Note{Note::Level::kError,
                      "checkpoint " + std::to_string(checkpoint_->number()) + " failed: " + why});
  checkpoint_.reset();
}

// The job goes on, unless the stage could not go back to these weights.
void JobMachine::CheckpointFailed(int64_t now_ms, const std::string& why, Actions* out) {
  const std::string what =
      "checkpoint " + std::to_string(checkpoint_->number()) + " failed: " + why;
  const bool kept = phase_ == Phase::kCheckpointing && checkpoint_->position().stage == stage_ &&
                    spec_stage().has_train() && plans_[stage_]->AtKept(cursor_);
  RecordFailure(now_ms, why, out);
  if (kept) {
    Fail(now_ms,
         Unavailable(what + "; it holds the best weights of stage '" + spec_stage().name() +
                     "' so far, which keep_best is to leave"),
         out);
  }
}

void JobMachine::CheckpointWritten(int64_t now_ms, uint64_t number, const Status& status,
                                   Actions* out) {
  now_ms_ = now_ms;
  EMPORIUM_CHECK(writing_.has_value() && checkpoint_.has_value() && checkpoint_->number() == number,
                 "one manifest is written at a time");
  CheckpointRecord record = std::move(*writing_);
  writing_.reset();
  if (!status.ok() && !Planted(PlantedBug::kCountsUnwritten)) {
    CheckpointFailed(now_ms, status.message(), out);
  } else {
    record.pause_ms = now_ms - checkpoint_->started_ms();
    record.unix_ms = now_ms + config_.unix_minus_now_ms;
    saved_ = checkpoint_->position();
    saved_number_ = number;
    saved_cursor_ = writing_cursor_;
    returns_here_ = 0;
    for (TrainCursor* cursor : {&cursor_, &saved_cursor_}) {
      if (saved_->stage == stage_ && cursor->best_step == saved_->step) {
        cursor->best_checkpoint = number;
      }
    }
    StateChange change;
    change.checkpoints.push_back(record);
    if (saved_->stage == stage_) SaveCurve(&change);
    out->push_back(SaveState{std::move(change)});
    out->push_back(PruneCheckpoints{
        std::max(2u, config_.job.checkpoint().keep()),
        Planted(PlantedBug::kForgetsBest) ? std::nullopt : cursor_.best_checkpoint});
    out->push_back(Note{Note::Level::kInfo, "checkpoint " + std::to_string(number) +
                                                " is whole: stage '" +
                                                StageName(record.position.stage) + "', step " +
                                                std::to_string(record.position.step) + ", " +
                                                std::to_string(record.bytes) + " bytes, " +
                                                std::to_string(record.pause_ms) + " ms"});
    Remember(std::move(record));
    checkpoint_.reset();
  }
  if (phase_ == Phase::kCheckpointing) NextWork(now_ms, out);
  Advance(now_ms, out);
}

Status JobMachine::RequestCheckpoint(int64_t now_ms, Actions* out) {
  now_ms_ = now_ms;
  if (phase_ == Phase::kStopping || phase_ == Phase::kOver) {
    return FailedPrecondition("the job is over");
  }
  const bool untrained =
      !weights_.has_value() && phase_ != Phase::kTraining && phase_ != Phase::kPausing;
  if (untrained) return FailedPrecondition("nothing has been trained yet");
  attempted_ = saved_;  // asked for: another try where one has failed
  checkpoint_requested_ = true;
  Advance(now_ms, out);
  return Status::Ok();
}

Status JobMachine::Scale(int64_t now_ms, int64_t workers, Actions* out) {
  now_ms_ = now_ms;
  if (phase_ == Phase::kStopping || phase_ == Phase::kOver) {
    return FailedPrecondition("the job is over");
  }
  if (workers < 1 || workers > int64_t{emporium::limits::kMaxNodes}) {
    return InvalidArgument("a job has from 1 to " + std::to_string(emporium::limits::kMaxNodes) +
                           " workers, not " + std::to_string(workers));
  }
  workers_wanted_ = static_cast<uint32_t>(workers);
  out->push_back(Note{Note::Level::kInfo, std::to_string(workers) + " workers are wanted"});
  Advance(now_ms, out);
  return Status::Ok();
}

// ---- The end -----------------------------------------------------------------------------------

std::string JobMachine::HowToGoOn() const {
  if (!saved_.has_value()) {
    return "there is no checkpoint yet: the same command begins anew";
  }
  return "the same command goes on from checkpoint " + std::to_string(saved_number_) + " (stage '" +
         StageName(saved_->stage) + "', step " + std::to_string(saved_->step) + ")";
}

void JobMachine::RequestStop(int64_t now_ms, const std::string& why, Actions* out) {
  now_ms_ = now_ms;
  if (phase_ == Phase::kOver) return;
  if (stop_requested_ || phase_ == Phase::kStopping) {
    if (phase_ != Phase::kStopping) StopAsAsked(now_ms, out);
    Over(out);
    return;
  }
  stop_requested_ = true;
  stop_why_ = why.empty() ? "on request" : why.substr(0, limits::kMaxErrorText);
  attempted_ = saved_;
  out->push_back(Note{Note::Level::kInfo, "stopping: " + stop_why_});
  switch (phase_) {
    case Phase::kGathering:
    case Phase::kRestoring:
      StopAsAsked(now_ms, out);
      break;
    case Phase::kTraining:
      if (participants_.empty()) StopAsAsked(now_ms, out);
      break;
    case Phase::kEvaluating:
    case Phase::kCombining:
      // Its results are given up; the weights do not change.
      chunks_.Begin(0);
      validating_ = false;
      NextWork(now_ms, out);
      break;
    default:
      break;
  }
  Advance(now_ms, out);
}

void JobMachine::StopAsAsked(int64_t now_ms, Actions* out) {
  Stop(now_ms, Cancelled("stopped (" + stop_why_ + "); " + HowToGoOn()), out);
}

void JobMachine::Fail(int64_t now_ms, const Status& status, Actions* out) {
  if (phase_ == Phase::kStopping || phase_ == Phase::kOver) return;
  const Status told(status.code(), status.message() + "; " + HowToGoOn());
  out->push_back(Note{Note::Level::kError, "the job stops: " + told.message()});
  Stop(now_ms, told, out);
}

void JobMachine::Stop(int64_t now_ms, Status result, Actions* out) {
  phase_ = Phase::kStopping;
  resumes_ = false;  // what the run before has stored holds no more
  result_ = std::move(result);
  stop_deadline_ms_ = now_ms + limits::kStopWaitMs;
  workerless_since_ms_.reset();
  for (Node* node : members_.All()) {
    control::Command command;
    command.kind = CommandKind::STOP;
    command.generation = generation_;
    command.message = result_.ok() ? "" : result_.message();
    Give(node, command, out);
  }
}

void JobMachine::Over(Actions* out) {
  phase_ = Phase::kOver;
  out->push_back(JobOver{result_});
}

std::vector<StageView> JobMachine::stages() const {
  std::vector<StageView> views = views_;
  if (stage_ == views.size() || views[stage_].state != StageView::State::kRunning) return views;
  StageView& view = views[stage_];
  if (losses_ == nullptr) {
    view.done = static_cast<uint64_t>(chunks_.present());
    return views;
  }
  view.curve = losses_->curve();
  view.done = cursor_.step;
  view.samples = plans_[stage_]->SamplesUntil(cursor_.step);
  if (phase_ == Phase::kTraining || phase_ == Phase::kPausing) {
    view.done = std::max(done_seen_, cursor_.step);
    view.samples += span_samples_;
  }
  return views;
}

}  // namespace emporium::scheduler
