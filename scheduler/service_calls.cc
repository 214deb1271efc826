// SchedulerService: the calls of nodes and of the command line.
#include <algorithm>
#include <chrono>
#include <utility>

#include "runtime/control_client.h"
#include "runtime/failpoint.h"
#include "scheduler/service.h"

namespace emporium::scheduler {

using runtime::MutexLock;

void SchedulerService::Serve(const std::function<Status()>& call) {
  Status status = Cancelled("the scheduler is closing");
  if (runtime::Gate::Pass pass = gate_.Enter()) {
    status = call();
    MutexLock lock(mutex_);
    ++counts_.calls;
    if (!status.ok()) ++counts_.refused_calls;
  }
  if (!status.ok()) throw runtime::RefusedFrom(status);
}

void SchedulerService::registerNode(control::Registered& result,
                                    const control::Registration& registration) {
  Serve([&]() -> Status {
    MutexLock lock(mutex_);
    Actions actions;
    Result<control::Registered> registered = machine_->Register(now_ms(), registration, &actions);
    Perform(std::move(actions));
    if (registered.ok()) result = *registered;
    EMPORIUM_FAILPOINT("scheduler.registered");
    return registered.status();
  });
}

void SchedulerService::await(control::Command& result, const control::Report& report) {
  Serve([&] { return Await(report, &result); });
}

Status SchedulerService::Await(const control::Report& report, control::Command* result) {
  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(config_.heartbeat_ms);
  result->kind = control::CommandKind::WAIT;
  MutexLock lock(mutex_);
  Actions actions;
  Status taken = machine_->Report(now_ms(), report, &actions);
  Perform(std::move(actions));
  EMPORIUM_FAILPOINT("scheduler.report_taken");
  if (!taken.ok() || report.leaving) return taken;

  std::shared_ptr<Mailbox>& slot = mailboxes_[report.node];
  if (slot == nullptr) slot = std::make_shared<Mailbox>();
  const std::shared_ptr<Mailbox> mailbox = slot;
  while (!closed_ && !mailbox->gone && mailbox->command.sequence <= report.seen_sequence) {
    if (!mailbox->changed.WaitUntil(mutex_, deadline)) break;
  }
  if (mailbox->gone) {
    return Stale("node " + std::to_string(report.node) + " is not counted on any more");
  }
  if (mailbox->command.sequence > report.seen_sequence) *result = mailbox->command;
  return Status::Ok();
}

void SchedulerService::putChunk(int64_t node, int64_t incarnation, int32_t stage, bool validation,
                                int64_t step, int64_t chunk, const std::string& bytes) {
  Serve([&] {
    MutexLock lock(mutex_);
    Status status =
        machine_->PutChunk(now_ms(), node, incarnation, {stage, validation, step}, chunk, bytes);
    EMPORIUM_FAILPOINT("scheduler.chunk_taken");
    return status;
  });
}

void SchedulerService::getChunks(std::vector<std::string>& result, int64_t node,
                                 int64_t incarnation, int32_t stage, bool validation, int64_t step,
                                 int64_t from_chunk) {
  Serve([&] {
    MutexLock lock(mutex_);
    Result<std::vector<std::string>> chunks =
        machine_->GetChunks(now_ms(), node, incarnation, {stage, validation, step}, from_chunk);
    if (!chunks.ok()) return chunks.status();
    result = std::move(chunks).value();
    return Status::Ok();
  });
}

void SchedulerService::putMetrics(int64_t node, int64_t incarnation, int32_t stage, bool validation,
                                  int64_t step, const std::vector<control::Metric>& metrics) {
  Serve([&] {
    MutexLock lock(mutex_);
    Status status =
        machine_->PutMetrics(now_ms(), node, incarnation, {stage, validation, step}, metrics);
    EMPORIUM_FAILPOINT("scheduler.metrics_taken");
    return status;
  });
}

void SchedulerService::status(control::JobStatus& result) {
  Serve([&] {
    result.json = StatusJson();
    return Status::Ok();
  });
}

void SchedulerService::requestCheckpoint() {
  Serve([&] {
    MutexLock lock(mutex_);
    Actions actions;
    Status status = machine_->RequestCheckpoint(now_ms(), &actions);
    Perform(std::move(actions));
    return status;
  });
}

void SchedulerService::requestStop(const std::string& why) {
  Serve([&] {
    RequestStop(why);
    return Status::Ok();
  });
}

void SchedulerService::scale(int32_t workers) {
  Serve([&] {
    MutexLock lock(mutex_);
    Actions actions;
    Status status = machine_->Scale(now_ms(), workers, &actions);
    Perform(std::move(actions));
    return status;
  });
}

}  // namespace emporium::scheduler
