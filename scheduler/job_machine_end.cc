// JobMachine: chunks and metrics, requests from outside, and how the job ends.
#include <algorithm>
#include <utility>

#include "proto/limits.h"
#include "proto/planted_bug.h"
#include "scheduler/job_machine.h"
#include "scheduler/limits.h"

namespace emporium::scheduler {

using control::CommandKind;

// ---- Chunks and metrics ------------------------------------------------------------------------

JobMachine::Evaluation JobMachine::EvaluationNow() const {
  return {static_cast<int64_t>(stage_), validating_, static_cast<int64_t>(cursor_.step)};
}

Status JobMachine::CheckInWork(const Evaluation& of) const {
  const bool open = phase_ == Phase::kEvaluating || phase_ == Phase::kCombining;
  if (Planted(PlantedBug::kBelievesAnyChunk)) return Status::Ok();
  if (open && of == EvaluationNow()) return Status::Ok();
  return Stale("stage " + std::to_string(of.stage) + " is not being " +
               (of.validation ? "validated at step " + std::to_string(of.step) : "evaluated") +
               " now");
}

Status JobMachine::PutChunk(int64_t now_ms, int64_t node, int64_t incarnation, const Evaluation& of,
                            int64_t chunk, std::string result) {
  EMPORIUM_ASSIGN_OR_RETURN(Node * sender, members_.Find(node, incarnation));
  sender->heard_ms = now_ms;
  EMPORIUM_RETURN_IF_ERROR(CheckInWork(of));
  const int64_t before = chunks_.present();
  EMPORIUM_RETURN_IF_ERROR(chunks_.Put(chunk, std::move(result)));
  if (chunks_.present() > before) done_rate_.Add(now_ms, 1);
  return Status::Ok();
}

Result<std::vector<std::string>> JobMachine::GetChunks(int64_t now_ms, int64_t node,
                                                       int64_t incarnation, const Evaluation& of,
                                                       int64_t from) {
  EMPORIUM_ASSIGN_OR_RETURN(Node * sender, members_.Find(node, incarnation));
  sender->heard_ms = now_ms;
  EMPORIUM_RETURN_IF_ERROR(CheckInWork(of));
  return chunks_.Get(from);
}

Status JobMachine::PutMetrics(int64_t now_ms, int64_t node, int64_t incarnation,
                              const Evaluation& of, const std::vector<control::Metric>& metrics) {
  EMPORIUM_ASSIGN_OR_RETURN(Node * sender, members_.Find(node, incarnation));
  sender->heard_ms = now_ms;
  EMPORIUM_RETURN_IF_ERROR(CheckInWork(of));
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

// ---- Requests ----------------------------------------------------------------------------------

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
