// JobMachine: what of a running job is in the state store, and how a scheduler that was started
// again goes on with it.
#include <algorithm>
#include <utility>

#include "proto/planted_bug.h"
#include "scheduler/job_machine.h"
#include "scheduler/limits.h"

namespace emporium::scheduler {

// ---- While the job runs ------------------------------------------------------------------------

JobMachine::Standing JobMachine::StandingNow() const {
  Standing now;
  now.generation = generation_;
  now.next_node = members_.next_node();
  now.removals = members_.removals();
  now.stage = stage_;
  now.cursor = cursor_;
  now.weights = weights_;
  now.saved_number = saved_number_;
  now.next_checkpoint = next_checkpoint_;
  now.workers_wanted = workers_wanted_;
  now.phase = phase_;
  if (phase_ == Phase::kTraining || phase_ == Phase::kPausing) {
    now.span = RunningState::Span{span_.from, span_.until, span_.shortened};
    now.phase = Phase::kTraining;
  }
  return now;
}

// Whatever has changed is in the store before anybody hears of it.
void JobMachine::SaveRunning(Actions* out) {
  if (config_.exports_only) return;
  const Standing now = StandingNow();
  if (now == stored_standing_ || Planted(PlantedBug::kStoresNothing)) return;
  if (resumes_) return;  // what the run before has stored still holds
  stored_standing_ = now;
  StateChange change;
  change.running = EncodeRunning(Running());
  out->push_back(SaveState{std::move(change)});
}

RunningState JobMachine::Running() const {
  RunningState state;
  const bool ends = phase_ == Phase::kStopping || phase_ == Phase::kOver;
  if (ends && Planted(PlantedBug::kForgetsTheEnd)) return state;
  if (ends) {
    state.ended = result_;
    return state;
  }
  for (const auto& [id, node] : members_.nodes()) {
    state.nodes.push_back({id, node.incarnation, node.first_shard, node.registration});
  }
  state.begun = begun_;
  state.serving = phase_ != Phase::kGathering && phase_ != Phase::kRestoring;
  if (state.serving) state.route = route_;
  state.stage = static_cast<uint32_t>(stage_);
  state.cursor = cursor_;
  state.weights = weights_;
  state.span = stored_standing_.span;
  state.workers_wanted = workers_wanted_;
  state.saved_number = saved_number_;
  state.next_checkpoint = next_checkpoint_;
  return state;
}

// ---- Started again -----------------------------------------------------------------------------

// Whether the weights that `running` speaks of may still be there. A checkpoint that it does not
// know must be of those, or of earlier ones: it was written and could not be noted any more.
bool JobMachine::MayResume(const RunningState& running) const {
  if (!config_.rejoin || config_.exports_only) return false;
  if (running.ended.has_value()) return true;
  if (running.nodes.empty()) return false;
  if (running.saved_number == saved_number_) return true;
  return saved_.has_value() && running.weights.has_value() && !IsBefore(*running.weights, *saved_);
}

Status JobMachine::TakeRunning(RunningState running, StoredState stored) {
  ended_ = std::move(running.ended);
  for (RunningState::KnownNode& node : running.nodes) {
    members_.Restore(node.id, node.incarnation, node.first_shard, node.registration);
  }
  const bool serving = running.serving && members_.Complete(config_.servers);
  begun_ = running.begun;
  workers_wanted_ = running.workers_wanted;
  if (serving) {
    weights_ = running.weights;
    cursor_ = running.cursor;
    route_ = running.route;
    if (saved_.has_value() && weights_ == saved_ && cursor_.best_step == saved_->step) {
      cursor_.best_checkpoint = saved_number_;  // which could not be noted any more
    }
  } else {
    cursor_.left_out = std::move(running.cursor.left_out);
  }
  next_checkpoint_ = std::max(next_checkpoint_, running.next_checkpoint);
  TakePosition(std::move(stored));
  for (const auto& [id, node] : members_.nodes()) {
    if (!node.is_server()) EMPORIUM_RETURN_IF_ERROR(AdoptFacts(node.registration.facts));
  }
  // A stage whose part of the job was changed is run again, from the checkpoint.
  resumes_ = serving && facts_.has_value() && stage_ == running.stage && stage_ < views_.size();
  returns_ = !resumes_ && begun_;
  if (resumes_ && running.span.has_value()) {
    span_ = Span{running.span->from, running.span->until, 1, running.span->shortened, true};
  }
  return Status::Ok();
}

// Every lease begins anew, and every server says first what its shards have been told.
void JobMachine::Rejoin(int64_t now_ms, Actions* out) {
  members_.RenewAll(now_ms);
  returns_until_ms_ = now_ms + limits::kNoServerWaitMs;
  out->push_back(Note{Note::Level::kInfo, "the scheduler was started again; " +
                                              std::to_string(members_.servers()) + " servers and " +
                                              std::to_string(members_.Workers().size()) +
                                              " workers were there"});
}

bool JobMachine::ServersReported() {
  const std::vector<Node*> servers = members_.Servers();
  return members_.Complete(config_.servers) &&
         std::all_of(servers.begin(), servers.end(), [](const Node* s) { return s->reported; });
}

// All servers are there. When shards have been told more than the store knows, it was not written
// for a while before this scheduler was started, and only the checkpoints are sure.
void JobMachine::Resume(int64_t now_ms, Actions* out) {
  resumes_ = false;
  const std::vector<Node*> servers = members_.Servers();
  const bool behind = std::any_of(servers.begin(), servers.end(), [this](const Node* server) {
    return server->generation > stored_generation_;
  });
  if (behind && !Planted(PlantedBug::kIgnoresLaterGeneration)) {
    ++counts_.returns;
    out->push_back(Note{
        Note::Level::kWarning,
        "the shards are at a later generation than the scheduler's state; " + WhereItReturns()});
    GoToSaved(now_ms, out);
    return;
  }
  if (span_.until == 0) {
    NextWork(now_ms, out);
    return;
  }
  EnterStage(out);
  losses_->Settle(span_.from);
  span_samples_ = 0;
  done_seen_ = span_.from;
  phase_ = Phase::kTraining;
  SendSpan(now_ms, true, out);
}

}  // namespace emporium::scheduler
