#include "tests/sim/simulation.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>

#include "tests/scheduler/jobs.h"
#include "tests/sim/disk.h"
#include "worker/stage_plan.h"

namespace emporium::sim {
namespace {

// Faults come in the first part of the job's life; then it must end within the second.
constexpr Micros kFaultsUntil = 40 * kSecond;
constexpr Micros kEndBy = 160 * kSecond;
constexpr double kLate = 0.02;  // of the questions, always
constexpr uint64_t kMaxShardBytes = 64u << 20;
constexpr int64_t kMaxAtOnce = 100'000;  // events of one moment

// Of the norm of a step's gradients: below what the job's steps have.
constexpr double kClip = 5;
// Which jobs clip gradients by their norm.
bool Clips(uint64_t seed) { return seed % 3 == 0; }

spec::Job SimJob(uint64_t seed) {
  spec::Job job = scheduler::testing::TwoStageJob();
  job.mutable_cluster()->set_partitions(ps::testing::kPartitions);
  job.mutable_checkpoint()->set_max_deltas(static_cast<uint32_t>(seed % 4));
  for (spec::Stage& stage : *job.mutable_stage()) {
    if (!stage.has_train()) continue;
    stage.mutable_train()->set_epochs(stage.train().epochs() + 2);
    if (Clips(seed)) stage.mutable_train()->set_clip_global_norm(kClip);
  }
  return job;
}

control::DatasetFacts Facts() {
  return scheduler::testing::Sim(scheduler::testing::TwoStageOptions(1)).facts();
}

worker::StagePlan PlanOf(const spec::Job& job, size_t stage) {
  return worker::PlanStage(static_cast<uint64_t>(Facts().train_samples_of_stage[stage]),
                           job.stage(static_cast<int>(stage)).train());
}

class Simulation {
 public:
  explicit Simulation(const Options& options)
      : options_(options), world_(options.seed, options.print), job_(SimJob(options.seed)) {
    root_ = ps::testing::ScratchDir("sim-" + std::to_string(options.seed) +
                                    (options.faults ? "" : "-calm"));
    disk_.emplace(&world_, root_);
    shape_servers_ = options_.one_of_each ? 1 : 1 + world_.Random(2);
    const size_t workers = options_.one_of_each ? 1 : 1 + world_.Random(3);
    scheduler_ = std::make_unique<SchedulerHost>(
        &world_, SchedulerHost::Config{job_, root_, Facts(), static_cast<uint32_t>(shape_servers_),
                                       static_cast<uint32_t>(workers)});
    disk_->maker_of_dirs = scheduler_.get();
    disk_->dies = [this] { RestartDeadSoon(); };
    const auto shards = static_cast<uint32_t>(1 + world_.Random(2));
    for (size_t i = 0; i < shape_servers_; ++i) {
      servers_.push_back(std::make_unique<ServerHost>(&world_, scheduler_.get(),
                                                      "server-" + std::to_string(i), shards));
    }
    for (size_t i = 0; i < workers; ++i) AddWorker();
  }
  ~Simulation() { std::filesystem::remove_all(root_); }
  Simulation(const Simulation&) = delete;
  Simulation& operator=(const Simulation&) = delete;

  Outcome Run() {
    Boot();
    faults_ = options_.faults;
    if (faults_) {
      world_.network.late = kLate;
      NextFault();
    }
    Micros last = -1;
    for (int64_t at_once = 0; outcome_.broken.empty() && !done_;) {
      at_once = std::exchange(last, world_.now()) == world_.now() ? at_once + 1 : 0;
      if (at_once > kMaxAtOnce) Break("the same moment goes on for ever");
      if (world_.now() > kEndBy) {
        Break("the job has no end, long after the last fault");
        break;
      }
      if (!world_.Step()) {
        Break("nothing happens any more");
        break;
      }
      Look();
    }
    if (outcome_.broken.empty()) CheckEnd();
    outcome_.trace_hash = world_.trace_hash();
    outcome_.seconds = static_cast<double>(world_.now()) / kSecond;
    for (const auto& worker : workers_) {
      outcome_.stale += worker->refused_as_stale();
      outcome_.backups += worker->backups();
    }
    return outcome_;
  }

