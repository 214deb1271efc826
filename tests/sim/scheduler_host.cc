#include "tests/sim/scheduler_host.h"

#include <algorithm>
#include <variant>

#include "runtime/file.h"

namespace emporium::sim {

using scheduler::Actions;

namespace {

scheduler::JobMachine::Evaluation EvaluationOf(const control::Command& command) {
  return {command.stage, command.validation, command.from_step};
}

}  // namespace

Status SchedulerHost::Start(bool rejoin) {
  world_.Begin(this);
  mail_.clear();
  waiting_.clear();
  tick_at_ms_.reset();
  store_behind_ = store_behind_ || !unsaved_.empty();
  unsaved_ = {};
  result_.reset();
  EMPORIUM_RETURN_IF_ERROR(runtime::MakeDirs(config_.root));
  EMPORIUM_ASSIGN_OR_RETURN(scheduler::StoredState stored, store_.Load());
  EMPORIUM_ASSIGN_OR_RETURN(scheduler::FoundCheckpoint found,
                            scheduler::FindCheckpoint(config_.root, "sim", stored));
  scheduler::JobMachine::Config config;
  config.job = config_.job;
  config.fingerprint = "sim";
  config.checkpoint_root = config_.root;
  config.servers = config_.servers;
  config.workers = config_.workers;
  config.incarnation_base = 100'000 * life();
  config.lease_ms = 3'000;
  config.heartbeat_ms = 500;
  config.rejoin = rejoin;
  EMPORIUM_ASSIGN_OR_RETURN(
      machine_, scheduler::JobMachine::Make(std::move(config), std::move(stored), found.checkpoint,
                                            found.next_number));
  JudgeStart(rejoin, found);
  Do([this](Actions* out) { machine_->Start(world_.now_ms(), out); });
  // As the service: one that cannot note that it was started does not serve.
  return unsaved_.empty() ? Status::Ok() : Unavailable("the state cannot be written");
}

void SchedulerHost::Do(const std::function<void(Actions*)>& event) {
  Actions actions;
  event(&actions);
  scheduler::StateChange change;
  std::vector<int64_t> told;
  for (scheduler::Action& action : actions) {
    if (auto* save = std::get_if<scheduler::SaveState>(&action)) {
      change.Add(std::move(save->change));
    } else if (auto* note = std::get_if<scheduler::Note>(&action)) {
      world_.Note("scheduler: " + note->text);
    } else if (auto* send = std::get_if<scheduler::SendCommand>(&action)) {
      mail_[send->node] = send->command;
      told.push_back(send->node);
    } else if (auto* make = std::get_if<scheduler::MakeCheckpointDir>(&action)) {
      (void)runtime::MakeDirs(make->dir);
    } else if (auto* write = std::get_if<scheduler::WriteManifest>(&action)) {
      world_.After(this, world_.Between(kMs, 30 * kMs), [this, w = *write] { WriteManifest(w); });
    } else if (auto* remove = std::get_if<scheduler::RemoveCheckpoint>(&action)) {
      (void)runtime::RemoveCheckpoint(remove->dir);
    } else if (auto* prune = std::get_if<scheduler::PruneCheckpoints>(&action)) {
      (void)runtime::PruneCheckpoints(config_.root, prune->keep, prune->also);
    } else if (auto* end = std::get_if<scheduler::JobOver>(&action)) {
      result_ = end->result;
      world_.Note("the job is over: " + end->result.ToString());
    }
  }
  Store(std::move(change));
  JudgeEvent(actions);
  for (const int64_t node : told) Answer(node);
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    if (machine_->members().nodes().contains(it->first)) {
      ++it;
      continue;
    }
    it->second.reply(Stale("not counted on any more"));
    it = waiting_.erase(it);
  }
  TickWhenDue();
}

// What was stored, and what counted as saved, is there when it is started again.
void SchedulerHost::JudgeStart(bool rejoin, const scheduler::FoundCheckpoint& found) {
  for (const scheduler::Note& note : found.notes) world_.Note("scheduler: " + note.text);
  if (!rejoin) stored_end_ = false;
  const uint64_t number = found.checkpoint.has_value() ? found.checkpoint->number : 0;
  if (!counted_.empty() && number < *counted_.rbegin()) {
    Violate("lost a checkpoint that counted as saved");
  }
  for (const int64_t node : std::exchange(stored_nodes_, {})) {
    const bool known = machine_->members().nodes().contains(node);
    if (rejoin && !stored_end_ && !known) Violate("forgot a node that it had stored");
    if (known) stored_nodes_.insert(node);
  }
}

