// JobMachine: nodes come, report and go.
#include <algorithm>
#include <utility>

#include "scheduler/job_machine.h"
#include "scheduler/limits.h"

namespace emporium::scheduler {

Status JobMachine::CheckJob(const control::Registration& registration) const {
  if (phase_ == Phase::kStopping || phase_ == Phase::kOver) {
    return Cancelled("the job is over; nothing is left to do");
  }
  if (registration.job_fingerprint != config_.fingerprint) {
    return FailedPrecondition("host " + registration.host_name +
                              " was started with another job than the scheduler; start every "
                              "process with the same job file");
  }
  return Status::Ok();
}

Status JobMachine::CheckRegistration(const control::Registration& registration) const {
  EMPORIUM_RETURN_IF_ERROR(CheckJob(registration));
  if (registration.kind == control::NodeKind::SERVER) {
    if (members_.servers() < config_.servers) return Status::Ok();
    return Busy("the job has its " + std::to_string(config_.servers) +
                " servers; this one takes the place of the first that is lost");
  }
  return CheckFacts(registration.facts);
}

Status JobMachine::CheckFacts(const control::DatasetFacts& facts) const {
  const size_t stages = views_.size();
  const auto fits = [stages](const std::vector<int64_t>& v) {
    return v.size() == stages && std::all_of(v.begin(), v.end(), [](int64_t n) { return n >= 0; });
  };
  if (facts.digest.empty() || !fits(facts.train_samples_of_stage) || !fits(facts.chunks_of_stage) ||
      !fits(facts.validation_chunks_of_stage)) {
    return InvalidArgument("a worker's account of its data does not fit the job's " +
                           std::to_string(stages) + " stages");
  }
  if (!data_digest_.empty() && facts.digest != data_digest_) {
    return FailedPrecondition(
        "the data are not those that checkpoint " + std::to_string(saved_number_) +
        " was trained on; give the same data, or another work_dir to start anew");
  }
  if (facts_.has_value() && *facts_ != facts) {
    return FailedPrecondition(
        "the data differ from those of the workers that are here already; give every worker the "
        "same files, converted by the same version of Emporium");
  }
  return Status::Ok();
}

Status JobMachine::AdoptFacts(const control::DatasetFacts& facts) {
  if (facts_.has_value()) return Status::Ok();
  for (size_t i = 0; i < views_.size(); ++i) {
    const spec::Stage& stage = config_.job.stage(static_cast<int>(i));
    if (stage.has_train()) {
      EMPORIUM_ASSIGN_OR_RETURN(
          TrainPlan plan,
          TrainPlan::Make(stage, facts.train_samples_of_stage[i],
                          config_.job.checkpoint().every_steps(), ExpiryPeriods(config_.job)));
      views_[i].total = plan.total_steps();
      plans_[i] = std::move(plan);
    } else {
      views_[i].total = static_cast<uint64_t>(facts.chunks_of_stage[i]);
    }
  }
  FillDoneStages();
  facts_ = facts;
  return Status::Ok();
}

// Of the stages that were finished before: how much that was.
void JobMachine::FillDoneStages() {
  for (size_t i = 0; i < views_.size(); ++i) {
    if (views_[i].state != StageView::State::kDone) continue;
    const bool here = weights_.has_value() && weights_->stage == i;  // it may have stopped early
    views_[i].done = here ? weights_->step : views_[i].total;
    if (plans_[i].has_value()) views_[i].samples = plans_[i]->SamplesUntil(views_[i].done);
  }
}

// A process of a name takes the place of the one that had it before; FailedPrecondition when that
// one is newer.
Status JobMachine::Replace(int64_t now_ms, const control::Registration& registration,
                           Actions* out) {
  if (registration.name.empty()) return Status::Ok();
  for (const Node* node : members_.All()) {
    const control::Registration& other = node->registration;
    if (other.kind != registration.kind || other.name != registration.name) continue;
    if (other.started_ms > registration.started_ms) {
      return FailedPrecondition(node->Name() + ", which was started later, is " +
                                registration.name + " now");
    }
    NodeLost(now_ms, node->id, "was started again", out);
    return Status::Ok();
  }
  return Status::Ok();
}

Result<control::Registered> JobMachine::Register(int64_t now_ms,
                                                 const control::Registration& registration,
                                                 Actions* out) {
  now_ms_ = now_ms;
  Status status = CheckJob(registration);
  if (status.ok()) status = Replace(now_ms, registration, out);
  if (status.ok()) status = CheckRegistration(registration);
  if (status.ok() && registration.kind == control::NodeKind::WORKER) {
    status = AdoptFacts(registration.facts);
    if (!status.ok()) Fail(now_ms, status, out);
  }
  Result<Node*> added = status.ok() ? members_.Add(now_ms, registration) : Result<Node*>(status);
  if (!added.ok()) {
    ++counts_.refused_registrations;
    // Who is only asked to wait asks again and again.
    if (added.status().code() != StatusCode::kBusy) {
      out->push_back(Note{Note::Level::kWarning, "refused a registration from host " +
                                                     registration.host_name + ": " +
                                                     added.status().message()});
    }
    Advance(now_ms, out);
    return added.status();
  }
  const Node& node = **added;
  StateChange change;
  change.next_node = members_.next_node();
  out->push_back(SaveState{std::move(change)});
  out->push_back(Note{Note::Level::kInfo, node.Name() + " is here"});
  control::Registered registered;
  registered.node = node.id;
  registered.incarnation = node.incarnation;
  registered.heartbeat_ms = config_.heartbeat_ms;
  registered.lease_ms = config_.lease_ms;
  registered.first_shard = node.first_shard;

  // One that joins: in a span it takes part at once, with a new generation, unless the span is
  // being ended; everything else takes it in with the next command.
  if (Joins(node)) {
    if (phase_ == Phase::kTraining) SendSpan(now_ms, true, out);
    if (phase_ == Phase::kEvaluating) SendEvaluate(now_ms, true, out);
    if (phase_ == Phase::kCombining) SendCombine(now_ms, out);
  }
  Advance(now_ms, out);
  return registered;
}

bool JobMachine::Joins(const Node& node) const {
  if (node.is_server()) return false;
  if (workerless_since_ms_.has_value()) return true;
  return phase_ == Phase::kTraining && !span_.shortened && !PauseWanted() &&
         participants_.size() < plans_[stage_]->micro_batches_per_step();
}

void JobMachine::NodeLost(int64_t now_ms, int64_t id, const std::string& how, Actions* out) {
  const Node* found = members_.Find(id);
  if (found == nullptr) return;
  const Node node = *found;
  members_.Remove(id);
  if (phase_ == Phase::kStopping || phase_ == Phase::kOver) return;
  ++counts_.lost_nodes;
  out->push_back(Note{Note::Level::kWarning, node.Name() + " " + how});
  if (phase_ == Phase::kGathering && !resumes_) return;
  if (node.is_server()) {
    ServerLost(now_ms, node, how, out);
  } else {
    WorkerLost(now_ms, id, out);
  }
}

void JobMachine::WorkerLost(int64_t now_ms, int64_t id, Actions* out) {
  const bool took_part =
      std::find(participants_.begin(), participants_.end(), id) != participants_.end();
  failed_workers_.erase(id);
  if (phase_ == Phase::kCombining ? id == combiner_ : took_part) WorkAgain(now_ms, out);
}

// The workers that are there do what others have left.
void JobMachine::WorkAgain(int64_t now_ms, Actions* out) {
  if (phase_ == Phase::kCombining) {
    SendCombine(now_ms, out);
  } else if (phase_ == Phase::kEvaluating) {
    SendEvaluate(now_ms, true, out);
  } else if (phase_ == Phase::kTraining || phase_ == Phase::kPausing) {
    // A pause is asked for again when the others have found out where the shards stand.
    phase_ = Phase::kTraining;
    span_.left = true;
    SendSpan(now_ms, true, out);
  }
}

// The step that every worker of this generation has begun: those before it are applied. Nothing
// while one has not told.
std::optional<uint64_t> JobMachine::LowestBegun() {
  if (participants_.empty()) return std::nullopt;
  uint64_t lowest = span_.until;
  for (const int64_t id : participants_) {
    const Node* node = members_.Find(id);
    if (node == nullptr || !node->begun.has_value()) return std::nullopt;
    lowest = std::min(lowest, *node->begun);
  }
  return lowest;
}

void JobMachine::TakeLosses(int64_t now_ms, const control::Report& report) {
  if (losses_ == nullptr || (phase_ != Phase::kTraining && phase_ != Phase::kPausing)) return;
  const std::optional<uint64_t> begun =
      span_.resumed || span_.left ? LowestBegun() : std::optional<uint64_t>();
  // What came before was told to the scheduler that was there before.
  if (begun.has_value() && std::exchange(span_.resumed, false)) losses_->Settle(*begun);
  uint64_t samples = 0;
  for (const control::MicroBatchLoss& loss : report.losses) {
    samples += losses_->Add(loss, span_.from, span_.until);
  }
  // What is missing before that went with a worker.
  if (begun.has_value() && std::exchange(span_.left, false)) losses_->Settle(*begun);
  span_samples_ += samples;
  if (samples > 0) samples_rate_.Add(now_ms, samples);
  const uint64_t done = std::max(losses_->settled(), span_.from);
  if (done > done_seen_) {
    done_rate_.Add(now_ms, done - done_seen_);
    done_seen_ = done;
  }
}

Status JobMachine::Report(int64_t now_ms, const control::Report& report, Actions* out) {
  now_ms_ = now_ms;
  EMPORIUM_ASSIGN_OR_RETURN(Node * node, members_.Find(report.node, report.incarnation));
  Membership::Take(now_ms, report, node);
  TakeLosses(now_ms, report);
  if (node->is_server()) TakeFiles(*node, report);
  if (report.leaving) {
    const std::string why = report.error.empty() ? "" : ": " + report.error;
    NodeLost(now_ms, report.node, "left" + why.substr(0, limits::kMaxErrorText), out);
  } else if (!node->failure.ok()) {
    HandleFailure(now_ms, *node, out);
  }
  Advance(now_ms, out);
  return Status::Ok();
}

void JobMachine::HandleFailure(int64_t now_ms, const Node& node, Actions* out) {
  if (phase_ == Phase::kStopping || phase_ == Phase::kOver) return;
  const std::string text = node.Name() + ": " + node.failure.message();
  if (node.command.kind == control::CommandKind::CHECKPOINT) {
    if (checkpoint_.has_value()) checkpoint_->Fail(text);
  } else if (node.is_server()) {
    Fail(now_ms, Status(node.failure.code(), text), out);
  } else {
    WorkFailed(now_ms, node, out);
  }
}

}  // namespace emporium::scheduler
