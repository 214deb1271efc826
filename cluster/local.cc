#include "cluster/local.h"

#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "cluster/dataset_step.h"
#include "cluster/node.h"
#include "cluster/progress.h"
#include "cluster/report.h"
#include "cluster/verb.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "scheduler/service.h"

namespace emporium::cluster {
namespace {

constexpr int64_t kProgressMs = 250;

// The three roles side by side. They end in the reverse order of their start.
class LocalJob {
 public:
  LocalJob(const JobContext& context, LocalWork work) : context_(context), work_(work) {}

  Status Start() {
    const spec::Cluster& cluster = context_.job.cluster();
    scheduler::SchedulerService::Config config;
    config.job = context_.job;
    config.job_text = context_.job_text;
    config.fingerprint = context_.fingerprint;
    config.work_dir = context_.work_dir;
    config.servers = 1;
    config.workers = cluster.workers();
    config.heartbeat_ms = cluster.heartbeat_ms();
    config.lease_ms = cluster.lease_ms();
    config.exports_only = work_ == LocalWork::kExportOnly;
    config.clock = &clock_;
    EMPORIUM_ASSIGN_OR_RETURN(scheduler_, scheduler::SchedulerService::Start(std::move(config)));
    std::vector<std::string> endpoints;
    for (uint32_t i = 0; i < cluster.servers() * cluster.shards_per_server(); ++i) {
      endpoints.push_back("inproc://shard-" + std::to_string(i));
    }
    EMPORIUM_ASSIGN_OR_RETURN(
        server_, StartServer(context_, std::move(endpoints), &transport_, scheduler_.get()));
    for (uint32_t i = 0; i < cluster.workers(); ++i) {
      EMPORIUM_ASSIGN_OR_RETURN(
          std::unique_ptr<WorkerRole> role,
          WorkerRole::Start(context_, &transport_, scheduler_.get(), i * cluster.lanes()));
      workers_.push_back(std::move(role));
    }
    return Status::Ok();
  }

  // Runs to the end, drawing progress; the job's result.
  Status Watch(SignalWatch* signals, ProgressPrinter* printer) {
    int interrupts = 0;
    while (!scheduler_->WaitFor(0)) {
      const int signal = signals->Wait(kProgressMs);
      if (signal == SIGINT || signal == SIGTERM) {
        printer->EndLine();
        if (++interrupts > 1) {
          std::fprintf(stderr, "emporium: stopped at once; %s\n", HowToGoOn(context_).c_str());
          std::_Exit(kExitInterrupted);
        }
        std::printf(
            "stopping after the step in work and a checkpoint; Ctrl-C again stops at once\n");
        std::fflush(stdout);
        scheduler_->RequestStop("interrupted");
      }
      printer->Show(scheduler_->progress(), clock_.now_ms());
    }
    printer->EndLine();
    Status result = scheduler_->WaitUntilDone();
    WriteLastStatus(context_, scheduler_->StatusJson());
    for (const auto& role : workers_) LogEnd("worker", role->worker().Join());
    LogEnd("server", server_->Join());
    return result;
  }

 private:
  static void LogEnd(const char* who, const Status& status) {
    if (!status.ok() && status.code() != StatusCode::kCancelled) {
      runtime::Log(runtime::LogLevel::kError, who, "{}", status.ToString());
    }
  }

  const JobContext& context_;
  const LocalWork work_;
  runtime::SystemClock clock_;
  runtime::Context transport_;
  std::unique_ptr<scheduler::SchedulerService> scheduler_;
  std::unique_ptr<ps::Server> server_;
  std::vector<std::unique_ptr<WorkerRole>> workers_;
};

}  // namespace

int RunLocal(const JobContext& context, LocalWork work, SignalWatch* signals) {
  if (Status prepared = PrepareData(context, context.dataset_dir()); !prepared.ok()) {
    return Fail(kExitFailed, prepared.ToString());
  }
  if (Status log = StartLog(context, "run", false); !log.ok()) {
    return Fail(kExitFailed, log.ToString());
  }
  LocalJob job(context, work);
  if (Status started = job.Start(); !started.ok()) {
    return Fail(kExitFailed, started.ToString());
  }
  ProgressPrinter printer = ProgressPrinter::ForStdout();
  const Status result = job.Watch(signals, &printer);
  if (result.code() == StatusCode::kCancelled) {
    return Fail(kExitInterrupted, "stopped; " + HowToGoOn(context));
  }
  if (!result.ok()) return Fail(kExitFailed, result.ToString());
  PrintSummary(context);
  return kExitOk;
}

}  // namespace emporium::cluster