void SchedulerHost::JudgeEvent(const scheduler::Actions& actions) {
  const scheduler::Phase phase = machine_->phase();
  const bool ends = phase == scheduler::Phase::kStopping || phase == scheduler::Phase::kOver;
  for (const scheduler::Action& action : actions) {
    const auto* send = std::get_if<scheduler::SendCommand>(&action);
    if (send != nullptr && !ends && stored_end_) Violate("goes on with a job that has ended");
    const auto* note = std::get_if<scheduler::Note>(&action);
    const bool goes_back = note != nullptr && note->text.starts_with("the shards are at a later");
    if (goes_back && !store_behind_) Violate("goes back although it had stored where it stood");
  }
  if (!unsaved_.empty()) {
    stored_nodes_.clear();
    return;
  }
  stored_end_ = stored_end_ || ends;
  const auto& nodes = machine_->members().nodes();
  if (phase == scheduler::Phase::kGathering) {  // what the life before has stored still holds
    std::erase_if(stored_nodes_, [&](int64_t id) { return !nodes.contains(id); });
    return;
  }
  store_behind_ = false;
  for (const auto& [id, node] : nodes) stored_nodes_.insert(id);
  std::erase_if(stored_nodes_, [&](int64_t id) { return !nodes.contains(id); });
}

void SchedulerHost::Store(scheduler::StateChange change) {
  unsaved_.Add(std::move(change));
  if (store_fails || unsaved_.empty()) return;
  EMPORIUM_CHECK(store_.Apply(unsaved_).ok(), "a store in memory takes everything");
  unsaved_ = {};
}

void SchedulerHost::WriteManifest(const scheduler::WriteManifest& write) {
  Status status = runtime::LinkFiles(write.parent_dir, write.links, write.dir);
  if (status.ok()) status = runtime::VerifyFiles(write.dir, write.manifest, false);
  if (status.ok() && manifests_fail) status = ResourceExhausted("no space left");
  if (status.ok()) status = runtime::WriteManifest(write.dir, write.manifest);
  if (status.ok()) status = runtime::ReadManifest(write.dir).status();
  Do([&](Actions* out) {
    machine_->CheckpointWritten(world_.now_ms(), write.number, status, out);
  });
  const std::vector<scheduler::CheckpointRecord>& records = machine_->checkpoints();
  if (records.back().number == write.number && records.back().error.empty()) {
    counted_.insert(write.number);
  }
}

void SchedulerHost::TickWhenDue() {
  const std::optional<int64_t> due = machine_->next_deadline_ms();
  if (!due.has_value() || (tick_at_ms_.has_value() && *tick_at_ms_ <= *due)) return;
  tick_at_ms_ = due;
  world_.After(this, std::max<Micros>(0, *due * kMs - world_.now()), [this, at = *due] {
    if (tick_at_ms_ != at) return;
    tick_at_ms_.reset();
    Do([this](Actions* out) { machine_->Tick(world_.now_ms(), out); });
  });
}

Result<control::Registered> SchedulerHost::Register(const control::Registration& registration) {
  Result<control::Registered> registered = Unavailable("not asked yet");
  Do([&](Actions* out) { registered = machine_->Register(world_.now_ms(), registration, out); });
  return registered;
}

void SchedulerHost::Await(const control::Report& report, const Commanded& reply) {
  Status taken;
  Do([&](Actions* out) { taken = machine_->Report(world_.now_ms(), report, out); });
  if (!taken.ok()) return reply(taken);
  if (report.leaving) return reply(control::Command());
  const int64_t number = next_waiting_++;
  waiting_[report.node] = {report.seen_sequence, reply, number};
  Answer(report.node);
  world_.After(this, 500 * kMs, [this, node = report.node, number] {
    const auto found = waiting_.find(node);
    if (found == waiting_.end() || found->second.number != number) return;
    const Commanded late = found->second.reply;
    waiting_.erase(found);
    late(control::Command());  // WAIT
  });
}

void SchedulerHost::Answer(int64_t node) {
  const auto found = waiting_.find(node);
  const auto mail = mail_.find(node);
  if (found == waiting_.end() || mail == mail_.end()) return;
  if (mail->second.sequence <= found->second.seen) return;
  const Commanded reply = found->second.reply;
  waiting_.erase(found);
  reply(mail->second);
}

Status SchedulerHost::PutChunk(int64_t node, int64_t incarnation, const control::Command& of,
                               int64_t chunk, const std::string& bytes) {
  return machine_->PutChunk(world_.now_ms(), node, incarnation, EvaluationOf(of), chunk, bytes);
}

Result<std::vector<std::string>> SchedulerHost::GetChunks(int64_t node, int64_t incarnation,
                                                          const control::Command& of,
                                                          int64_t from) {
  return machine_->GetChunks(world_.now_ms(), node, incarnation, EvaluationOf(of), from);
}

Status SchedulerHost::PutMetrics(int64_t node, int64_t incarnation, const control::Command& of,
                                 double metric) {
  std::vector<control::Metric> metrics(1);
  metrics[0].name = "m";
  metrics[0].value = metric;
  return machine_->PutMetrics(world_.now_ms(), node, incarnation, EvaluationOf(of), metrics);
}

void SchedulerHost::RequestStop() {
  Do([this](Actions* out) { machine_->RequestStop(world_.now_ms(), "", out); });
}

void SchedulerHost::RequestCheckpoint() {
  Do([this](Actions* out) { (void)machine_->RequestCheckpoint(world_.now_ms(), out); });
}

}  // namespace emporium::sim
