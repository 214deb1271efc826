#include "scheduler/service.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <variant>

#include "runtime/control_client.h"
#include "runtime/failpoint.h"
#include "runtime/file.h"
#include "runtime/log.h"
#include "runtime/manifest.h"
#include "scheduler/find_checkpoint.h"
#include "scheduler/limits.h"

namespace emporium::scheduler {
namespace {

using runtime::Log;
using runtime::LogLevel;
using runtime::MutexLock;

constexpr size_t kMaxDiskTasks = 1'024;

std::string CheckpointRoot(const std::string& work_dir) { return work_dir + "/checkpoints"; }

}  // namespace

// ---- Start and end -----------------------------------------------------------------------------

Result<std::unique_ptr<SchedulerService>> SchedulerService::Start(Config config) {
  EMPORIUM_CHECK(config.clock != nullptr, "a service needs a clock");
  const std::string root = CheckpointRoot(config.work_dir);
  EMPORIUM_RETURN_IF_ERROR(runtime::MakeDirs(root));
  EMPORIUM_ASSIGN_OR_RETURN(std::unique_ptr<StateStore> store,
                            OpenSqliteStore(config.work_dir + "/state.sqlite"));
  EMPORIUM_ASSIGN_OR_RETURN(StoredState stored, store->Load());
  EMPORIUM_ASSIGN_OR_RETURN(FoundCheckpoint found,
                            FindCheckpoint(root, config.fingerprint, stored));
  if (!stored.fingerprint.empty() && stored.fingerprint != config.fingerprint) {
    // Another job, which has left no checkpoint: nothing of it is worth keeping but its numbers.
    found.notes.push_back({Note::Level::kWarning,
                           config.work_dir + " was last used by another job, or by this one with "
                                             "other settings; what that one did is forgotten"});
    stored.finished.clear();
    stored.metrics.clear();
    stored.curves.clear();
  }
  std::deque<Event> events(stored.events.begin(), stored.events.end());

  JobMachine::Config machine_config;
  machine_config.job = config.job;
  machine_config.job_text = config.job_text;
  machine_config.fingerprint = config.fingerprint;
  machine_config.checkpoint_root = root;
  machine_config.servers = config.servers;
  machine_config.workers = config.workers;
  machine_config.incarnation_base = runtime::UnixMs();
  machine_config.unix_minus_now_ms = runtime::UnixMs() - config.clock->now_ms();
  machine_config.heartbeat_ms = config.heartbeat_ms;
  machine_config.lease_ms = config.lease_ms;
  machine_config.exports_only = config.exports_only;
  machine_config.rejoin = config.rejoin;
  EMPORIUM_ASSIGN_OR_RETURN(std::unique_ptr<JobMachine> machine,
                            JobMachine::Make(std::move(machine_config), std::move(stored),
                                             found.checkpoint, found.next_number));
  auto service = std::unique_ptr<SchedulerService>(  // NOLINT: the constructor is private
      new SchedulerService(std::move(config), std::move(store), std::move(machine),
                           std::move(events)));
  EMPORIUM_RETURN_IF_ERROR(service->Begin(found.notes));
  return service;
}

SchedulerService::SchedulerService(Config config, std::unique_ptr<StateStore> store,
                                   std::unique_ptr<JobMachine> machine, std::deque<Event> events)
    : config_(std::move(config)),
      unix_minus_now_ms_(machine->config().unix_minus_now_ms),
      machine_(std::move(machine)),
      store_(std::move(store)),
      events_(std::move(events)),
      disk_tasks_(kMaxDiskTasks) {}

Status SchedulerService::Begin(const std::vector<Note>& notes) {
  {
    MutexLock lock(mutex_);
    Actions actions(notes.begin(), notes.end());
    machine_->Start(now_ms(), &actions);
    Perform(std::move(actions));
    if (!unsaved_.empty()) {
      return Unavailable(config_.work_dir +
                         "/state.sqlite cannot be written: " + events_.back().text);
    }
  }
  ticker_ = std::thread([this] { RunTicker(); });
  disk_ = std::thread([this] { RunDisk(); });
  return Status::Ok();
}

SchedulerService::~SchedulerService() { Close(); }

void SchedulerService::Close() {
  {
    MutexLock lock(mutex_);
    closed_ = true;
    for (const auto& [id, mailbox] : mailboxes_) mailbox->changed.NotifyAll();
    over_changed_.NotifyAll();
    ticker_changed_.NotifyAll();
  }
  gate_.Close();
  disk_tasks_.Close();
  if (ticker_.joinable()) ticker_.join();
  if (disk_.joinable()) disk_.join();
}

Status SchedulerService::WaitUntilDone() {
  MutexLock lock(mutex_);
  while (!over_ && !closed_) over_changed_.Wait(mutex_);
  return over_ ? machine_->result() : Cancelled("the scheduler was closed");
}

bool SchedulerService::WaitFor(int64_t milliseconds) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
  MutexLock lock(mutex_);
  while (!over_ && !closed_ && over_changed_.WaitUntil(mutex_, deadline)) {
  }
  return over_ || closed_;
}

