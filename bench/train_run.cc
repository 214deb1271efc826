#include "bench/train_run.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "bench/cpu_time.h"
#include "cluster/node.h"
#include "models/model.h"
#include "runtime/clock.h"
#include "runtime/thread_annotations.h"
#include "scheduler/service.h"
#include "worker/bodies.h"
#include "worker/counter_cursor.h"

namespace emporium::bench {
namespace {

namespace fs = std::filesystem;
using runtime::MutexLock;
using std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience(120);  // for the next step
constexpr int64_t kLookMs = 50;
// Until the nodes have reported what the gate has cost them: two heartbeats and a little.
constexpr double kSkipSeconds = 1.2;

// A batch source whose Train waits at the gate, and which knows when each step began to be read.
// Used by the worker's readers and by the one who measures.
class GatedSource final : public worker::BatchSource {
 public:
  explicit GatedSource(const worker::BatchSource& inner) : inner_(inner) {}

  struct Mark {
    int64_t samples = 0;  // read before the step
    steady_clock::time_point time;
    double cpu_seconds = 0;
  };
  // Opens the gate and waits until `steps` more steps have begun to be read and `seconds` passed.
  Result<Mark> Run(uint64_t steps, double seconds) {
    const auto from = steady_clock::now();
    MutexLock lock(mutex_);
    limit_ = std::numeric_limits<uint64_t>::max();
    changed_.NotifyAll();
    const uint64_t until = begun_ + steps;
    while (begun_ < until || newest_.time - from < std::chrono::duration<double>(seconds)) {
      if (!changed_.WaitFor(mutex_, kPatience)) {
        return DeadlineExceeded("no step in " + std::to_string(kPatience.count()) +
                                " s; see the log in the work directory");
      }
    }
    return newest_;
  }
  // Shuts the gate behind the step in work; how many samples were let through since the start once
  // it has been read.
  int64_t Shut() {
    MutexLock lock(mutex_);
    limit_ = highest_;
    while (whole_ < begun_) changed_.Wait(mutex_);
    return samples_;
  }
  // Whoever waits at the gate goes away.
  void End() {
    MutexLock lock(mutex_);
    over_ = true;
    changed_.NotifyAll();
  }

  std::string OriginOf(StageId stage, Step step, MicroBatch m) const override {
    return inner_.OriginOf(stage, step, m);
  }
  Result<worker::PlannedBatch> Train(StageId stage, Step step, MicroBatch m) const override {
    {
      MutexLock lock(mutex_);
      while (step.value() > limit_ && !over_) changed_.Wait(mutex_);
      if (over_) return Cancelled("the measurement is over");
      if (step.value() + 1 > begun_) {
        begun_ = step.value() + 1;
        highest_ = step.value();
        newest_ = {samples_, steady_clock::now(), CpuSeconds()};
        changed_.NotifyAll();
      }
    }
    Result<worker::PlannedBatch> batch = inner_.Train(stage, step, m);
    if (!batch.ok()) return batch;
    MutexLock lock(mutex_);
    samples_ += batch->batch.samples;
    if (++read_of_step_[step.value()] == inner_.plan(stage).MicroBatches(step)) {
      read_of_step_.erase(step.value());
      ++whole_;
      changed_.NotifyAll();
    }
    return batch;
  }

  const worker::Dataset& dataset() const override { return inner_.dataset(); }
  worker::StagePlan plan(StageId stage) const override { return inner_.plan(stage); }
  int64_t EvalChunks(StageId stage, worker::EvalSplit split) const override {
    return inner_.EvalChunks(stage, split);
  }
  Result<worker::EvalBatch> Eval(StageId stage, worker::EvalSplit split,
                                 int64_t chunk) const override {
    return inner_.Eval(stage, split, chunk);
  }
  int64_t ItemChunks() const override { return inner_.ItemChunks(); }
  Result<worker::ItemBatch> Items(int64_t chunk, worker::AsOf as_of) const override {
    return inner_.Items(chunk, as_of);
  }
  std::unique_ptr<worker::CounterCursor> Counters() const override { return inner_.Counters(); }
  int64_t UserChunks() const override { return inner_.UserChunks(); }
  Result<worker::PlannedBatch> Users(int64_t chunk, worker::AsOf as_of,
                                     std::vector<int32_t>* user_ids) const override {
    return inner_.Users(chunk, as_of, user_ids);
  }

 private:
  const worker::BatchSource& inner_;
  mutable runtime::Mutex mutex_;
  mutable runtime::CondVar changed_;
  uint64_t limit_ EMPORIUM_GUARDED_BY(mutex_) = 0;  // the highest step that may be read
  bool over_ EMPORIUM_GUARDED_BY(mutex_) = false;
  mutable uint64_t begun_ EMPORIUM_GUARDED_BY(mutex_) = 0;  // steps
  mutable uint64_t highest_ EMPORIUM_GUARDED_BY(mutex_) = 0;
  mutable Mark newest_ EMPORIUM_GUARDED_BY(mutex_);
  mutable uint64_t whole_ EMPORIUM_GUARDED_BY(mutex_) = 0;  // steps that were read to the end
  mutable std::map<uint64_t, uint32_t> read_of_step_ EMPORIUM_GUARDED_BY(mutex_);
  mutable int64_t samples_ EMPORIUM_GUARDED_BY(mutex_) = 0;
};

// What the nodes have reported so far.
struct Reported {
  int64_t samples = 0;
  std::map<std::string, double> parts;
};

class LocalRun final : public TrainRun {
 public:
  explicit LocalRun(const cluster::JobContext& context) : context_(context) {}

