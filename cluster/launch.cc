#include "cluster/launch.h"

#include <signal.h>

#include <cstdio>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "cluster/flags.h"
#include "cluster/process.h"
#include "cluster/progress.h"
#include "cluster/report.h"
#include "cluster/restarts.h"
#include "cluster/verb.h"
#include "runtime/clock.h"
#include "runtime/control_client.h"
#include "runtime/file.h"

namespace emporium::cluster {
namespace {

constexpr int64_t kProgressMs = 500;
// What the nodes get, after the job is done or was stopped, to leave by themselves.
constexpr int64_t kLeaveMs = 10'000;
constexpr const char* kScheduler = "scheduler";

// Starts the processes of a job, and each again that dies before the job is over.
class Launcher {
 public:
  Launcher(const JobContext& context, SignalWatch* signals)
      : context_(context), signals_(*signals), printer_(ProgressPrinter::ForStdout()) {
    signals_.WatchChildren();
  }

  int Run() {
    if (Status started = StartAll(); !started.ok()) return Fail(kExitFailed, started.message());
    while (children_.running(kScheduler) || restarts_.waiting(kScheduler)) {
      const int signal = signals_.Wait(kProgressMs);
      if (signal == SIGINT || signal == SIGTERM) {
        if (const int code = OnInterrupt(); code >= 0) return code;
      }
      OnExits(children_.Reap());
      StartAgain();
      if (children_.running(kScheduler)) LookAtJob();
    }
    printer_.EndLine();
    return Finish();
  }

 private:
  // A process of the job: `number` counts those of its verb.
  struct Role {
    std::string verb;
    uint32_t number = 0;
  };

  std::vector<std::string> Arguments(const std::string& name, const Role& role) const {
    const spec::Cluster& cluster = context_.job.cluster();
    std::vector<std::string> arguments = {role.verb, context_.job_path,
                                          "--work_dir=" + context_.work_dir};
    const auto add = [&](const std::string& flag, const std::string& value) {
      arguments.push_back("--" + flag + "=" + value);
    };
    if (role.verb == kScheduler) {
      add("workers", std::to_string(cluster.workers()));
      add("servers", std::to_string(cluster.servers()));
      // One that is started again listens where the nodes look for it, and finds them there.
      const bool again = scheduler_port_ > 0;
      add("port", std::to_string(again ? scheduler_port_ : FLAGS_port));
      add("rejoin", again ? "true" : "false");
      add("http_port", std::to_string(FLAGS_http_port));
      return arguments;
    }
    add("scheduler", "127.0.0.1:" + std::to_string(scheduler_port_));
    add("name", name);
    if (role.verb == "server") {
      add("shards_per_server", std::to_string(cluster.shards_per_server()));
    } else {
      add("lanes", std::to_string(cluster.lanes()));
      const bool gpus = cluster.device() == spec::Cluster::CUDA;
      add("device", gpus ? "cuda" : "cpu");
      if (gpus) add("first_lane", std::to_string(role.number * cluster.lanes()));
    }
    return arguments;
  }

  std::string LogPath(const std::string& name) const {
    return context_.log_dir() + "/" + name + ".log";
  }

  Status Start(const std::string& name) {
    const Role& role = roles_.at(name);
    std::string ready;
    std::vector<std::string> arguments = Arguments(name, role);
    // In the first life of the process only.
    if (const std::string prefix = name + "="; failpoint_.starts_with(prefix)) {
      arguments.push_back("--failpoint=" + std::exchange(failpoint_, "").substr(prefix.size()));
    }
    const bool waits = role.verb == kScheduler;
    restarts_.Started(name, clock_.now_ms());
    EMPORIUM_RETURN_IF_ERROR(
        children_.Start(name, std::move(arguments), LogPath(name), waits ? &ready : nullptr));
    if (waits) scheduler_port_ = std::stoi(ready);
    return Status::Ok();
  }

  Status StartAll() {
    EMPORIUM_RETURN_IF_ERROR(runtime::MakeDirs(context_.log_dir()));
    const spec::Cluster& cluster = context_.job.cluster();
    roles_[kScheduler] = {kScheduler, 0};
    EMPORIUM_RETURN_IF_ERROR(Start(kScheduler));
    EMPORIUM_ASSIGN_OR_RETURN(scheduler_, runtime::ConnectScheduler("127.0.0.1", scheduler_port_));
    const auto add = [&](const std::string& verb, uint32_t number) {
      const std::string name = verb + "-" + std::to_string(number);
      roles_[name] = {verb, number};
      return Start(name);
    };
    for (uint32_t i = 0; i < cluster.servers(); ++i) EMPORIUM_RETURN_IF_ERROR(add("server", i));
    for (uint32_t i = 0; i < cluster.workers(); ++i) EMPORIUM_RETURN_IF_ERROR(add("worker", i));
    workers_ = cluster.workers();
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
      const bool scheduler = exit.name == kScheduler;
      if (scheduler) scheduler_exit_ = exit;
      // A scheduler that ends by itself has ended the job, and a node that ends well was told to.
      if (scheduler ? exit.signal == 0 : exit.code == 0) {
        AfterGoodEnd(exit.name);
        continue;
      }
      if (!scheduler && !Wanted(exit.name)) continue;
      printer_.EndLine();
      std::fprintf(stderr, "emporium: %s; see %s\n", exit.Describe().c_str(),
                   LogPath(exit.name).c_str());
      const bool ends =
          !scheduler && !children_.running(kScheduler) && !restarts_.waiting(kScheduler);
      const bool killed = exit.signal == SIGKILL || exit.signal == SIGTERM;
      if (ends || restarts_.Died(exit.name, killed, clock_.now_ms()).has_value()) continue;
      GiveUp(exit.name);
    }
  }

