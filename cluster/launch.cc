#include "cluster/launch.h"

#include <signal.h>

#include <cstdio>
#include <memory>

#include "cluster/flags.h"
#include "cluster/process.h"
#include "cluster/progress.h"
#include "cluster/report.h"
#include "cluster/verb.h"
#include "runtime/clock.h"
#include "runtime/control_client.h"
#include "runtime/file.h"

namespace emporium::cluster {
namespace {

constexpr int64_t kProgressMs = 500;
// What the nodes get, after the job is done or was stopped, to leave by themselves.
constexpr int64_t kLeaveMs = 10'000;

class Launcher {
 public:
  Launcher(const JobContext& context, SignalWatch* signals)
      : context_(context), signals_(*signals), printer_(ProgressPrinter::ForStdout()) {
    signals_.WatchChildren();
  }

  int Run() {
    if (Status started = StartAll(); !started.ok()) return Fail(kExitFailed, started.message());
    while (children_.running("scheduler")) {
      const int signal = signals_.Wait(kProgressMs);
      if (signal == SIGINT || signal == SIGTERM) {
        if (const int code = OnInterrupt(); code >= 0) return code;
      }
      OnExits(children_.Reap());
      if (children_.running("scheduler")) ShowProgress();
    }
    printer_.EndLine();
    return Finish();
  }

 private:
  // Of the process number `number` of its verb.
  std::vector<std::string> Arguments(const std::string& verb, uint32_t number) const {
    const spec::Cluster& cluster = context_.job.cluster();
    std::vector<std::string> arguments = {verb, context_.job_path,
                                          "--work_dir=" + context_.work_dir};
    const auto add = [&](const std::string& flag, const std::string& value) {
      arguments.push_back("--" + flag + "=" + value);
    };
    if (verb == "scheduler") {
      add("workers", std::to_string(cluster.workers()));
      add("servers", std::to_string(cluster.servers()));
      add("port", std::to_string(FLAGS_port));
      add("http_port", std::to_string(FLAGS_http_port));
      return arguments;
    }
    add("scheduler", "127.0.0.1:" + std::to_string(scheduler_port_));
    if (verb == "server") {
      add("shards_per_server", std::to_string(cluster.shards_per_server()));
    } else {
      add("lanes", std::to_string(cluster.lanes()));
      const bool gpus = cluster.device() == spec::Cluster::CUDA;
      add("device", gpus ? "cuda" : "cpu");
      if (gpus) add("first_lane", std::to_string(number * cluster.lanes()));
    }
    return arguments;
  }

  Status StartAll() {
    EMPORIUM_RETURN_IF_ERROR(runtime::MakeDirs(context_.log_dir()));
    const auto log = [&](const std::string& name) {
      return context_.log_dir() + "/" + name + ".log";
    };
    std::string ready;
    EMPORIUM_RETURN_IF_ERROR(
        children_.Start("scheduler", Arguments("scheduler", 0), log("scheduler"), &ready));
    scheduler_port_ = std::stoi(ready);
    EMPORIUM_ASSIGN_OR_RETURN(scheduler_, runtime::ConnectScheduler("127.0.0.1", scheduler_port_));
    const spec::Cluster& cluster = context_.job.cluster();
    for (uint32_t i = 0; i < cluster.servers(); ++i) {
      const std::string name = "server-" + std::to_string(i);
      EMPORIUM_RETURN_IF_ERROR(children_.Start(name, Arguments("server", i), log(name), nullptr));
    }
    for (uint32_t i = 0; i < cluster.workers(); ++i) {
      const std::string name = "worker-" + std::to_string(i);
      EMPORIUM_RETURN_IF_ERROR(children_.Start(name, Arguments("worker", i), log(name), nullptr));
    }
    std::printf("launched: %u worker(s) x %u lane(s), %u server(s) x %u shard(s); logs in %s\n",
                cluster.workers(), cluster.lanes(), cluster.servers(), cluster.shards_per_server(),
                context_.log_dir().c_str());
    std::fflush(stdout);
    return Status::Ok();
  }

  // A code when the launcher is to end at once, else -1.
  int OnInterrupt() {
    printer_.EndLine();
    if (++interrupts_ > 1) {
      children_.SignalAll(SIGKILL);
      return Fail(kExitInterrupted, "stopped at once; " + HowToGoOn(context_));
    }
    std::printf("stopping after the step in work and a checkpoint; Ctrl-C again stops at once\n");
    std::fflush(stdout);
    const Status asked = runtime::CallScheduler([&] { scheduler_->requestStop("interrupted"); });
    if (asked.ok()) return -1;
    children_.SignalAll(SIGKILL);
    return Fail(kExitInterrupted, "the scheduler does not answer (" + asked.message() +
                                      "); stopped at once; " + HowToGoOn(context_));
  }

  void OnExits(const std::vector<Exit>& exits) {
    for (const Exit& exit : exits) {
      if (exit.name == "scheduler") {
        scheduler_exit_ = exit;
      } else if (exit.code != 0) {
        printer_.EndLine();
        std::fprintf(stderr, "emporium: %s; see %s/%s.log\n", exit.Describe().c_str(),
                     context_.log_dir().c_str(), exit.name.c_str());
      }
    }
  }

  void ShowProgress() {
    control::JobStatus status;
    if (runtime::CallScheduler([&] { scheduler_->status(status); }).ok()) {
      printer_.Show(ProgressFromStatus(status.json), runtime::SystemClock().now_ms());
    }
  }

  int Finish() {
    // The nodes were told to leave; whoever does not is ended.
    const runtime::Stopwatch watch;
    while (children_.running() > 0 && watch.Seconds() * 1000 < kLeaveMs) {
      signals_.Wait(kProgressMs);
      OnExits(children_.Reap());
    }
    children_.SignalAll(SIGKILL);
    if (scheduler_exit_.signal != 0) {
      return Fail(kExitFailed, scheduler_exit_.Describe() + "; " + HowToGoOn(context_));
    }
    if (scheduler_exit_.code == kExitInterrupted) {
      return Fail(kExitInterrupted, "stopped; " + HowToGoOn(context_));
    }
    if (scheduler_exit_.code != kExitOk) {
      return Fail(kExitFailed, LastLines(context_.log_dir() + "/scheduler.log", 1));
    }
    PrintSummary(context_);
    return kExitOk;
  }

  const JobContext& context_;
  SignalWatch& signals_;
  ProgressPrinter printer_;
  ProcessGroup children_;
  std::unique_ptr<control::SchedulerIf> scheduler_;
  int scheduler_port_ = 0;
  int interrupts_ = 0;
  Exit scheduler_exit_;
};

}  // namespace

int Launch(const JobContext& context, SignalWatch* signals) {
  return Launcher(context, signals).Run();
}

}  // namespace emporium::cluster