 private:
  void Break(const std::string& what) {
    if (!outcome_.broken.empty()) return;
    outcome_.broken = what;
    world_.Note("BROKEN: " + what);
  }

  void AddWorker() {
    WorkerHost::Config config;
    config.facts = Facts();
    config.stages = {PlanOf(job_, 0), PlanOf(job_, 1)};
    config.servers = &servers_;
    config.clip = job_.stage(0).train().clip_global_norm();
    config.dies_between = [this] { return DiesBetween(); };
    config.pulled = [this](const Truth::MicroBatch& id, uint64_t hash) { Pulled(id, hash); };
    workers_.push_back(std::make_unique<WorkerHost>(
        &world_, scheduler_.get(), "worker-" + std::to_string(workers_.size()), config));
  }

  // A worker has sent its gradients to some of the shards.
  bool DiesBetween() {
    const bool dies = faults_ && world_.Chance(0.02);
    if (dies) RestartDeadSoon();
    return dies;
  }

  // The rows of a micro-batch are those of its version.
  void Pulled(const Truth::MicroBatch& id, uint64_t hash) {
    if (options_.truth == nullptr) {
      outcome_.truth.pulled[id] = hash;
      return;
    }
    const auto truth = options_.truth->pulled.find(id);
    if (truth == options_.truth->pulled.end()) return Break("a micro-batch too many is trained");
    if (truth->second != hash) {
      Break("stage " + std::to_string(std::get<0>(id)) + " step " +
            std::to_string(std::get<1>(id)) + " reads other rows than without faults");
    }
  }

  // The same command: everything starts, and goes on from what lies on disk.
  void Boot() {
    ++outcome_.boots;
    gone_.clear();
    for (const auto& server : servers_) world_.Kill(server.get());
    for (const auto& worker : workers_) world_.Kill(worker.get());
    world_.Kill(scheduler_.get());
    if (!StartScheduler(false)) {
      world_.After(kSecond, [this] { Boot(); });
      return;
    }
    if (scheduler_->over()) return;
    for (const auto& server : servers_) server->Start();
    for (const auto& worker : workers_) worker->Start();
  }

  // After each event.
  void Look() {
    if (scheduler_->alive() && scheduler_->over()) {
      if (scheduler_->result().ok()) {
        done_ = true;
      } else if (outcome_.boots > 30) {
        Break("the same command fails again and again: " + scheduler_->result().ToString());
      } else {
        outcome_.returns += scheduler_->machine().counts().returns;
        Boot();
      }
      return;
    }
    if (!scheduler_->violation().empty()) Break("the scheduler " + scheduler_->violation());
    LookAtPhase();
    for (const auto& server : servers_) {
      if (!server->violation().empty()) Break(server->name() + " " + server->violation());
      for (const auto& shard : server->shards()) {
        if (shard != nullptr && shard->memory_bytes() > kMaxShardBytes) Break("memory grows");
      }
    }
  }

  void CheckEnd() {
    outcome_.returns += scheduler_->machine().counts().returns;
    std::vector<std::string> passed_over;
    const auto newest = runtime::NewestCheckpoint(root_, "sim", &passed_over);
    if (!newest.ok() || !newest->has_value()) return Break("there is no checkpoint at the end");
    Truth& found = outcome_.truth;
    found.digest = (*newest)->manifest.content_digest();
    const std::vector<scheduler::StageView> stages = scheduler_->machine().stages();
    for (size_t i = 0; i < stages.size(); ++i) {
      const std::string stage = std::to_string(i);
      for (const auto& [name, value] : stages[i].metrics) found.metrics[stage + " " + name] = value;
      for (const auto& [step, metrics] : stages[i].validations) {
        for (const auto& [name, value] : metrics) {
          found.metrics[stage + " at " + std::to_string(step) + " " + name] = value;
        }
      }
    }
    std::string report;
    const Status whole = ps::VerifyCheckpoint((*newest)->dir, &report);
    if (!whole.ok()) return Break("the last checkpoint is damaged: " + whole.ToString());
    if (!passed_over.empty()) Break("a checkpoint was believed: " + passed_over.front());
    if (options_.truth == nullptr) return;
    if (found.digest != options_.truth->digest) Break("the model has other bits");
    for (const auto& [name, value] : found.metrics) {
      const auto truth = options_.truth->metrics.find(name);
      if (truth == options_.truth->metrics.end() || truth->second != value) {
        Break("the metric of stage " + name + " is another than without faults");
      }
    }
  }

