// JobMachine: a server is lost, and the job goes back to its last checkpoint as a whole. What
// follows is trained again and gives the same bits (docs/semantics.md).
#include <algorithm>
#include <utility>

#include "proto/planted_bug.h"
#include "scheduler/job_machine.h"
#include "scheduler/limits.h"

namespace emporium::scheduler {

void JobMachine::ServerLost(int64_t now_ms, const Node& node, const std::string& how,
                            Actions* out) {
  const int32_t last = node.first_shard + static_cast<int32_t>(node.shards()) - 1;
  const std::string what = node.Name() + " " + how + ", and with it the shards " +
                           std::to_string(node.first_shard) + " to " + std::to_string(last);
  if (stop_requested_) {
    StopAsAsked(now_ms, out);
    return;
  }
  if (++returns_here_ > limits::kMaxReturns) {
    Fail(now_ms,
         Unavailable(what + "; servers were lost " + std::to_string(returns_here_) +
                     " times without a new checkpoint"),
         out);
    return;
  }
  ++counts_.returns;
  out->push_back(Note{Note::Level::kWarning, what + "; " + WhereItReturns()});
  if (checkpoint_.has_value() && !writing_.has_value()) {
    RecordFailure(now_ms, node.Name() + " " + how, out);
  }
  GoToSaved(now_ms, out);
}

// As soon as there are servers; until then nobody works.
void JobMachine::GoToSaved(int64_t now_ms, Actions* out) {
  phase_ = Phase::kGathering;
  resumes_ = false;
  returns_ = true;
  returns_until_ms_ = now_ms + limits::kNoServerWaitMs;
  participants_.clear();
  workerless_since_ms_.reset();
  for (Node* worker : members_.All()) {
    if (worker->is_server()) continue;
    control::Command command;
    command.kind = control::CommandKind::HOLD;
    command.generation = generation_;
    Give(worker, command, out);
  }
}

std::string JobMachine::WhereItReturns() const {
  if (!saved_.has_value()) return "the job begins anew when another takes its place";
  return "the job goes back to checkpoint " + std::to_string(saved_number_) +
         " when another takes its place";
}

// Whether the job may begin, or go on after the loss of a server. A manifest that is being written
// decides where: it is waited for.
bool JobMachine::Gathered() const {
  const size_t workers = begun_ ? 1 : workers_wanted_;
  const bool complete = members_.Complete(config_.servers) ||
                        (Planted(PlantedBug::kHoldsNobody) && begun_ && members_.servers() > 0);
  return !writing_.has_value() && complete && members_.Workers().size() >= workers;
}

// Everything is as if the scheduler had been started again, but that it knows its nodes.
void JobMachine::ReturnToSaved(Actions* out) {
  StoredState remembered = Remembered();
  for (StageView& view : views_) {
    StageView fresh;
    fresh.total = view.total;
    view = std::move(fresh);
  }
  returns_ = false;
  losses_.reset();
  chunks_.Begin(0);
  combined_.reset();
  validating_ = false;
  stage_ = 0;
  const std::vector<LeftOut> left_out = cursor_.left_out;
  if (!Planted(PlantedBug::kKeepsCursor)) cursor_ = saved_cursor_;
  cursor_.left_out = left_out;
  weights_ = attempted_ = saved_;
  restore_ = Restored();
  if (saved_.has_value()) {
    restore_ = {saved_number_, runtime::CheckpointDir(config_.checkpoint_root, saved_number_)};
  }
  TakePosition(std::move(remembered));
  FillDoneStages();
  SavePosition(out);
}

// What a store would hold of stages and their outcomes.
StoredState JobMachine::Remembered() const {
  StoredState state;
  for (size_t i = 0; i < views_.size(); ++i) {
    const auto stage = static_cast<uint32_t>(i);
    const StageView& view = views_[i];
    if (view.state == StageView::State::kDone) {
      state.finished[stage] = stage_digests_[i];
      if (!view.metrics.empty()) state.metrics.push_back({stage, std::nullopt, view.metrics});
    }
    for (const auto& [step, metrics] : view.validations) {
      state.metrics.push_back({stage, step, metrics});
    }
    const bool in_work = i == stage_ && losses_ != nullptr;
    state.curves[stage] = in_work ? losses_->curve() : view.curve;
  }
  return state;
}

}  // namespace emporium::scheduler
