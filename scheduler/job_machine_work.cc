// JobMachine: the stages. Spans of training, pauses, evaluations and what comes after each.
#include <algorithm>
#include <utility>

#include "proto/planted_bug.h"
#include "runtime/control_client.h"
#include "runtime/route.h"
#include "scheduler/job_machine.h"
#include "scheduler/limits.h"

namespace emporium::scheduler {

using control::CommandKind;

void JobMachine::StartRestore(int64_t, Actions* out) {
  // Also the route's version: no two runs of the scheduler give out the same one.
  if (!begun_ || !Planted(PlantedBug::kRestoresSameRoute)) ++generation_;
  begun_ = true;
  StateChange change;
  change.generation = generation_;
  out->push_back(SaveState{std::move(change)});

  runtime::Route route;
  route.version = RouteVersion(static_cast<uint64_t>(generation_));
  if (Planted(PlantedBug::kRestoresSameRoute) && route_.version > 0) {
    route.version = RouteVersion(static_cast<uint64_t>(route_.version));
  }
  route.endpoint_of_shard = members_.EndpointsOfShards();
  route.shard_of_partition =
      runtime::EvenAssignment(config_.job.cluster().partitions(), route.shards());
  route_ = runtime::RouteToControl(route);

  phase_ = Phase::kRestoring;
  for (Node* server : members_.Servers()) {
    control::Command command;
    command.kind = CommandKind::RESTORE;
    command.checkpoint_dir = restore_.dir;
    command.checkpoint = static_cast<int64_t>(restore_.number);
    if (weights_.has_value()) {
      command.stage = static_cast<int32_t>(weights_->stage);
      command.from_step = static_cast<int64_t>(weights_->step);
    }
    command.generation = generation_;
    command.route = route_;
    Give(server, command, out);
  }
}

void JobMachine::EnterStage(Actions* out) {
  if (views_[stage_].state != StageView::State::kWaiting) return;
  views_[stage_].state = StageView::State::kRunning;
  out->push_back(Note{Note::Level::kInfo,
                      "stage '" + spec_stage().name() + "' begins" +
                          (cursor_.step > 0 ? " at step " + std::to_string(cursor_.step) : "")});
  samples_rate_.Reset();
  done_rate_.Reset();
  if (spec_stage().has_train()) {
    losses_ = std::make_unique<LossTracker>(*plans_[stage_], views_[stage_].curve);
  }
}

// At a boundary: nobody works, and all shards stand at `weights_`.
void JobMachine::NextWork(int64_t now_ms, Actions* out) {
  const bool ends = stage_ == views_.size();
  if (AwaitsCheckpoint(ends || (!spec_stage().has_train() && CheckpointWanted(false)))) {
    phase_ = Phase::kCheckpointing;
    return;
  }
  if (ends) {
    Stop(now_ms, Status::Ok(), out);
    return;
  }
  EnterStage(out);
  if (spec_stage().has_train()) {
    NextTrainWork(now_ms, out);
  } else if (CheckpointWanted(false)) {
    StartCheckpoint(now_ms, out);
  } else if (stop_requested_) {
    StopAsAsked(now_ms, out);
  } else {
    checkpoint_requested_ = false;
    StartEvaluate(now_ms, false, out);
  }
}

void JobMachine::NextTrainWork(int64_t now_ms, Actions* out) {
  const TrainPlan& plan = *plans_[stage_];
  const TrainWork work = plan.Next(cursor_);
  if (work.kind == TrainWork::Kind::kValidate && !stop_requested_) {
    StartEvaluate(now_ms, true, out);
    return;
  }
  const bool goes_back = plan.GoesBack(cursor_);
  const bool finished = work.kind == TrainWork::Kind::kFinished && !goes_back;
  if (finished) weights_ = Position{static_cast<uint32_t>(stage_), cursor_.step, true};
  const bool wanted = CheckpointWanted(plan.CheckpointDue(cursor_));
  if (AwaitsCheckpoint(wanted || goes_back || finished)) {
    phase_ = Phase::kCheckpointing;
    return;
  }
  if (goes_back && !stop_requested_) {
    GoBack(now_ms, out);
    return;
  }
  if (wanted && !(finished && Planted(PlantedBug::kEndsUnsaved))) {
    StartCheckpoint(now_ms, out);
    return;
  }
  checkpoint_requested_ = false;
  if (finished) {
    FinishStage(now_ms, out);
  } else if (stop_requested_) {
    StopAsAsked(now_ms, out);
  } else {
    StartSpan(now_ms, work.from, work.until, out);
  }
}

// The stage's best weights are not its last: shards read them again, and there the stage ends.
void JobMachine::GoBack(int64_t now_ms, Actions* out) {
  EMPORIUM_CHECK(cursor_.best_checkpoint.has_value(), "what a stage keeps is in a checkpoint");
  const uint64_t number = *cursor_.best_checkpoint;
  cursor_ = TrainPlan::WentBack(cursor_);
  weights_ = Position{static_cast<uint32_t>(stage_), cursor_.step, false};
  out->push_back(Note{Note::Level::kInfo, "stage '" + spec_stage().name() +
                                              "' goes back to its best validation, step " +
                                              std::to_string(cursor_.step) + " in checkpoint " +
                                              std::to_string(number)});
  restore_ = Restored{number, runtime::CheckpointDir(config_.checkpoint_root, number)};
  StartRestore(now_ms, out);
}

// Makes the first `at_most` workers the participants, with a new generation when they are others
// than before or when one is asked for. False when there is no worker.
bool JobMachine::AssignWorkers(int64_t now_ms, uint64_t at_most, bool new_generation,
                               Actions* out) {
  std::vector<int64_t> workers = members_.Workers();
  std::erase_if(workers, [this](int64_t id) { return failed_workers_.contains(id); });
  if (workers.size() > at_most) workers.resize(at_most);
  if (workers.empty()) {
    if (!workerless_since_ms_.has_value()) {
      workerless_since_ms_ = now_ms;
      out->push_back(Note{Note::Level::kWarning, "no worker is left; waiting for one to join"});
    }
    participants_.clear();
    return false;
  }
  workerless_since_ms_.reset();
  if (new_generation || workers != participants_) {
    ++generation_;
    ++counts_.generations;
    StateChange change;
    change.generation = generation_;
    if (!Planted(PlantedBug::kForgetsGenerations)) out->push_back(SaveState{std::move(change)});
  }
  participants_ = std::move(workers);
  return true;
}

void JobMachine::SendToParticipants(control::Command command, Actions* out) {
  command.generation = generation_;
  command.stage = static_cast<int32_t>(stage_);
  command.workers = static_cast<int32_t>(participants_.size());
  command.route = route_;
  for (size_t rank = 0; rank < participants_.size(); ++rank) {
    command.rank = static_cast<int32_t>(rank);
    Give(members_.Find(participants_[rank]), command, out);
  }
}

void JobMachine::NewWork() {
  failed_workers_.clear();
  suspects_.clear();
  suspicions_ = 0;
  retries_ = 0;
}

// ---- Training ----------------------------------------------------------------------------------

void JobMachine::StartSpan(int64_t now_ms, uint64_t from, uint64_t until, Actions* out) {
  phase_ = Phase::kTraining;
  NewWork();
  span_ = Span{from, until, 0, false, false, false};
  span_samples_ = 0;
  done_seen_ = from;
  // A generation of its own: shards that have heard of it refuse what comes from a time before.
  SendSpan(now_ms, true, out);
}

void JobMachine::SendSpan(int64_t now_ms, bool new_generation, Actions* out) {
  const TrainPlan& plan = *plans_[stage_];
  if (!AssignWorkers(now_ms, plan.micro_batches_per_step(), new_generation, out)) {
    // Shards may stand in the middle of a step, and nobody can finish it.
    if (stop_requested_) StopAsAsked(now_ms, out);
    return;
  }
  ++span_.generations;
  control::Command command;
  command.kind = CommandKind::TRAIN;
  command.from_step = static_cast<int64_t>(span_.from);
  command.until_step = static_cast<int64_t>(span_.until);
  command.stage_steps = static_cast<int64_t>(plan.total_steps());
  command.rate_factor = plan.RateFactor(cursor_);
  for (const LeftOut& one : cursor_.left_out) {
    if (one.stage != stage_ || one.step < span_.from || one.step >= span_.until) continue;
    control::MicroBatchName& name = command.left_out.emplace_back();
    name.step = static_cast<int64_t>(one.step);
    name.micro_batch = static_cast<int32_t>(one.micro_batch);
  }
  SendToParticipants(command, out);
}

bool JobMachine::PauseWanted() const {
  return (stop_requested_ || checkpoint_requested_) && !span_.shortened;
}

// A pause ends the span after the highest step that any worker has begun. That is no lower than
// where any shard stands when this is the first generation in the span (nothing began beyond), or
// when a worker of this generation has begun a step (it has looked where the shards stand).
bool JobMachine::CanPause() {
  bool all_seen = !participants_.empty(), any_begun = false;
  for (const int64_t id : participants_) {
    const Node* node = members_.Find(id);
    all_seen = all_seen && node->seen_sequence >= node->train_sequence;
    any_begun = any_begun || node->begun.has_value();
  }
  if (Planted(PlantedBug::kPausesUnseen)) return true;
  return all_seen && (any_begun || span_.generations == 1);
}

void JobMachine::SendPause(Actions* out) {
  phase_ = Phase::kPausing;
  control::Command command;
  command.kind = CommandKind::PAUSE;
  command.from_step = static_cast<int64_t>(span_.from);
  command.until_step = static_cast<int64_t>(span_.until);
  command.stage_steps = static_cast<int64_t>(plans_[stage_]->total_steps());
  SendToParticipants(command, out);
}

void JobMachine::PauseFinished(int64_t now_ms, Actions* out) {
  uint64_t until = span_.from;
  for (const int64_t id : participants_) {
    const Node* node = members_.Find(id);
    const uint64_t more = Planted(PlantedBug::kPausesTooEarly) ? 0 : 1;
    if (node->begun.has_value()) until = std::max(until, *node->begun + more);
  }
  span_.until = std::min(until, span_.until);
  span_.shortened = true;
  if (span_.until == span_.from) {
    SpanFinished(now_ms, out);
    return;
  }
  // A new generation: each worker looks where the shards stand and goes on from there.
  phase_ = Phase::kTraining;
  SendSpan(now_ms, true, out);
}

void JobMachine::SpanFinished(int64_t now_ms, Actions* out) {
  losses_->Settle(span_.until);
  cursor_.step = span_.until;
  // Without a step, too, shards may have begun the stage: weights that the stage before could not
  // save are now those of this one's beginning.
  const bool unsaved = weights_.has_value() && weights_ != saved_;
  if (span_.until > span_.from || unsaved) {
    weights_ = Position{static_cast<uint32_t>(stage_), span_.until, false};
  }
  NextWork(now_ms, out);
}

// ---- Evaluation and export ---------------------------------------------------------------------

void JobMachine::StartEvaluate(int64_t now_ms, bool validation, Actions* out) {
  validating_ = validation;
  NewWork();
  combined_.reset();
  done_rate_.Reset();
  chunks_.Begin(validation ? facts_->validation_chunks_of_stage[stage_]
                           : facts_->chunks_of_stage[stage_]);
  if (chunks_.chunks() == 0) {
    SendCombine(now_ms, out);
    return;
  }
  phase_ = Phase::kEvaluating;
  SendEvaluate(now_ms, false, out);
}

void JobMachine::SendEvaluate(int64_t now_ms, bool new_generation, Actions* out) {
  if (!AssignWorkers(now_ms, static_cast<uint64_t>(chunks_.chunks()), new_generation, out)) return;
  control::Command command;
  command.kind = spec_stage().has_export_() ? CommandKind::EXPORT : CommandKind::EVALUATE;
  command.chunks = chunks_.chunks();
  command.validation = validating_;
  command.from_step = EvaluationNow().step;
  SendToParticipants(command, out);
}

// To the worker of the lowest id, which is rank 0 of every generation.
void JobMachine::SendCombine(int64_t now_ms, Actions* out) {
  phase_ = Phase::kCombining;
  combiner_ = 0;
  if (!chunks_.complete()) {
    Fail(now_ms,
         Internal("the workers have finished, but chunk " + std::to_string(chunks_.FirstMissing()) +
                  " of stage '" + spec_stage().name() + "' has no result"),
         out);
    return;
  }
  if (!AssignWorkers(now_ms, limits::kMaxChunks, false, out)) return;
  combiner_ = participants_.front();
  control::Command command;
  command.kind = CommandKind::COMBINE;
  command.generation = generation_;
  command.stage = static_cast<int32_t>(stage_);
  command.workers = static_cast<int32_t>(participants_.size());
  command.chunks = chunks_.chunks();
  command.validation = validating_;
  command.from_step = EvaluationNow().step;
  command.route = route_;
  Give(members_.Find(combiner_), command, out);
}

void JobMachine::CombineFinished(int64_t now_ms, Actions* out) {
  chunks_.Begin(0);
  if (!combined_.has_value() && !spec_stage().has_export_()) {
    Fail(now_ms, Internal("stage '" + spec_stage().name() + "' was evaluated without metrics"),
         out);
    return;
  }
  const Metrics metrics = combined_.value_or(Metrics());
  StateChange change;
  StageMetrics of_stage{static_cast<uint32_t>(stage_), std::nullopt, metrics};
  if (!validating_) {
    views_[stage_].metrics = metrics;
    change.metrics.push_back(std::move(of_stage));
    out->push_back(SaveState{std::move(change)});
    FinishStage(now_ms, out);
    return;
  }
  validating_ = false;
  if (Status status = plans_[stage_]->Validated(metrics, &cursor_); !status.ok()) {
    Fail(now_ms, status, out);
    return;
  }
  if (plans_[stage_]->AtKept(cursor_)) {
    if (saved_ == weights_) {
      cursor_.best_checkpoint = saved_number_;  // someone asked for it before the validation
    } else {
      attempted_ = saved_;
    }
  }
  views_[stage_].validations[cursor_.step] = metrics;
  of_stage.step = cursor_.step;
  change.metrics.push_back(std::move(of_stage));
  out->push_back(SaveState{std::move(change)});
  if (cursor_.stopped_early) {
    out->push_back(Note{Note::Level::kInfo, "stage '" + spec_stage().name() +
                                                "' stops early at step " +
                                                std::to_string(cursor_.step) + ": " +
                                                std::to_string(cursor_.without_improvement) +
                                                " validations without improvement"});
  }
  NextWork(now_ms, out);
}

void JobMachine::SaveCurve(StateChange* change) const {
  if (losses_ == nullptr) return;
  change->curves[static_cast<uint32_t>(stage_)] = losses_->curve();
}

void JobMachine::FinishStage(int64_t now_ms, Actions* out) {
  StageView& view = views_[stage_];
  view.state = StageView::State::kDone;
  StateChange change;
  change.finished[static_cast<uint32_t>(stage_)] = stage_digests_[stage_];
  if (spec_stage().has_train()) {
    SaveCurve(&change);
    view.curve = losses_->curve();
    view.done = cursor_.step;
    view.samples = plans_[stage_]->SamplesUntil(cursor_.step);
    losses_.reset();
  } else {
    view.done = view.total;
  }
  out->push_back(SaveState{std::move(change)});
  out->push_back(Note{Note::Level::kInfo, "stage '" + spec_stage().name() + "' is finished"});
  ++stage_;
  SkipStages();
  cursor_ = cursor_.Afresh();
  NextWork(now_ms, out);
}

}  // namespace emporium::scheduler