void SchedulerService::RequestStop(const std::string& why) {
  MutexLock lock(mutex_);
  Actions actions;
  machine_->RequestStop(now_ms(), why, &actions);
  Perform(std::move(actions));
}

// ---- Actions -----------------------------------------------------------------------------------

void SchedulerService::Perform(Actions actions) {
  // What must be durable comes first, whatever the order: nobody sees a command before the lock is
  // let go. Directories are made before that as well.
  StateChange change;
  for (Action& action : actions) {
    if (auto* save = std::get_if<SaveState>(&action)) {
      change.Add(std::move(save->change));
    } else if (const auto* note = std::get_if<Note>(&action)) {
      change.events.push_back(Tell(*note));
    } else if (const auto* send = std::get_if<SendCommand>(&action)) {
      Deliver(*send);
    } else if (const auto* make = std::get_if<MakeCheckpointDir>(&action)) {
      if (Status made = runtime::MakeDirs(make->dir); !made.ok()) {
        Log(LogLevel::kWarning, "scheduler", "{}", made.message());  // the servers will fail there
      }
      EMPORIUM_FAILPOINT("scheduler.checkpoint_dir_made");
    } else if (auto* write = std::get_if<WriteManifest>(&action)) {
      Aside([this, w = std::move(*write)] { WriteCheckpoint(w); });
    } else if (const auto* remove = std::get_if<RemoveCheckpoint>(&action)) {
      Aside([dir = remove->dir] {
        const Status removed = runtime::RemoveCheckpoint(dir);
        if (!removed.ok()) Log(LogLevel::kWarning, "scheduler", "{}", removed.message());
      });
    } else if (const auto* prune = std::get_if<PruneCheckpoints>(&action)) {
      Aside([root = CheckpointRoot(config_.work_dir), keep = prune->keep, also = prune->also] {
        const Status pruned = runtime::PruneCheckpoints(root, keep, also);
        if (!pruned.ok()) Log(LogLevel::kWarning, "scheduler", "{}", pruned.message());
      });
    } else if (std::get_if<JobOver>(&action) != nullptr) {
      over_ = true;
      over_changed_.NotifyAll();
    }
  }
  Save(std::move(change));
  ForgetLostNodes();
  const std::optional<int64_t> deadline = machine_->next_deadline_ms();
  if (deadline.has_value() && (!ticker_deadline_ms_ || *deadline < *ticker_deadline_ms_)) {
    ticker_changed_.NotifyAll();
  }
}

void SchedulerService::Deliver(const SendCommand& send) {
  std::shared_ptr<Mailbox>& mailbox = mailboxes_[send.node];
  if (mailbox == nullptr) mailbox = std::make_shared<Mailbox>();
  mailbox->command = send.command;
  mailbox->changed.NotifyAll();
}

void SchedulerService::ForgetLostNodes() {
  const uint64_t removals = machine_->members().removals();
  if (removals == std::exchange(seen_removals_, removals)) return;
  const auto& nodes = machine_->members().nodes();
  for (auto box = mailboxes_.begin(); box != mailboxes_.end();) {
    if (nodes.contains(box->first)) {
      ++box;
      continue;
    }
    box->second->gone = true;
    box->second->changed.NotifyAll();
    box = mailboxes_.erase(box);
  }
}

