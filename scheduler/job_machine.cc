#include "scheduler/job_machine.h"

#include <algorithm>
#include <utility>

#include "scheduler/limits.h"

namespace emporium::scheduler {

const char* PhaseName(Phase phase) {
  switch (phase) {
    case Phase::kGathering:
      return "waiting for nodes";
    case Phase::kRestoring:
      return "restoring";
    case Phase::kTraining:
      return "training";
    case Phase::kPausing:
      return "finishing the step";
    case Phase::kEvaluating:
      return "evaluating";
    case Phase::kCombining:
      return "combining";
    case Phase::kCheckpointing:
      return "writing a checkpoint";
    case Phase::kStopping:
      return "stopping";
    case Phase::kOver:
      return "over";
  }
  return "unknown";
}

JobMachine::JobMachine(Config config, const StoredState& stored)
    : config_(std::move(config)),
      members_(stored.next_node, config_.incarnation_base, config_.lease_ms,
               (stored.runs + 1) << 32),
      views_(static_cast<size_t>(config_.job.stage_size())),
      plans_(static_cast<size_t>(config_.job.stage_size())),
      workers_wanted_(config_.workers),
      stored_generation_(stored.generation),
      generation_(std::max(stored.generation, (stored.runs + 1) << 32)),
      runs_(stored.runs + 1) {
  for (const spec::Stage& stage : config_.job.stage()) {
    stage_digests_.push_back(StageDigest(stage));
  }
}

Result<std::unique_ptr<JobMachine>> JobMachine::Make(
    Config config, StoredState stored, const std::optional<runtime::CheckpointInfo>& checkpoint,
    uint64_t next_checkpoint) {
  if (config.servers == 0 || config.workers == 0) {
    return InvalidArgument("a job needs at least one server and one worker");
  }
  if (config.exports_only && !checkpoint.has_value()) {
    return NotFound("there is no checkpoint in " + config.checkpoint_root +
                    " to export from; run the job first");
  }
  auto machine = std::unique_ptr<JobMachine>(new JobMachine(std::move(config), stored));  // NOLINT
  machine->next_checkpoint_ = next_checkpoint;
  machine->checkpoints_ = stored.checkpoints;
  if (checkpoint.has_value()) EMPORIUM_RETURN_IF_ERROR(machine->TakeCheckpoint(*checkpoint));
  Result<RunningState> running = DecodeRunning(stored.running);
  if (!running.ok() || !machine->MayResume(*running)) {
    machine->TakePosition(std::move(stored));
  } else {
    EMPORIUM_RETURN_IF_ERROR(machine->TakeRunning(std::move(running).value(), std::move(stored)));
  }
  return machine;
}

Status JobMachine::TakeCheckpoint(const runtime::CheckpointInfo& checkpoint) {
  const spec::CheckpointManifest& manifest = checkpoint.manifest;
  Result<CheckpointState> state = DecodeState(manifest.scheduler_state());
  if (!state.ok()) return state.status().WithContext(checkpoint.dir);
  if (manifest.stage() >= views_.size() ||
      !config_.job.stage(static_cast<int>(manifest.stage())).has_train() ||
      manifest.partitions() != config_.job.cluster().partitions()) {
    return DataLoss(checkpoint.dir + ": stands at stage " + std::to_string(manifest.stage()) +
                    " with " + std::to_string(manifest.partitions()) +
                    " partitions, which this job does not have");
  }
  weights_ = saved_ = attempted_ =
      Position{manifest.stage(), manifest.step(), manifest.stage_done()};
  saved_number_ = checkpoint.number;
  saved_files_ = {checkpoint.number, {manifest.file().begin(), manifest.file().end()}};
  restore_ = {checkpoint.number, checkpoint.dir};
  data_digest_ = state->data_digest;
  cursor_ = state->cursor;
  if (cursor_.best_step == cursor_.step) cursor_.best_checkpoint = checkpoint.number;
  saved_cursor_ = cursor_;
  return Status::Ok();
}

// The checkpoint says where the job stands; of the stages after it, those that need no training in
// between and whose outcome is in the store are finished too.
void JobMachine::TakePosition(StoredState stored) {
  const auto is_finished = [&](uint32_t stage) {
    if (weights_.has_value() && stage < weights_->stage) return true;
    if (weights_.has_value() && stage == weights_->stage) return weights_->done;
    const auto finished = stored.finished.find(stage);
    return !config_.job.stage(static_cast<int>(stage)).has_train() &&
           finished != stored.finished.end() && finished->second == stage_digests_[stage];
  };
  while (stage_ < views_.size() && is_finished(static_cast<uint32_t>(stage_))) {
    views_[stage_++].state = StageView::State::kDone;
  }
  if (!weights_.has_value() || stage_ != weights_->stage) cursor_ = cursor_.Afresh();

  for (StageMetrics& m : stored.metrics) {
    const bool past = m.stage < stage_ || (m.stage == stage_ && m.step && *m.step <= cursor_.step);
    if (!past) continue;
    (m.step ? views_[m.stage].validations[*m.step] : views_[m.stage].metrics) =
        std::move(m.metrics);
  }
  for (auto& [stage, curve] : stored.curves) {
    if (stage > stage_ || stage >= views_.size()) continue;
    if (stage == stage_) {
      std::erase_if(curve, [this](const CurvePoint& p) { return p.step + p.steps > cursor_.step; });
    }
    views_[stage].curve = std::move(curve);
  }
  if (!config_.exports_only) return;
  for (size_t i = 0; i < views_.size(); ++i) {
    if (config_.job.stage(static_cast<int>(i)).has_export_()) {
      views_[i].state = StageView::State::kWaiting;
    }
  }
  stage_ = 0;
  SkipStages();
}

void JobMachine::SkipStages() {
  while (config_.exports_only && stage_ < views_.size() && !spec_stage().has_export_()) ++stage_;
}

void JobMachine::Start(int64_t now_ms, Actions* out) {
  now_ms_ = now_ms;
  StateChange change;
  change.fingerprint = config_.fingerprint;
  change.runs = runs_;
  if (!resumes_) change.running = "";
  out->push_back(SaveState{std::move(change)});
  SavePosition(out);
  if (!members_.nodes().empty()) Rejoin(now_ms, out);
  if (saved_.has_value() && !resumes_) {
    out->push_back(Note{Note::Level::kInfo, "going on from checkpoint " +
                                                std::to_string(saved_number_) + " (stage '" +
                                                StageName(saved_->stage) + "', step " +
                                                std::to_string(saved_->step) + ")"});
  }
  if (ended_.has_value()) {
    out->push_back(Note{Note::Level::kInfo, "the job had ended before the scheduler died"});
    Stop(now_ms, *ended_, out);
  } else if (stage_ == views_.size()) {
    out->push_back(Note{Note::Level::kInfo, "nothing is left to do: every stage is finished"});
    Stop(now_ms, Status::Ok(), out);
  }
  Advance(now_ms, out);
}

// Takes the store back to where the job stands.
void JobMachine::SavePosition(Actions* out) const {
  StateChange change;
  if (!config_.exports_only) {
    change.rewind = Position{static_cast<uint32_t>(stage_), cursor_.step, false};
  }
  if (stage_ < views_.size() && !views_[stage_].curve.empty()) {
    change.curves[static_cast<uint32_t>(stage_)] = views_[stage_].curve;
  }
  out->push_back(SaveState{std::move(change)});
}

void JobMachine::Tick(int64_t now_ms, Actions* out) {
  const std::optional<int64_t> deadline = next_deadline_ms();
  now_ms_ = now_ms;
  if (deadline.has_value() && now_ms > *deadline + limits::kLateTickMs) {
    // It is this process that did not run: nobody could have been heard.
    members_.RenewAll(now_ms);
  }
  for (const int64_t id : members_.Expired(now_ms)) {
    NodeLost(now_ms, id, "was silent for longer than its lease", out);
  }
  if (workerless_since_ms_.has_value() && phase_ != Phase::kStopping && phase_ != Phase::kOver &&
      now_ms >= *workerless_since_ms_ + limits::kNoWorkerWaitMs) {
    Fail(now_ms,
         Unavailable("no worker is left, and none joined within " +
                     std::to_string(limits::kNoWorkerWaitMs / 1000) + " s"),
         out);
  }
  if (phase_ == Phase::kGathering && returns_ && now_ms >= returns_until_ms_) {
    Fail(now_ms,
         Unavailable("a server was lost, and none took its place within " +
                     std::to_string(limits::kNoServerWaitMs / 1000) + " s"),
         out);
  }
  if (phase_ == Phase::kStopping && now_ms >= stop_deadline_ms_) Over(out);
  Advance(now_ms, out);
}

std::optional<int64_t> JobMachine::next_deadline_ms() const {
  if (phase_ == Phase::kOver) return std::nullopt;
  std::optional<int64_t> next = members_.next_expiry_ms();
  const auto also = [&next](int64_t at) { next = next.has_value() ? std::min(*next, at) : at; };
  if (phase_ == Phase::kStopping) {
    also(stop_deadline_ms_);
  } else if (phase_ == Phase::kGathering && returns_) {
    also(returns_until_ms_);
  } else if (workerless_since_ms_.has_value()) {
    also(*workerless_since_ms_ + limits::kNoWorkerWaitMs);
  }
  return next;
}

// ---- From phase to phase -----------------------------------------------------------------------

void JobMachine::Advance(int64_t now_ms, Actions* out) {
  while (Step(now_ms, out)) {
  }
  SaveRunning(out);
}

// Leaves the phase when its work is finished; false when it is not.
bool JobMachine::Step(int64_t now_ms, Actions* out) {
  if (FinishFiles(now_ms, out)) return true;
  const Phase before = phase_;
  switch (phase_) {
    case Phase::kGathering:
      if (resumes_) {
        if (!ServersReported()) return false;
        Resume(now_ms, out);
        return phase_ != before;
      }
      if (!Gathered()) return false;
      if (returns_) ReturnToSaved(out);
      StartRestore(now_ms, out);
      break;
    case Phase::kRestoring:
      if (!ServersDone()) return false;
      NextWork(now_ms, out);
      break;
    case Phase::kTraining:
      if (ParticipantsDone()) {
        SpanFinished(now_ms, out);
        return true;
      }
      if (!PauseWanted() || !CanPause()) return false;
      SendPause(out);
      break;
    case Phase::kPausing:
      if (!ParticipantsDone()) return false;
      PauseFinished(now_ms, out);
      return true;
    case Phase::kEvaluating:
      if (!ParticipantsDone()) return false;
      SendCombine(now_ms, out);
      break;
    case Phase::kCombining: {
      const Node* combiner = members_.Find(combiner_);
      if (combiner == nullptr || !combiner->finished) return false;
      CombineFinished(now_ms, out);
      return true;
    }
    case Phase::kCheckpointing:
      if (!cutting_ || !ServersDone()) return false;
      CutTaken(now_ms, out);
      return true;
    case Phase::kStopping:
      if (!members_.nodes().empty()) return false;
      Over(out);
      break;
    case Phase::kOver:
      return false;
  }
  return phase_ != before;
}

bool JobMachine::ParticipantsDone() {
  return !participants_.empty() &&
         std::all_of(participants_.begin(), participants_.end(), [this](int64_t id) {
           const Node* node = members_.Find(id);
           return node != nullptr && node->finished;
         });
}

bool JobMachine::ServersDone() {
  const std::vector<Node*> servers = members_.Servers();
  return std::all_of(servers.begin(), servers.end(), [](const Node* n) { return n->settled(); });
}

void JobMachine::Give(Node* node, const control::Command& command, Actions* out) {
  out->push_back(SendCommand{node->id, members_.Give(node, command)});
}

}  // namespace emporium::scheduler
