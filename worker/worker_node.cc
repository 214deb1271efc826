#include "worker/worker_node.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "proto/check.h"
#include "proto/limits.h"
#include "runtime/backoff.h"
#include "runtime/clock.h"
#include "runtime/control_client.h"
#include "runtime/failpoint.h"
#include "runtime/log.h"
#include "runtime/thread_annotations.h"
#include "worker/command_runner.h"
#include "worker/device.h"
#include "worker/facts.h"
#include "worker/node_report.h"
#include "worker/ps_client.h"
#include "worker/trainer.h"

namespace emporium::worker {
namespace {

using control::Command;
using control::CommandKind;
using runtime::Backoff;
using runtime::CallScheduler;
using runtime::Log;
using runtime::LogLevel;
using runtime::MutexLock;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kFirstRetry(50);
constexpr milliseconds kLongestRetry(400);
constexpr milliseconds kPatience(limits::kSchedulerPatienceMs);
// How long a span that shards call stale may wait for the newer command that explains it.
constexpr milliseconds kStalePatience(4 * limits::kLeaseMs);

bool IsOutage(const Status& status) {
  return status.code() == StatusCode::kUnavailable ||
         status.code() == StatusCode::kDeadlineExceeded;
}

runtime::Backoff MakeBackoff() { return {kFirstRetry, kLongestRetry, kPatience}; }

class Node final : public Worker, public ChunkExchange {
 public:
  Node(const WorkerConfig& config, const control::DatasetFacts& facts,
       std::unique_ptr<PsClient> client, std::unique_ptr<Trainer> trainer,
       std::unique_ptr<StageBodies> bodies)
      : config_(config),
        facts_(facts),
        client_(std::move(client)),
        trainer_(std::move(trainer)),
        bodies_(std::move(bodies)),
        runner_(*config.job, *client_, *trainer_, *bodies_, *this) {
    control_thread_ = std::thread([this] { ControlLoop(); });
    executor_thread_ = std::thread([this] { ExecutorLoop(); });
  }

  ~Node() override {
    End(Cancelled("the worker was asked to stop"));
    (void)Join();
  }

  Status Join() override {
    if (control_thread_.joinable()) control_thread_.join();
    if (executor_thread_.joinable()) executor_thread_.join();
    MutexLock lock(mutex_);
    return outcome_.value_or(Status::Ok());
  }

  void RequestStop() override {
    MutexLock lock(mutex_);
    const bool trains = running_ && running_kind_ == CommandKind::TRAIN;
    if (trains && !std::exchange(leaving_, true)) return trainer_->Pause();
    EndLocked(Cancelled("the worker was asked to stop"));
  }

  Status PutChunk(const Command& of, int64_t chunk, const std::string& bytes) override {
    return CallPatiently([&](int64_t node, int64_t incarnation) {
      config_.scheduler->putChunk(node, incarnation, of.stage, of.validation, of.from_step, chunk,
                                  bytes);
    });
  }

  Result<std::vector<std::string>> GetChunks(const Command& of, int64_t from) override {
    std::vector<std::string> chunks;
    EMPORIUM_RETURN_IF_ERROR(CallPatiently([&](int64_t node, int64_t incarnation) {
      config_.scheduler->getChunks(chunks, node, incarnation, of.stage, of.validation, of.from_step,
                                   from);
    }));
    return chunks;
  }

  Status PutMetrics(const Command& of, const std::vector<control::Metric>& metrics) override {
    return CallPatiently([&](int64_t node, int64_t incarnation) {
      config_.scheduler->putMetrics(node, incarnation, of.stage, of.validation, of.from_step,
                                    metrics);
    });
  }

 private:
  // -- Both threads -------------------------------------------------------------------------------

  // The worker is over, for the first reason that is given.
  void End(const Status& outcome) EMPORIUM_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    EndLocked(outcome);
  }