Event SchedulerService::Tell(const Note& note) {
  Event event;
  event.unix_ms = now_ms() + unix_minus_now_ms_;
  event.text = note.text;
  LogLevel level = LogLevel::kInfo;
  event.level = "info";
  if (note.level == Note::Level::kWarning) {
    level = LogLevel::kWarning;
    event.level = "warning";
  } else if (note.level == Note::Level::kError) {
    level = LogLevel::kError;
    event.level = "error";
  }
  runtime::LogMessage(level, "scheduler", event.text);
  events_.push_back(event);
  if (events_.size() > limits::kMaxEvents) events_.pop_front();
  return event;
}

// A store that cannot be written (a full disk) does not stop the job: the checkpoints say where it
// stands. What was not stored is kept and goes with the next change.
void SchedulerService::Save(StateChange change) {
  if (change.empty()) return;
  const bool failed_before = !unsaved_.empty();
  if (failed_before) {
    unsaved_.Add(std::move(change));
  } else {
    unsaved_ = std::move(change);
  }
  EMPORIUM_FAILPOINT("scheduler.before_save");
  const Status stored = store_->Apply(unsaved_);
  EMPORIUM_FAILPOINT("scheduler.saved");
  if (stored.ok()) {
    unsaved_ = StateChange();
    return;
  }
  ++counts_.store_failures;
  if (!failed_before) {
    unsaved_.events.push_back(
        Tell({Note::Level::kError, "the scheduler's state is not stored: " + stored.ToString()}));
  }
  std::vector<Event>& events = unsaved_.events;
  if (events.size() > limits::kMaxEvents) {
    events.erase(events.begin(), events.end() - static_cast<ptrdiff_t>(limits::kMaxEvents));
  }
}

void SchedulerService::Aside(DiskTask task) {
  if (!disk_tasks_.TryPush(task)) {
    Log(LogLevel::kWarning, "scheduler", "the disk is too slow: files of old checkpoints stay");
  }
}

void SchedulerService::WriteCheckpoint(const WriteManifest& write) {
  const auto write_and_verify = [&write]() -> Status {
    EMPORIUM_RETURN_IF_ERROR(runtime::LinkFiles(write.parent_dir, write.links, write.dir));
    EMPORIUM_FAILPOINT("scheduler.checkpoint_parents_linked");
    EMPORIUM_RETURN_IF_ERROR(runtime::VerifyFiles(write.dir, write.manifest, false));
    EMPORIUM_FAILPOINT("scheduler.checkpoint_files_verified");
    EMPORIUM_RETURN_IF_ERROR(runtime::WriteManifest(write.dir, write.manifest));
    EMPORIUM_FAILPOINT("scheduler.checkpoint_manifest_written");
    return runtime::ReadManifest(write.dir).status();
  };
  const Status status = write_and_verify();
  EMPORIUM_FAILPOINT("scheduler.checkpoint_manifest_read");
  MutexLock lock(mutex_);
  Actions actions;
  machine_->CheckpointWritten(now_ms(), write.number, status, &actions);
  Perform(std::move(actions));
  EMPORIUM_FAILPOINT("scheduler.checkpoint_noted");
}

void SchedulerService::RunDisk() {
  while (std::optional<DiskTask> task = disk_tasks_.Pop()) (*task)();
}

void SchedulerService::RunTicker() {
  MutexLock lock(mutex_);
  while (!closed_) {
    ticker_deadline_ms_ = machine_->next_deadline_ms();
    if (!ticker_deadline_ms_.has_value()) {
      ticker_changed_.Wait(mutex_);
      continue;
    }
    const int64_t wait = *ticker_deadline_ms_ - now_ms();
    if (wait > 0) {
      ticker_changed_.WaitFor(mutex_, std::chrono::milliseconds(wait));
      continue;
    }
    Actions actions;
    machine_->Tick(now_ms(), &actions);
    Perform(std::move(actions));
  }
}

// ---- What people see ---------------------------------------------------------------------------

Progress SchedulerService::progress() {
  MutexLock lock(mutex_);
  return ProgressOf(*machine_, now_ms());
}

std::vector<StageOutcome> SchedulerService::outcomes() {
  MutexLock lock(mutex_);
  return OutcomesOf(*machine_);
}

std::string SchedulerService::StatusJson() {
  MutexLock lock(mutex_);
  return scheduler::StatusJson(*machine_, events_, counts_, now_ms());
}

std::string SchedulerService::PrometheusText() {
  MutexLock lock(mutex_);
  return scheduler::PrometheusText(*machine_, counts_, now_ms());
}

}  // namespace emporium::scheduler
