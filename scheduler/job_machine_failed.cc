// JobMachine: a worker's work has failed. Others do it; what fails on all of them ends the job, or
// is left out of it.
#include <algorithm>
#include <utility>

#include "scheduler/job_machine.h"
#include "scheduler/limits.h"

namespace emporium::scheduler {

// What shards did not take is tried again; other work that failed is for other workers. When it
// fails on several of them it is the work (a sample that cannot be read): a micro-batch may be left
// out, where the job allows that; anything else ends it.
void JobMachine::WorkFailed(int64_t now_ms, const Node& node, Actions* out) {
  const int64_t id = node.id;
  const std::string text = node.Name() + ": " + node.failure.message();
  const StatusCode code = node.failure.code();
  const bool passes = code == StatusCode::kUnavailable || code == StatusCode::kDeadlineExceeded ||
                      code == StatusCode::kStale || code == StatusCode::kBusy;
  std::string what_follows = "it is done again";
  if (passes && retries_ < limits::kMaxRetries) {
    ++retries_;
  } else {
    failed_workers_.insert(id);
    const bool suspects = Suspect(node);
    if (suspects && LeavePoisonOut(text)) {
      const LeftOut& out_now = cursor_.left_out.back();
      what_follows = "micro-batch " + std::to_string(out_now.micro_batch) + " of step " +
                     std::to_string(out_now.step) + " is left out";
    } else if (!suspects &&
               (!SomeoneElse() || failed_workers_.size() >= limits::kMaxFailedWorkers)) {
      Fail(now_ms, Status(code, text), out);
      return;
    }
  }
  out->push_back(Note{Note::Level::kWarning, text + "; " + what_follows});
  WorkAgain(now_ms, out);
  // One that is not to do it again would go on telling that it failed.
  Node* const failed = members_.Find(id);
  if (failed == nullptr || failed->failure.ok()) return;
  control::Command command;
  command.kind = control::CommandKind::HOLD;
  command.generation = generation_;
  Give(failed, command, out);
}

// There is a worker that the work in hand has not failed on.
bool JobMachine::SomeoneElse() const {
  const std::vector<int64_t> workers = members_.Workers();
  return std::any_of(workers.begin(), workers.end(),
                     [this](int64_t id) { return !failed_workers_.contains(id); });
}

// Notes on whom a micro-batch has failed. False when that does not help: it is not known which one
// it was, the job allows no more to be left out, or other things fail again and again.
bool JobMachine::Suspect(const Node& node) {
  const bool trains = phase_ == Phase::kTraining || phase_ == Phase::kPausing;
  if (!trains || !node.failed.has_value() || node.failed->step < 0 ||
      node.failed->micro_batch < 0) {
    return false;
  }
  const uint32_t most = spec_stage().train().quarantine_micro_batches();
  const auto there = std::count_if(cursor_.left_out.begin(), cursor_.left_out.end(),
                                   [this](const LeftOut& one) { return one.stage == stage_; });
  if (static_cast<uint64_t>(there) >= most || ++suspicions_ > limits::kMaxSuspicions) return false;
  const std::pair name{static_cast<uint64_t>(node.failed->step),
                       static_cast<uint32_t>(node.failed->micro_batch)};
  newest_suspect_ = name;
  suspects_[name].insert(node.id);
  // Several may fail at different places: then all but those that failed here go on.
  if (!SomeoneElse()) failed_workers_ = suspects_[name];
  return true;
}

// Leaves the newest suspect out when it has failed on enough workers, or on all that there are.
bool JobMachine::LeavePoisonOut(const std::string& why) {
  const std::set<int64_t>& failed_on = suspects_.at(newest_suspect_);
  const std::vector<int64_t> workers = members_.Workers();
  const bool on_all = std::all_of(workers.begin(), workers.end(),
                                  [&](int64_t id) { return failed_on.contains(id); });
  if (failed_on.size() < limits::kMaxFailedWorkers && !on_all) return false;
  cursor_.left_out.push_back({static_cast<uint32_t>(stage_), newest_suspect_.first,
                              newest_suspect_.second, why.substr(0, limits::kMaxLeftOutText)});
  suspects_.erase(newest_suspect_);
  failed_workers_.clear();
  suspicions_ = 0;
  return true;
}

}  // namespace emporium::scheduler