  // -- Faults ---------------------------------------------------------------------------------
  void NextFault() {
    world_.After(world_.Between(20 * kMs, 1'200 * kMs), [this] {
      if (world_.now() > kFaultsUntil || done_) return EndFaults();
      ++outcome_.faults;
      OneFault();
      NextFault();
    });
  }

  void EndFaults() {
    faults_ = false;
    world_.network = {};
    world_.network.late = kLate;
    MendDisks();
    disk_->NobodyDies();
    // A job that has not begun waits for all its workers; whoever started it sees to that.
    world_.After(15 * kSecond, [this] {
      if (!Listens() || phase_ != scheduler::Phase::kGathering) return;
      gone_.clear();
      RestartDeadSoon();
    });
    for (const auto& worker : workers_) {
      if (MayStart(*worker)) worker->Start();
    }
  }

  void MendDisks() {
    scheduler_->store_fails = scheduler_->manifests_fail = disk_->syncs_fail = false;
    for (const auto& server : servers_) server->disk_fails = false;
  }

  template <class List>
  auto* AnyOf(const List& list) {
    return list[world_.Random(list.size())].get();
  }

  Process* AnyProcess() {
    const uint64_t which = world_.Random(servers_.size() + workers_.size() + 1);
    if (which == 0) return scheduler_.get();
    if (which <= servers_.size()) return servers_[which - 1].get();
    return workers_[which - 1 - servers_.size()].get();
  }

  // A scheduler may die within the few messages that take it from one phase to the next.
  void LookAtPhase() {
    if (!scheduler_->alive()) return;
    const scheduler::Phase phase = scheduler_->machine().phase();
    const scheduler::Phase before = std::exchange(phase_, phase);
    if (before == phase || !faults_) return;
    if (before == scheduler::Phase::kCheckpointing && world_.Chance(0.05)) {
      ServerHost* const server = AnyOf(servers_);
      return KillAndRestart(server);
    }
    const bool ends = phase == scheduler::Phase::kStopping;
    if (!world_.Chance(ends ? 0.3 : 0.02)) return;
    world_.After(scheduler_.get(), world_.Between(0, 10 * kMs), [this] { KillScheduler(); });
  }

  void OneFault() {
    switch (world_.Random(13)) {
      case 0:
      case 1:
        return KillAndRestart(AnyOf(workers_));
      case 2:
        return KillAndRestart(AnyOf(servers_));
      case 3:
        return KillScheduler();
      case 4:
        return StopForAWhile(AnyProcess());
      case 5:
        return Cut();
      case 6:
        return BadWeather();
      case 7:
        return BadDisk();
      case 8:
        return Resize();
      case 9:
        if (Listens()) scheduler_->RequestCheckpoint();
        return;
      case 10:
        return DieWhileWriting();
      case 11:
        if (world_.Chance(0.2)) DamageNewest();
        return;
      case 12:
        if (Listens() && world_.Chance(0.1)) scheduler_->RequestStop();
        return;
    }
  }

  bool Listens() const { return scheduler_->alive() && !scheduler_->stopped(); }

  void KillAndRestart(Node* node) {
    if (node->left()) return;
    world_.Kill(node);
    if (world_.Chance(0.5)) LosePower(node);
    world_.After(world_.Between(10 * kMs, 2 * kSecond), [this, node] {
      if (!done_ && MayStart(*node)) node->Start();
    });
  }