  void EndLocked(const Status& outcome) EMPORIUM_REQUIRES(mutex_) {
    if (outcome_.has_value()) return;
    outcome_ = outcome;
    InterruptLocked();
  }

  // What is being carried out ends soon.
  void InterruptLocked() EMPORIUM_REQUIRES(mutex_) {
    interrupted_ = true;
    runner_.Interrupt();
    changed_.NotifyAll();
  }

  // Waits unless the worker is over; false when it is.
  bool Wait(milliseconds time) EMPORIUM_EXCLUDES(mutex_) {
    const auto until = steady_clock::now() + time;
    MutexLock lock(mutex_);
    while (!outcome_.has_value() && changed_.WaitUntil(mutex_, until)) {
    }
    return !outcome_.has_value();
  }

  // A call to the scheduler, tried again while it cannot be reached.
  Status CallPatiently(const std::function<void(int64_t node, int64_t incarnation)>& call) {
    Backoff backoff = MakeBackoff();
    while (true) {
      int64_t node = 0;
      int64_t incarnation = 0;
      {
        MutexLock lock(mutex_);
        node = registered_.node;
        incarnation = registered_.incarnation;
      }
      Status status = CallScheduler([&] { call(node, incarnation); });
      if (!IsOutage(status)) return status;
      const auto wait = backoff.Next(clock_.now());
      if (!wait || !Wait(*wait)) return status;
    }
  }

  // Everything since the last report. What a report takes with it is put back when it is lost.
  control::Report MakeReport() EMPORIUM_EXCLUDES(mutex_) {
    const PsClientCounters traffic = client_->counters();
    std::vector<StepLoss> losses = trainer_->TakeLosses();
    MutexLock lock(mutex_);
    const Trainer::Progress progress = trainer_->progress();  // no older than failure_
    control::Report report;
    report.node = registered_.node;
    report.incarnation = registered_.incarnation;
    report.seen_sequence = seen_sequence_;
    report.done_sequence = done_sequence_;
    AddFailure(failure_, progress, &report);
    // One begun before the shards were looked at for this command says nothing of where they are.
    const bool begun = progress.highest_begun && progress.stage == train_stage_ &&
                       begun_sequence_ == train_sequence_;
    report.highest_step = begun ? static_cast<int64_t>(progress.highest_begun->value()) : -1;
    report.losses = std::exchange(unsent_losses_, {});
    for (const StepLoss& loss : losses) report.losses.push_back(LossOf(loss));
    AddNumbers(progress, traffic, &report);
    report.leaving = outcome_.has_value();
    return report;
  }

  Status Await(Command* command) {
    const control::Report report = MakeReport();
    Status status = CallScheduler([&] { config_.scheduler->await(*command, report); });
    if (!status.ok()) {
      MutexLock lock(mutex_);
      unsent_losses_.insert(unsent_losses_.begin(), report.losses.begin(), report.losses.end());
    }
    return status;
  }

  // -- The control thread -------------------------------------------------------------------------

  void ControlLoop() {
    if (!Register()) return;
    AwaitCommands();
    // The last report, which nobody needs to answer.
    Command ignored;
    (void)Await(&ignored);
  }

  bool Register() {
    control::Registration registration;
    registration.kind = control::NodeKind::WORKER;
    registration.host_name = config_.host_name;
    registration.pid = static_cast<int32_t>(::getpid());
    registration.job_fingerprint = config_.job_fingerprint;
    registration.lanes = static_cast<int32_t>(config_.lanes);
    registration.name = config_.name;
    registration.started_ms = config_.started_ms;
    registration.facts = facts_;
    Backoff backoff = MakeBackoff();
    while (true) {
      control::Registered registered;
      const Status status =
          CallScheduler([&] { config_.scheduler->registerNode(registered, registration); });
      if (status.ok()) {
        EMPORIUM_FAILPOINT("worker.registered");
        MutexLock lock(mutex_);
        registered_ = registered;
        seen_sequence_ = 0;
        done_sequence_ = 0;
        failure_ = Status::Ok();
        return true;
      }
      if (!KeepTrying(status, &backoff)) return false;
    }
  }