  // Of the job's present shape.
  bool Wanted(const std::string& name) const {
    const Role& role = roles_.at(name);
    return role.verb != "worker" || role.number < workers_;
  }

  // One that was asked to leave may be wanted again by now.
  void AfterGoodEnd(const std::string& name) {
    if (left_.erase(name) > 0 && Wanted(name)) {
      restarts_.Due(name, clock_.now_ms());
    }
  }

  // A child has died again and again in its first seconds.
  void GiveUp(const std::string& name) {
    const std::string what =
        name + " died " + std::to_string(Restarts::kMaxShortLives) + " times soon after its start";
    if (roles_.at(name).verb == "worker") {
      std::fprintf(stderr, "emporium: %s; the job goes on without it\n", what.c_str());
      return;
    }
    given_up_ = what + ", see " + LogPath(name);
    if (name != kScheduler) {
      (void)runtime::CallScheduler([&] { scheduler_->requestStop(what); });
    }
  }

  void StartAgain() {
    while (const std::optional<std::string> name = restarts_.NextDue(clock_.now_ms())) {
      const Status started = Start(*name);
      if (started.ok()) {
        if (*name == kScheduler) SchedulerIsBack();
        continue;
      }
      // It is dead and will be found so, or could not even be made.
      std::fprintf(stderr, "emporium: %s\n", started.message().c_str());
      if (!children_.running(*name)) OnExits({Exit{*name, -1, SIGKILL}});
    }
  }

  // What it was told and could not store is told again; nodes that it had sent away and may not
  // know of are there again.
  void SchedulerIsBack() {
    if (interrupts_ > 0) {
      (void)runtime::CallScheduler([&] { scheduler_->requestStop("interrupted"); });
    }
    for (const auto& [name, role] : roles_) {
      if (!children_.running(name) && !restarts_.waiting(name) && Wanted(name)) {
        restarts_.Due(name, clock_.now_ms());
      }
    }
  }

  void LookAtJob() {
    control::JobStatus status;
    if (!runtime::CallScheduler([&] { scheduler_->status(status); }).ok()) return;
    printer_.Show(ProgressFromStatus(status.json), clock_.now_ms());
    if (const std::optional<uint32_t> wanted = WorkersWanted(status.json)) Scale(*wanted);
  }

  // The workers 0 to `wanted` - 1 run; others are asked to leave.
  void Scale(uint32_t wanted) {
    if (wanted == workers_) return;
    for (uint32_t i = workers_; i < wanted; ++i) {
      const std::string name = "worker-" + std::to_string(i);
      roles_[name] = {"worker", i};
      if (!children_.running(name)) restarts_.Due(name, clock_.now_ms());
    }
    for (uint32_t i = wanted; i < workers_; ++i) {
      const std::string name = "worker-" + std::to_string(i);
      restarts_.Forget(name);
      children_.Signal(name, SIGTERM);
      left_.insert(name);
    }
    workers_ = wanted;
    StartAgain();
  }

  int Finish() {
    restarts_.Stop();
    // The nodes were told to leave; whoever does not is ended.
    const runtime::Stopwatch watch;
    while (children_.running() > 0 && watch.Seconds() * 1000 < kLeaveMs) {
      signals_.Wait(kProgressMs);
      OnExits(children_.Reap());
    }
    children_.SignalAll(SIGKILL);
    if (!given_up_.empty()) return Fail(kExitFailed, given_up_ + "; " + HowToGoOn(context_));
    if (scheduler_exit_.code == kExitInterrupted) {
      return Fail(kExitInterrupted, "stopped; " + HowToGoOn(context_));
    }
    if (scheduler_exit_.code != kExitOk)
      return Fail(kExitFailed, LastLines(LogPath(kScheduler), 1));
    PrintSummary(context_);
    return kExitOk;
  }

  const JobContext& context_;
  SignalWatch& signals_;
  const runtime::SystemClock clock_;
  ProgressPrinter printer_;
  ProcessGroup children_;
  Restarts restarts_;
  std::map<std::string, Role> roles_;  // by name
  std::set<std::string> left_;         // workers that were asked to leave, and not yet missed
  std::unique_ptr<control::SchedulerIf> scheduler_;
  int scheduler_port_ = 0;
  std::string failpoint_ = FLAGS_failpoint;
  uint32_t workers_ = 0;
  int interrupts_ = 0;
  Exit scheduler_exit_;
  std::string given_up_;  // why the job cannot go on
};

}  // namespace

int Launch(const JobContext& context, SignalWatch* signals) {
  return Launcher(context, signals).Run();
}

}  // namespace emporium::cluster