  void KillScheduler() {
    if (!scheduler_->alive()) return;
    outcome_.returns += scheduler_->machine().counts().returns;
    world_.Kill(scheduler_.get());
    if (world_.Chance(0.5)) LosePower(scheduler_.get());
    RestartSchedulerLater();
  }

  // Checkpoints that are whole stay so.
  void LosePower(Process* process) {
    disk_->LosePower(process);
    const auto all = runtime::ListCheckpoints(root_);
    if (!all.ok()) return Break("checkpoints cannot be listed: " + all.status().ToString());
    for (const runtime::CheckpointInfo& info : *all) {
      if (damaged_.contains(info.number) || info.status.code() == StatusCode::kNotFound) continue;
      Status status = info.status;
      if (status.ok()) status = runtime::VerifyFiles(info.dir, info.manifest);
      if (!status.ok()) Break("a loss of power damages a checkpoint: " + status.ToString());
    }
  }

  // At one of the next times that it syncs a file or a directory.
  void DieWhileWriting() {
    const size_t which = world_.Random(servers_.size() + 1);
    Process* process = scheduler_.get();
    if (which > 0) process = servers_[which - 1].get();
    disk_->DieAtSync(process, static_cast<int>(1 + world_.Random(4)), world_.Chance(0.5),
                     world_.Chance(0.7));
  }

  // Who died where nobody saw to it is started again.
  void RestartDeadSoon() {
    world_.After(world_.Between(10 * kMs, 2 * kSecond), [this] {
      if (done_) return;
      for (const auto& server : servers_) {
        if (MayStart(*server)) server->Start();
      }
      for (const auto& worker : workers_) {
        if (MayStart(*worker)) worker->Start();
      }
      if (!scheduler_->alive()) RestartSchedulerLater();
    });
  }

  // Everything stops, and a file of the newest checkpoint does not come back as it was, nor do the
  // others that are built on it. There is one that is not.
  void DamageNewest() {
    if (!scheduler_->alive() || scheduler_->machine().stage() > 1) return;
    const auto all = runtime::ListCheckpoints(root_);
    if (!all.ok() || all->empty() || scheduler_->counted() < counted_then_ + 2) return;
    const runtime::CheckpointInfo& newest = all->back();
    if (!newest.status.ok()) return;
    const int files = newest.manifest.file_size();
    const int which = static_cast<int>(world_.Random(static_cast<uint64_t>(files) + 1));
    const std::string name =
        which < files ? newest.manifest.file(which).path() : runtime::kManifestName;
    std::set<uint64_t> hit = {newest.number};
    for (const runtime::CheckpointInfo& info : *all) {
      for (const spec::ManifestFile& file : info.manifest.file()) {
        const bool same = which < files && file.xxh3() == newest.manifest.file(which).xxh3();
        if (same) hit.insert(info.number);
      }
    }
    uint64_t other = 0;
    for (const runtime::CheckpointInfo& info : *all) {
      if (!info.status.ok() || hit.contains(info.number) || damaged_.contains(info.number))
        continue;
      other = info.number;
    }
    if (other == 0) return;
    counted_then_ = scheduler_->counted();
    scheduler_->ForgetAfter(other);
    damaged_.insert(hit.begin(), hit.end());
    world_.Note("the disk damages " + name + " of checkpoint " + std::to_string(newest.number));
    disk_->Damage(newest.dir + "/" + name, world_.Chance(0.7));
    outcome_.returns += scheduler_->machine().counts().returns;
    Boot();
  }

  void RestartSchedulerLater() {
    world_.After(world_.Between(10 * kMs, 2 * kSecond), [this] {
      if (done_ || scheduler_->alive()) return;
      if (!StartScheduler(true)) return RestartSchedulerLater();
      // As the launcher: nodes that it sent away, and may not know of, are there again.
      for (const auto& server : servers_) {
        if (server->left()) server->Start();
      }
      for (const auto& worker : workers_) {
        if (worker->left()) worker->Start();
      }
    });
  }