  // Whether to go on after a failed call; waits a while first. Otherwise the worker is over.
  bool KeepTrying(const Status& status, Backoff* backoff) {
    const auto wait = IsOutage(status) ? backoff->Next(clock_.now()) : std::nullopt;
    if (wait) return Wait(*wait);
    End(IsOutage(status) ? Unavailable("no answer from the scheduler for " +
                                       std::to_string(kPatience.count() / 1000) + " s (" +
                                       status.message() + "); start it again, then this")
                         : status);
    return false;
  }

  void AwaitCommands() {
    Backoff backoff = MakeBackoff();
    while (Wait(milliseconds(0))) {
      Command command;
      const Status status = Await(&command);
      if (status.ok()) {
        backoff.Reset();
        Take(command);
        if (command.kind != CommandKind::WAIT) EMPORIUM_FAILPOINT("worker.command_taken");
      } else if (status.code() == StatusCode::kStale) {
        Log(LogLevel::kWarning, "worker",
            "the scheduler took this worker for gone ({}); registering again", status.message());
        GiveUpWork();
        if (!Register()) return;
      } else if (!KeepTrying(status, &backoff)) {
        return;
      }
    }
  }

  void GiveUpWork() EMPORIUM_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    next_.reset();
    if (running_) InterruptLocked();
    while (running_) changed_.Wait(mutex_);
  }

