// The scheduler in the simulator: the real job machine and the real files of checkpoints, with the
// service's rules (scheduler/service.cc) around it: what an event changes is stored before anybody
// hears of it, and manifests are written aside.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "runtime/manifest.h"
#include "scheduler/find_checkpoint.h"
#include "scheduler/job_machine.h"
#include "tests/scheduler/memory_store.h"
#include "tests/sim/world.h"

namespace emporium::sim {

class SchedulerHost final : public Process {
 public:
  struct Config {
    spec::Job job;
    std::string root;  // of the checkpoints
    control::DatasetFacts facts;
    uint32_t servers = 1, workers = 1;
  };
  using Commanded = std::function<void(Result<control::Command>)>;

  SchedulerHost(World* world, Config config)
      : Process("scheduler"), world_(*world), config_(std::move(config)) {}

  // A start of the process. `rejoin`: nodes of the life before may be there.
  Status Start(bool rejoin);
  bool over() const { return result_.has_value(); }
  const Status& result() const { return *result_; }
  const scheduler::JobMachine& machine() const { return *machine_; }

  // What nodes and people ask; called while the process is alive.
  Result<control::Registered> Register(const control::Registration& registration);
  void Await(const control::Report& report, const Commanded& reply);
  Status PutChunk(int64_t node, int64_t incarnation, const control::Command& of, int64_t chunk,
                  const std::string& bytes);
  Result<std::vector<std::string>> GetChunks(int64_t node, int64_t incarnation,
                                             const control::Command& of, int64_t from);
  Status PutMetrics(int64_t node, int64_t incarnation, const control::Command& of, double metric);
  void RequestCheckpoint();
  void RequestStop();

  // What it did that it must not; empty: nothing.
  const std::string& violation() const { return violation_; }
  // How many checkpoints were counted as saved.
  size_t counted() const { return counted_.size(); }
  // The disk has damaged those after this one: they count no more.
  void ForgetAfter(uint64_t checkpoint) {
    counted_.erase(counted_.upper_bound(checkpoint), counted_.end());
  }

  // What cannot be written.
  bool store_fails = false;
  bool manifests_fail = false;

 private:
  struct Waiting {
    int64_t seen = 0;
    Commanded reply;
    int64_t number = 0;
  };
  void Do(const std::function<void(scheduler::Actions*)>& event);
  void Store(scheduler::StateChange change);
  void WriteManifest(const scheduler::WriteManifest& write);
  void Answer(int64_t node);
  void TickWhenDue();
  void Violate(const std::string& what) {
    if (violation_.empty()) violation_ = what;
  }
  void JudgeStart(bool rejoin, const scheduler::FoundCheckpoint& found);
  void JudgeEvent(const scheduler::Actions& actions);

  World& world_;
  const Config config_;
  scheduler::testing::MemoryStore store_;  // survives the process
  scheduler::StateChange unsaved_;
  std::unique_ptr<scheduler::JobMachine> machine_;
  std::map<int64_t, control::Command> mail_;
  std::map<int64_t, Waiting> waiting_;
  int64_t next_waiting_ = 0;
  std::optional<int64_t> tick_at_ms_;
  std::optional<Status> result_;

  // What the store holds for sure, from the life before on.
  std::set<int64_t> stored_nodes_;
  bool stored_end_ = false;    // and nodes were told of it
  bool store_behind_ = false;  // at the end of a life before, and no state was stored since
  std::set<uint64_t> counted_;
  std::string violation_;
};

}  // namespace emporium::sim
