// JobMachine: checkpoints. Shards take a cut, which pauses training for a moment; their files are
// written while it goes on, and the manifest when all files are there.
#include <algorithm>
#include <utility>

#include "proto/check.h"
#include "proto/planted_bug.h"
#include "scheduler/job_machine.h"
#include "scheduler/limits.h"

namespace emporium::scheduler {

using control::CommandKind;

bool JobMachine::CheckpointWanted(bool due) const {
  return (due || checkpoint_requested_ || stop_requested_) && weights_.has_value() &&
         weights_ != saved_ && weights_ != attempted_;
}

// Whether what comes next has to wait for the checkpoint that is being written: one at a time, and
// the job neither ends nor goes back meanwhile.
bool JobMachine::AwaitsCheckpoint(bool next_wanted) const {
  return checkpoint_.has_value() && (next_wanted || stop_requested_);
}

void JobMachine::StartCheckpoint(int64_t now_ms, Actions* out) {
  EMPORIUM_CHECK(!checkpoint_.has_value(), "one checkpoint is written at a time");
  const uint64_t number = next_checkpoint_++;
  attempted_ = weights_;
  checkpoint_requested_ = false;
  phase_ = Phase::kCheckpointing;
  cutting_ = true;
  // Weights of a stage before the one in work were left where that stage ended.
  writing_cursor_ = weights_->stage == stage_ ? cursor_ : cursor_.Afresh();
  writing_cursor_.step = weights_->step;
  const bool changes =
      !weights_->done && saved_files_.deltas() < config_.job.checkpoint().max_deltas();
  checkpoint_.emplace(number, runtime::CheckpointDir(config_.checkpoint_root, number), *weights_,
                      static_cast<uint32_t>(route_.endpoint_of_shard.size()), now_ms,
                      changes ? saved_files_ : SavedFiles());
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
    command.parent = static_cast<int64_t>(checkpoint_->parent());
    command.route = route_;
    Give(server, command, out);
  }
}

// Every shard stands still in memory, as it were: training goes on while the files are written,
// unless what is next depends on them.
void JobMachine::CutTaken(int64_t now_ms, Actions* out) {
  cutting_ = false;
  pause_ms_ = now_ms - checkpoint_->started_ms();
  if (!checkpoint_->failure().empty()) {
    CheckpointFailed(now_ms, checkpoint_->failure(), out);
    if (phase_ == Phase::kCheckpointing) NextWork(now_ms, out);
    return;
  }
  const Position& position = checkpoint_->position();
  const bool kept =
      position.stage == stage_ && spec_stage().has_train() && plans_[stage_]->AtKept(cursor_);
  if (!position.done && !kept && !stop_requested_) NextWork(now_ms, out);
}

// What a server says of the checkpoint in work, with any report after it took its cut.
void JobMachine::TakeFiles(const Node& server, const control::Report& report) {
  if (!checkpoint_.has_value() || writing_.has_value() || report.checkpoint <= 0 ||
      static_cast<uint64_t>(report.checkpoint) != checkpoint_->number()) {
    return;
  }
  if (!report.checkpoint_error.empty()) {
    checkpoint_->Fail(server.Name() + ": " +
                      report.checkpoint_error.substr(0, limits::kMaxErrorText));
    return;
  }
  const Status added =
      checkpoint_->AddFiles(server.first_shard, server.shards(), report.shard_files);
  if (!added.ok()) checkpoint_->Fail(server.Name() + ": " + added.message());
}

// Whether the checkpoint that is being written has come further; in any phase.
bool JobMachine::FinishFiles(int64_t now_ms, Actions* out) {
  const bool over = phase_ == Phase::kStopping || phase_ == Phase::kOver;
  if (!checkpoint_.has_value() || cutting_ || writing_.has_value() || over) return false;
  const bool all = checkpoint_->complete() || Planted(PlantedBug::kMissesFiles);
  if (checkpoint_->failure().empty() && !all) return false;
  FilesWritten(now_ms, out);
  return true;
}

void JobMachine::FilesWritten(int64_t now_ms, Actions* out) {
  WriteManifest write;
  spec::CheckpointManifest& manifest = write.manifest;
  manifest.set_job_name(config_.job.name());
  manifest.set_job_fingerprint(config_.fingerprint);
  manifest.set_job_text(config_.job_text);
  manifest.set_scheduler_state(EncodeState({facts_->digest, writing_cursor_}));
  if (checkpoint_->failure().empty() || Planted(PlantedBug::kMissesFiles)) {
    const Status filled =
        checkpoint_->FillManifest(config_.job.cluster().partitions(), &manifest, &write.links);
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
  writing_files_ = {checkpoint_->number(), {manifest.file().begin(), manifest.file().end()}};
  writing_ = std::move(record);
  write.number = checkpoint_->number();
  write.dir = checkpoint_->dir();
  if (!write.links.empty()) {
    write.parent_dir = runtime::CheckpointDir(config_.checkpoint_root, checkpoint_->parent());
  }
  out->push_back(std::move(write));
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
  record.pause_ms = cutting_ ? now_ms - checkpoint_->started_ms() : pause_ms_;
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
  cutting_ = false;
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
    // What comes next waits for some: a stage's last, for instance.
    const int64_t written_ms = now_ms - checkpoint_->started_ms();
    record.pause_ms = phase_ == Phase::kCheckpointing ? written_ms : pause_ms_;
    record.unix_ms = now_ms + config_.unix_minus_now_ms;
    saved_ = checkpoint_->position();
    saved_number_ = number;
    saved_cursor_ = writing_cursor_;
    saved_files_ = std::move(writing_files_);
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
    out->push_back(Note{
        Note::Level::kInfo,
        "checkpoint " + std::to_string(number) + " is whole: stage '" +
            StageName(record.position.stage) + "', step " + std::to_string(record.position.step) +
            ", " + std::to_string(record.bytes) + " bytes in " + std::to_string(written_ms) +
            " ms, a pause of " + std::to_string(record.pause_ms) + " ms"});
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

}  // namespace emporium::scheduler
