// A worker in the simulator: the real plan of a span (worker/span_plan.h) and real frames, with a
// model that is a formula: gradients are a function of step, micro-batch and the weights that were
// pulled, so whoever reads a wrong version of a row ends with other bits.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/route.h"
#include "tests/ps/shard_fixture.h"
#include "tests/sim/node.h"
#include "tests/sim/server_host.h"
#include "tests/sim/truth.h"
#include "worker/backups.h"
#include "worker/span_plan.h"

namespace emporium::sim {

class WorkerHost final : public Node {
 public:
  struct Config {
    control::DatasetFacts facts;
    std::vector<worker::StagePlan> stages;  // of those that train
    const std::vector<std::unique_ptr<ServerHost>>* servers = nullptr;
    double clip = 0;  // the norm of a step's gradients; 0: not
    // Whether the worker dies now that some shards were sent what changes them and others not.
    std::function<bool()> dies_between;
    // Told of what each micro-batch has read.
    std::function<void(Truth::MicroBatch, uint64_t)> pulled;
  };
  WorkerHost(World* world, SchedulerHost* scheduler, std::string name, Config config)
      : Node(world, scheduler, std::move(name)), config_(std::move(config)) {}

  uint64_t refused_as_stale() const { return refused_as_stale_; }
  uint64_t backups() const { return backups_computed_; }

 protected:
  void BeginLife() override;
  control::Registration MakeRegistration() override;
  void Take(const control::Command& command) override;
  void AddToReport(control::Report* report) override;
  void Forgotten() override { GiveUp(); }
  void Heard(bool, Micros) override {}

 private:
  // One frame to each shard and what they answered.
  struct Call {
    std::vector<Bytes> frames;   // by shard
    std::vector<Bytes> in_full;  // with all keys, for a shard that does not know them
    std::vector<std::optional<ps::testing::Answer>> answers;
    size_t missing = 0;
    int tries = 0;
    bool changes = false;  // what the shards hold
    std::function<void(const Status&, Call*)> done;
  };
  struct Work {
    worker::MicroBatchId id;
    bool pulling = false, answered = false, begun = false;
    bool backup = false;           // of another worker
    ps::testing::Payload payload;  // keys and counts; gradients when the rows are there
  };

  void GiveUp();
  void Failed(const Status& why);
  void LookAgain(const Status& why);
  void Finished();
  bool Valid(int64_t job) const { return job == job_; }

  // -- Calls to shards ------------------------------------------------------------------------
  void Place(Call call);
  void Transmit(uint64_t id, size_t shard, bool in_full);
  void Answered(uint64_t id, size_t shard, Bytes bytes);
  void EndCall(uint64_t id, const Status& status);
  FrameHeader Header(FrameType type, uint64_t step) const;
  ps::testing::Payload PartOf(size_t shard, const ps::testing::Payload& whole) const;

  // -- Training -------------------------------------------------------------------------------
  void BeginSpan();
  void RunSpan(emporium::Step version);
  void Pump();
  void PullOf(size_t number);
  void Compute(size_t number, const Call& call);
  void PushOf(size_t number);
  Call StepCall(FrameType type, emporium::Step step, float gradient_scale) const;
  void AskForSquares(emporium::Step step);
  void SquaresAnswered(emporium::Step step, const Call& call);
  // Backups: worker/backups.h.
  void NoteWait();
  void LookWhenDue();
  void LookForBackup();
  void BackUp(emporium::Step step, uint32_t lowest);

  // -- Evaluation -----------------------------------------------------------------------------
  void NextChunk(int64_t chunk);
  void Combine();

  const Config config_;
  control::Command command_;  // in hand
  int64_t job_ = 0;           // grows when what was being done is given up
  int64_t done_sequence_ = 0;
  Status failure_;
  std::optional<runtime::Route> route_;
  std::optional<worker::SpanPlan> plan_;
  std::map<size_t, Work> works_;
  size_t next_work_ = 0;
  std::optional<uint64_t> highest_begun_;
  int stage_begun_ = -1;
  int looks_ = 0;
  emporium::Step last_look_;
  worker::Backups backups_{5, 3};
  uint64_t backups_computed_ = 0;
  std::vector<control::MicroBatchLoss> losses_;
  std::map<uint64_t, Call> calls_;
  uint64_t next_call_ = 1;
  std::vector<std::string> fetched_;
  uint64_t refused_as_stale_ = 0;
};

}  // namespace emporium::sim