  void Take(const Command& command) EMPORIUM_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (command.kind == CommandKind::WAIT || command.sequence <= seen_sequence_) return;
    if (leaving_ && command.kind != CommandKind::STOP) return;  // others do it
    seen_sequence_ = command.sequence;
    failure_ = Status::Ok();
    if (command.kind == CommandKind::STOP) {
      done_sequence_ = command.sequence;
      return EndLocked(command.message.empty() ? Status::Ok() : Cancelled(command.message));
    }
    if (command.kind == CommandKind::TRAIN) {
      train_stage_ = StageId(static_cast<uint32_t>(command.stage));
      train_sequence_ = command.sequence;
    }
    const bool trains = running_ && running_kind_ == CommandKind::TRAIN;
    if (command.kind == CommandKind::PAUSE && trains) {
      trainer_->Pause();
    } else if (running_) {
      InterruptLocked();
    }
    next_ = command;
    changed_.NotifyAll();
  }

  // -- The executor thread ------------------------------------------------------------------------

  void ExecutorLoop() {
    while (const std::optional<Command> command = NextCommand()) {
      Status status;
      const bool waits = command->kind == CommandKind::PAUSE || command->kind == CommandKind::HOLD;
      if (!waits) status = runner_.Run(*command);
      if (status.code() == StatusCode::kStale) WaitForNewer();
      if (!Finish(*command, status)) continue;
      // The report of the control thread is under way and would be heard only a heartbeat later.
      // What this one is answered with reaches the control thread's as well.
      Command ignored;
      (void)Await(&ignored);
    }
  }

  std::optional<Command> NextCommand() EMPORIUM_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    while (!next_ && !outcome_) changed_.Wait(mutex_);
    if (outcome_) return std::nullopt;
    running_ = true;
    running_kind_ = next_->kind;
    if (running_kind_ == CommandKind::TRAIN) {
      begun_sequence_ = next_->sequence;
      trainer_->ForgetSteps();
    }
    interrupted_ = false;
    runner_.Reset();
    return std::exchange(next_, std::nullopt);
  }

  // Shards know of a newer route or version before the worker does: the command is about to come.
  void WaitForNewer() EMPORIUM_EXCLUDES(mutex_) {
    const auto until = steady_clock::now() + kStalePatience;
    MutexLock lock(mutex_);
    while (!next_ && !interrupted_ && changed_.WaitUntil(mutex_, until)) {
    }
  }

  // Notes how a command went; false when a newer one makes that nobody's business.
  bool Finish(const Command& command, const Status& status) EMPORIUM_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    running_ = false;
    changed_.NotifyAll();
    if (leaving_) EndLocked(Cancelled("the worker was asked to stop"));
    if (command.sequence != seen_sequence_ || outcome_) return false;
    failure_ = status;
    if (status.ok()) {
      done_sequence_ = command.sequence;
    } else {
      Log(LogLevel::kError, "worker", "command {} failed: {}", command.sequence, status.ToString());
    }
    return true;
  }

  const runtime::SystemClock clock_;
  const WorkerConfig config_;
  const control::DatasetFacts facts_;
  const std::unique_ptr<PsClient> client_;
  const std::unique_ptr<Trainer> trainer_;
  const std::unique_ptr<StageBodies> bodies_;
  CommandRunner runner_;
  std::thread control_thread_;
  std::thread executor_thread_;

  runtime::Mutex mutex_;
  runtime::CondVar changed_;
  control::Registered registered_ EMPORIUM_GUARDED_BY(mutex_);
  int64_t seen_sequence_ EMPORIUM_GUARDED_BY(mutex_) = 0;
  int64_t done_sequence_ EMPORIUM_GUARDED_BY(mutex_) = 0;
  Status failure_ EMPORIUM_GUARDED_BY(mutex_);
  std::optional<StageId> train_stage_ EMPORIUM_GUARDED_BY(mutex_);  // of the newest TRAIN
  int64_t train_sequence_ EMPORIUM_GUARDED_BY(mutex_) = 0;          // of the newest TRAIN taken
  int64_t begun_sequence_ EMPORIUM_GUARDED_BY(mutex_) = 0;          // of the newest carried out
  std::optional<Command> next_ EMPORIUM_GUARDED_BY(mutex_);
  bool running_ EMPORIUM_GUARDED_BY(mutex_) = false;
  bool interrupted_ EMPORIUM_GUARDED_BY(mutex_) = false;
  bool leaving_ EMPORIUM_GUARDED_BY(mutex_) = false;  // when the step in work is pushed
  CommandKind::type running_kind_ EMPORIUM_GUARDED_BY(mutex_) = CommandKind::WAIT;
  std::vector<control::MicroBatchLoss> unsent_losses_ EMPORIUM_GUARDED_BY(mutex_);
  std::optional<Status> outcome_ EMPORIUM_GUARDED_BY(mutex_);  // set once: the worker is over
};

}  // namespace

Result<std::unique_ptr<Worker>> Worker::Start(const WorkerConfig& config) {
  EMPORIUM_CHECK(config.job != nullptr && config.source != nullptr && config.scheduler != nullptr &&
                     config.context != nullptr,
                 "a worker is given what it works with");
  EMPORIUM_RETURN_IF_ERROR(CheckDevice(config.job->cluster().device()));
  EMPORIUM_ASSIGN_OR_RETURN(std::unique_ptr<StageBodies> bodies, config.bodies_factory());
  control::DatasetFacts facts = FactsOf(*config.source, *config.job);
  std::unique_ptr<PsClient> client = PsClient::Start(*config.context);
  TrainerConfig trainer_config;
  trainer_config.job = config.job;
  trainer_config.source = config.source;
  trainer_config.client = client.get();
  trainer_config.model_factory = config.model_factory;
  trainer_config.lanes = config.lanes;
  trainer_config.first_lane = config.first_lane;
  EMPORIUM_ASSIGN_OR_RETURN(std::unique_ptr<Trainer> trainer, Trainer::Make(trainer_config));
  return std::unique_ptr<Worker>(std::make_unique<Node>(config, facts, std::move(client),
                                                        std::move(trainer), std::move(bodies)));
}

}  // namespace emporium::worker