  // The worker leaves first. No checkpoint is taken.
  ~LocalRun() override {
    if (gate_ != nullptr) gate_->End();
    if (worker_ != nullptr) worker_->RequestStop();
    worker_.reset();
    server_.reset();
  }

  Status Begin() {
    for (const std::string& path :
         {context_.checkpoint_dir(), context_.state_path(), context_.state_path() + "-wal",
          context_.state_path() + "-shm"}) {
      fs::remove_all(path);
    }
    const spec::Job& job = context_.job;
    EMPORIUM_ASSIGN_OR_RETURN(source_, worker::BatchSource::Open(job, context_.dataset_dir()));
    gate_ = std::make_unique<GatedSource>(*source_);
    scheduler::SchedulerService::Config config;
    config.job = job;
    config.job_text = context_.job_text;
    config.fingerprint = context_.fingerprint;
    config.work_dir = context_.work_dir;
    config.clock = &clock_;
    EMPORIUM_ASSIGN_OR_RETURN(scheduler_, scheduler::SchedulerService::Start(std::move(config)));
    std::vector<std::string> endpoints;
    for (uint32_t i = 0; i < job.cluster().shards_per_server(); ++i) {
      endpoints.push_back("inproc://shard-" + std::to_string(i));
    }
    EMPORIUM_ASSIGN_OR_RETURN(server_, cluster::StartServer(context_, std::move(endpoints),
                                                            &transport_, scheduler_.get()));
    return StartWorker();
  }

  Result<TrainWindow> Measure(uint64_t skip_steps, double seconds) override {
    EMPORIUM_ASSIGN_OR_RETURN(const GatedSource::Mark begin, gate_->Run(skip_steps, kSkipSeconds));
    const Reported before = Look();
    EMPORIUM_ASSIGN_OR_RETURN(const GatedSource::Mark end, gate_->Run(1, seconds));
    const Reported after = Look();
    const double passed = std::chrono::duration<double>(end.time - begin.time).count();
    TrainWindow window;
    const auto samples = static_cast<double>(end.samples - begin.samples);
    window.samples_per_second = samples / passed;
    window.samples_per_cpu_second = samples / (end.cpu_seconds - begin.cpu_seconds);
    for (const auto& [name, at] : after.parts) {
      const auto was = before.parts.find(name);
      window.parts[name] = (at - (was == before.parts.end() ? 0 : was->second)) / passed;
    }
    const int64_t read = gate_->Shut();
    while (Look().samples < read) {
      if (scheduler_->WaitFor(kLookMs)) return scheduler_->WaitUntilDone();
    }
    return window;
  }

 private:
  Status StartWorker() {
    models::ConfigureLibTorch();
    const spec::Job& job = context_.job;
    worker::WorkerConfig config;
    config.job = &job;
    config.source = gate_.get();
    config.scheduler = scheduler_.get();
    config.context = &transport_;
    config.model_factory = [&job](models::Device& device) {
      return models::CreateModel(job, device);
    };
    config.bodies_factory = [this, &job]() -> Result<std::unique_ptr<worker::StageBodies>> {
      EMPORIUM_ASSIGN_OR_RETURN(std::unique_ptr<models::Model> model, models::CreateModel(job));
      return std::unique_ptr<worker::StageBodies>(std::make_unique<worker::Bodies>(
          job, *gate_, std::move(model), context_.work_dir + "/exports"));
    };
    config.lanes = job.cluster().lanes();
    config.host_name = cluster::HostName();
    config.job_fingerprint = context_.fingerprint;
    EMPORIUM_ASSIGN_OR_RETURN(worker_, worker::Worker::Start(config));
    return Status::Ok();
  }

  // As of the nodes' last heartbeat.
  Reported Look() {
    Reported reported;
    const auto status = nlohmann::json::parse(scheduler_->StatusJson());
    for (const auto& node : status.at("nodes")) {
      const bool server = node.at("kind") == "server";
      if (!server) reported.samples += node.at("counters").at("samples").get<int64_t>();
      for (const auto& [name, seconds] : node.at("seconds_by_part").items()) {
        if (server && name != "apply" && name != "serve") continue;
        reported.parts[(server ? "shard " : "") + name] += seconds.get<double>();
      }
    }
    return reported;
  }

  const cluster::JobContext& context_;
  runtime::SystemClock clock_;
  runtime::Context transport_;
  std::unique_ptr<worker::BatchSource> source_;
  std::unique_ptr<GatedSource> gate_;
  std::unique_ptr<scheduler::SchedulerService> scheduler_;
  std::unique_ptr<ps::Server> server_;
  std::unique_ptr<worker::Worker> worker_;
};

}  // namespace

Result<std::unique_ptr<TrainRun>> TrainRun::Start(const cluster::JobContext& context) {
  auto run = std::make_unique<LocalRun>(context);
  EMPORIUM_RETURN_IF_ERROR(run->Begin());
  return std::unique_ptr<TrainRun>(std::move(run));
}

}  // namespace emporium::bench
