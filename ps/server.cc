#include "ps/server.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "proto/limits.h"
#include "runtime/clock.h"
#include "runtime/control_client.h"
#include "runtime/failpoint.h"
#include "runtime/log.h"

namespace emporium::ps {
namespace {

using runtime::LogLevel;

// The scheduler sends one command at a time; a few more may come after it was started again.
constexpr size_t kMaxWaitingCommands = 16;
constexpr int64_t kFirstPauseMs = 50;
constexpr int kMaxDoublings = 3;  // 400 ms: how late a new scheduler may be found

// Whether asking again may help.
bool MayPass(const Status& status) {
  switch (status.code()) {
    case StatusCode::kUnavailable:
    case StatusCode::kDeadlineExceeded:
    case StatusCode::kBusy:
    case StatusCode::kStale:
      return true;
    default:
      return false;
  }
}

// What a shard says of a count, added to what its neighbours have said.
void AddCount(const ShardStatus::OfCount& count, bool newest, control::CountStatus* sum) {
  sum->name = count.name;
  if (newest) sum->total = count.total;
  sum->zeros += static_cast<int64_t>(count.summary.zeros);
  for (const auto& [bucket, rows] : count.summary.buckets) {
    sum->rows[bucket] += static_cast<int64_t>(rows);
  }
  for (const KeyCount& top : count.summary.top) {
    control::KeyCount& of_key = sum->top.emplace_back();
    of_key.key = static_cast<int64_t>(top.key);
    of_key.count = top.count;
  }
}

// What a shard says of a table's retention, likewise.
void AddRetention(const ShardStatus::OfTable& table, control::TableStatus* sum) {
  sum->keys_refused += static_cast<int64_t>(table.retention.keys_refused);
  sum->rows_expired += static_cast<int64_t>(table.retention.rows_expired);
  const bool newest = table.version >= sum->version;  // totals are the same at one version
  sum->version = std::max(sum->version, int64_t{table.version});
  if (table.popularity.has_value()) {
    sum->__isset.popularity = true;
    AddCount(*table.popularity, newest, &sum->popularity);
  }
  sum->counters.resize(table.counters.size());
  for (size_t c = 0; c < table.counters.size(); ++c) {
    AddCount(table.counters[c], newest, &sum->counters[c]);
  }
}

}  // namespace

Server::Server(ServerConfig config) : config_(std::move(config)), commands_(kMaxWaitingCommands) {}

Result<std::unique_ptr<Server>> Server::Start(ServerConfig config) {
  auto server = std::make_unique<Server>(std::move(config));
  for (const std::string& endpoint : server->config_.endpoints) {
    EMPORIUM_ASSIGN_OR_RETURN(std::unique_ptr<ShardThread> shard,
                              ShardThread::Start(*server->config_.context, endpoint));
    runtime::Log(LogLevel::kInfo, "ps", "shard listens on {}", shard->endpoint());
    server->shards_.push_back(std::move(shard));
  }
  EMPORIUM_FAILPOINT("server.bound");
  server->executor_ = std::thread([self = server.get()] { self->Execute(); });
  server->control_ = std::thread([self = server.get()] { self->Control(); });
  return server;
}

Server::~Server() {
  RequestStop();
  if (control_.joinable()) control_.join();
  commands_.Close();
  if (executor_.joinable()) executor_.join();
}

std::vector<std::string> Server::endpoints() const {
  std::vector<std::string> endpoints;
  for (const std::unique_ptr<ShardThread>& shard : shards_) endpoints.push_back(shard->endpoint());
  return endpoints;
}

void Server::RequestStop() {
  runtime::MutexLock lock(mutex_);
  stop_ = true;
  changed_.NotifyAll();
}

Status Server::Join() {
  runtime::MutexLock lock(mutex_);
  while (!left_) changed_.Wait(mutex_);
  return left_why_;
}

bool Server::stop_requested() const {
  runtime::MutexLock lock(mutex_);
  return stop_;
}

void Server::Control() {
  Status status = RegisterUntilKnown();
  while (status.ok() && !stop_requested()) {
    status = Serve();
    // Not known any more: the scheduler lost its memory, or we were silent for too long.
    if (status.code() == StatusCode::kStale) status = RegisterUntilKnown();
  }
  commands_.Close();
  executor_.join();
  checkpoint_job_.reset();
  if (status.ok()) SayFarewell();
  runtime::MutexLock lock(mutex_);
  left_ = true;
  left_why_ = status;
  changed_.NotifyAll();
}

Status Server::Register() {
  control::Registration registration;
  registration.kind = control::NodeKind::SERVER;
  registration.host_name = config_.host_name;
  registration.pid = ::getpid();
  registration.shard_endpoints = endpoints();
  registration.job_fingerprint = config_.job_fingerprint;
  registration.name = config_.name;
  registration.started_ms = config_.started_ms;
  control::Registered registered;
  EMPORIUM_RETURN_IF_ERROR(
      runtime::CallScheduler([&] { config_.scheduler->registerNode(registered, registration); }));
  EMPORIUM_FAILPOINT("server.registered");
  node_ = registered.node;
  incarnation_ = registered.incarnation;
  first_shard_ = registered.first_shard;
  heartbeat_ms_ = registered.heartbeat_ms > 0 ? registered.heartbeat_ms : limits::kHeartbeatMs;
  lease_ms_ = registered.lease_ms > 0 ? registered.lease_ms : limits::kLeaseMs;
  runtime::MutexLock lock(mutex_);
  seen_ = told_sequence_ = told_checkpoint_ = 0;
  outcome_ = {};
  written_ = {};
  return Status::Ok();
}

Status Server::RegisterUntilKnown() {
  {
    // A command of the time before must not be reported as one of the time after.
    runtime::MutexLock lock(mutex_);
    while (!stop_ && outcome_.sequence < seen_) changed_.Wait(mutex_);
  }
  int tries = 0;
  while (!stop_requested()) {
    Status status = Register();
    if (status.ok()) {
      runtime::Log(LogLevel::kInfo, "ps", "registered as node {}, first shard {}", node_,
                   first_shard_);
      return status;
    }
    if (!MayPass(status)) return status;
    if (tries == 0) {
      runtime::Log(LogLevel::kWarning, "ps", "not registered yet: {}", status.ToString());
    }
    Pause(&tries);
  }
  return Status::Ok();
}

void Server::SetServing(bool serving) {
  if (serving == std::exchange(serving_, serving)) return;
  runtime::Log(LogLevel::kWarning, "ps", "{}",
               serving ? "serving again" : "the lease is over; serving waits for the scheduler");
  for (const std::unique_ptr<ShardThread>& thread : shards_) {
    thread->Post([serving](std::unique_ptr<Shard>& shard, std::vector<Send>*) {
      if (shard != nullptr) shard->SetServing(serving);
    });
  }
}

Status Server::Serve() {
  const runtime::SystemClock clock;
  int64_t heard_ms = clock.now_ms();  // when the newest call that was answered began
  int tries = 0;
  while (!stop_requested()) {
    const int64_t asked_ms = clock.now_ms();
    const Result<control::Command> command = Await();
    if (command.ok()) heard_ms = asked_ms;
    SetServing(clock.now_ms() < heard_ms + lease_ms_);
    if (!command.ok()) {
      if (!MayPass(command.status()) || command.status().code() == StatusCode::kStale) {
        return command.status();
      }
      if (tries == 0) {
        runtime::Log(LogLevel::kWarning, "ps", "lost the scheduler, serving goes on: {}",
                     command.status().ToString());
      }
      Pause(&tries);
      continue;
    }
    if (std::exchange(tries, 0) > 0) runtime::Log(LogLevel::kInfo, "ps", "found the scheduler");
    Take(*command);
    // A short command is reported in the moment in which it is done; during a long one the
    // heartbeat goes on.
    WaitForOutcome(heartbeat_ms_);
  }
  return Status::Ok();
}

Result<control::Command> Server::Await() {
  const control::Report report = MakeReport();
  control::Command command;
  EMPORIUM_RETURN_IF_ERROR(
      runtime::CallScheduler([&] { config_.scheduler->await(command, report); }));
  EMPORIUM_FAILPOINT("server.report_sent");
  runtime::MutexLock lock(mutex_);
  // They have arrived; a new outcome may have come meanwhile.
  told_sequence_ = report.done_sequence;
  told_checkpoint_ = report.checkpoint;
  if (written_.checkpoint == report.checkpoint) written_.files.clear();
  return command;
}

void Server::Take(const control::Command& command) {
  {
    runtime::MutexLock lock(mutex_);
    if (command.kind == control::CommandKind::WAIT || command.sequence <= seen_) return;
    seen_ = command.sequence;
    if (command.kind == control::CommandKind::STOP) {
      stop_ = true;
      return;
    }
  }
  commands_.Push(command);
  EMPORIUM_FAILPOINT("server.command_taken");
}

control::Report Server::MakeReport() {
  control::Report report;
  std::map<std::string, control::TableStatus> tables;
  double applying = 0;
  double serving = 0;
  for (const std::unique_ptr<ShardThread>& shard : shards_) {
    const ShardStatus status = shard->status();
    shard->RefreshStatus();  // for the next report: nobody waits here for a shard that is busy
    report.counters.bytes_pulled += static_cast<int64_t>(status.counters.bytes_pulled);
    report.counters.bytes_pushed += static_cast<int64_t>(status.counters.bytes_pushed);
    report.counters.refused_frames += static_cast<int64_t>(status.counters.refused_frames);
    report.counters.staged_bytes += static_cast<int64_t>(status.counters.staged_bytes);
    report.counters.micro_batches += static_cast<int64_t>(status.counters.pushes);
    report.generation =
        std::max(report.generation, static_cast<int64_t>(status.generation.value()));
    applying += status.seconds_applying;
    serving += status.seconds_serving;
    for (const ShardStatus::OfTable& table : status.tables) {
      control::TableStatus& sum = tables[table.name];
      sum.table = table.name;
      sum.rows += static_cast<int64_t>(table.rows);
      sum.bytes += static_cast<int64_t>(table.bytes);
      AddRetention(table, &sum);
    }
  }
  for (const auto& [name, table] : tables) report.tables.push_back(table);
  report.node = node_;
  report.incarnation = incarnation_;
  runtime::MutexLock lock(mutex_);
  report.seen_sequence = seen_;
  report.done_sequence = outcome_.sequence;
  // Of a command before the newest, nobody wants to hear.
  if (outcome_.sequence == seen_) {
    report.error = outcome_.status.ok() ? "" : outcome_.status.message();
    report.error_code = static_cast<int32_t>(outcome_.status.code());
  }
  report.checkpoint = written_.checkpoint;
  report.checkpoint_error = written_.status.ok() ? "" : written_.status.message();
  report.shard_files = written_.files;
  report.seconds_by_part = seconds_;
  report.seconds_by_part["apply"] = applying;
  report.seconds_by_part["serve"] = serving;
  return report;
}

void Server::SayFarewell() {
  control::Report report = MakeReport();
  report.leaving = true;
  report.done_sequence = report.seen_sequence;  // the executor has ended; STOP is done with this
  control::Command ignored;
  const Status status = runtime::CallScheduler([&] { config_.scheduler->await(ignored, report); });
  if (!status.ok()) {
    runtime::Log(LogLevel::kInfo, "ps", "left without a farewell: {}", status.ToString());
  }
}

void Server::WaitForOutcome(int64_t milliseconds) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
  runtime::MutexLock lock(mutex_);
  const auto in_work = [this]() EMPORIUM_REQUIRES(mutex_) {
    const bool news =
        outcome_.sequence != told_sequence_ || written_.checkpoint != told_checkpoint_;
    return !news && (outcome_.sequence < seen_ || writing_ != 0);
  };
  while (!stop_ && in_work()) {
    if (!changed_.WaitUntil(mutex_, deadline)) return;
  }
}

void Server::Pause(int* tries) {
  const int64_t pause = kFirstPauseMs << std::min(*tries, kMaxDoublings);
  ++*tries;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(pause);
  runtime::MutexLock lock(mutex_);
  while (!stop_) {
    if (!changed_.WaitUntil(mutex_, deadline)) return;
  }
}

}  // namespace emporium::ps