  // False when its disk does not let it.
  bool StartScheduler(bool rejoin) {
    const Status started = scheduler_->Start(rejoin);
    if (started.ok()) return true;
    if (started.code() != StatusCode::kUnavailable) {
      Break("the scheduler does not start: " + started.ToString());
    }
    world_.Kill(scheduler_.get());
    return false;
  }

  void StopForAWhile(Process* process) {
    world_.Stop(process);
    world_.After(world_.Between(100 * kMs, 6 * kSecond),
                 [this, process] { world_.Continue(process); });
  }

  // One way or both.
  void Cut() {
    const Process* a = AnyProcess();
    const Process* b = AnyProcess();
    world_.network.cut.insert({a, b});
    const bool both = world_.Chance(0.5);
    if (both) world_.network.cut.insert({b, a});
    world_.Note("cut: " + a->name() + (both ? " and " : " to ") + b->name());
    world_.After(world_.Between(50 * kMs, 5 * kSecond), [this, a, b] {
      world_.network.cut.erase({a, b});
      world_.network.cut.erase({b, a});
    });
  }

  void BadWeather() {
    world_.network.loss = world_.Chance(0.5) ? 0.02 : 0.2;
    world_.network.repeat = 0.1;
    world_.network.slowest = world_.Between(5 * kMs, 300 * kMs);
    world_.Note("the network loses, repeats and delays");
    world_.After(world_.Between(200 * kMs, 3 * kSecond), [this] {
      world_.network.loss = world_.network.repeat = 0;
      world_.network.slowest = 2 * kMs;
    });
  }

  void BadDisk() {
    const uint64_t which = world_.Random(4);
    ServerHost* server = AnyOf(servers_);
    if (which != 1) scheduler_->store_fails = true;
    if (which == 0 || which == 1) scheduler_->manifests_fail = true;
    if (which == 3) server->disk_fails = true;
    disk_->syncs_fail = world_.Chance(0.5);
    world_.Note("disks fail: store " + std::to_string(scheduler_->store_fails) + ", manifests " +
                std::to_string(scheduler_->manifests_fail) + ", files " +
                std::to_string(server->disk_fails));
    world_.After(world_.Between(200 * kMs, 3 * kSecond), [this] { MendDisks(); });
  }

  void Resize() {
    if (workers_.size() < 6 && world_.Chance(0.6)) {
      AddWorker();
      workers_.back()->Start();
      return;
    }
    // One that does not come back, unless it is the last.
    WorkerHost* const worker = AnyOf(workers_);
    const bool last = gone_.size() + 1 >= workers_.size();
    if (!last && gone_.insert(worker).second) world_.Kill(worker);
  }

  bool MayStart(const Node& node) const {
    return !node.alive() && !node.left() && !gone_.contains(&node);
  }

  const Options options_;
  World world_;
  const spec::Job job_;
  std::string root_;
  std::optional<Disk> disk_;
  size_t shape_servers_ = 1;
  std::unique_ptr<SchedulerHost> scheduler_;
  std::vector<std::unique_ptr<ServerHost>> servers_;
  std::vector<std::unique_ptr<WorkerHost>> workers_;
  Outcome outcome_;
  bool done_ = false;
  bool faults_ = false;  // they go on
  scheduler::Phase phase_ = scheduler::Phase::kGathering;
  std::set<const Process*> gone_;  // workers that do not come back
  std::set<uint64_t> damaged_;     // checkpoints, by the disk itself
  size_t counted_then_ = 0;        // checkpoints, when one was damaged last
};

}  // namespace

Outcome Simulate(const Options& options) { return Simulation(options).Run(); }

Truths::Truths() {
  for (const uint64_t seed : {1, 3}) {
    Outcome calm = Simulate({.seed = seed, .faults = false, .one_of_each = true});
    if (!calm.broken.empty()) broken_ = "without any fault: " + calm.broken;
    (Clips(seed) ? clipped_ : plain_) = std::move(calm.truth);
  }
}

const Truth& Truths::Of(uint64_t seed) const { return Clips(seed) ? clipped_ : plain_; }

}  // namespace emporium::sim
