// Nodes and the scheduler die, in every phase and at random, and the job comes to the same end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "scheduler/job_machine.h"
#include "tests/scheduler/jobs.h"
#include "tests/scheduler/sim.h"

namespace emporium::scheduler::testing {
namespace {

using control::CommandKind;
using ::testing::Contains;
using ::testing::HasSubstr;

// ---- Workers die -------------------------------------------------------------------------------

// A worker dies in every phase in which workers work; another one goes on, or a new one joins.
class WorkerDeath : public ::testing::TestWithParam<std::tuple<Phase, size_t>> {};

TEST_P(WorkerDeath, NothingIsLost) {
  const auto [phase, workers] = GetParam();
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Sim sim(TwoStageOptions(workers, seed));
    ASSERT_TRUE(sim.Boot().ok());
    ASSERT_TRUE(sim.RunUntil([&, p = phase] { return sim.machine->phase() == p; }));
    for (int i = 0; i < 30; ++i) sim.Step();
    const std::vector<size_t> living = sim.Living(false);
    const size_t victim = living[sim.Random() % living.size()];
    const int64_t before = sim.machine->generation();
    sim.Kill(victim);
    ASSERT_TRUE(sim.RunUntil([&] { return sim.machine->counts().lost_nodes == 1; }));
    if (workers == 1) {
      for (int i = 0; i < 50; ++i) sim.Step();
      ASSERT_FALSE(sim.over.has_value());
      sim.AddNode(false);
    }
    ASSERT_TRUE(sim.Run().ok());
    ExpectWholeJob(sim);
    EXPECT_GT(sim.machine->generation(), before);
  }
}
INSTANTIATE_TEST_SUITE_P(Phases, WorkerDeath,
                         ::testing::Combine(::testing::Values(Phase::kTraining, Phase::kEvaluating,
                                                              Phase::kCombining,
                                                              Phase::kCheckpointing),
                                            ::testing::Values(1, 3)));

// What a worker that was held up sends of an earlier validation is nothing to the one in work.
TEST(EvaluationTest, ALateChunkOfOtherWeightsIsRefused) {
  Sim sim(TwoStageOptions(2, 1));
  ASSERT_TRUE(sim.Boot().ok());
  const auto of_a_validation = [&] {
    return sim.RunUntil([&] { return sim.machine->phase() == Phase::kEvaluating; });
  };
  ASSERT_TRUE(of_a_validation());
  const SimNode& worker = sim.nodes[sim.Living(false).front()];
  const int64_t node = worker.registered.node, incarnation = worker.registered.incarnation;
  ASSERT_TRUE(sim.RunUntil([&] { return worker.command.kind == CommandKind::EVALUATE; }));
  const JobMachine::Evaluation first = EvaluationOf(worker);
  EXPECT_TRUE(first.validation);
  ASSERT_TRUE(sim.RunUntil([&] { return sim.machine->phase() == Phase::kTraining; }));
  ASSERT_TRUE(of_a_validation());
  const auto put = [&](const JobMachine::Evaluation& of) {
    return sim.machine->PutChunk(sim.now_ms, node, incarnation, of, 0, "an old result").code();
  };
  EXPECT_EQ(put(first), StatusCode::kStale);
  EXPECT_EQ(sim.machine->GetChunks(sim.now_ms, node, incarnation, first, 0).status().code(),
            StatusCode::kStale);
  EXPECT_EQ(sim.machine->PutMetrics(sim.now_ms, node, incarnation, first, {}).code(),
            StatusCode::kStale);
  ASSERT_TRUE(sim.Run().ok());
  ExpectWholeJob(sim);
}

// ---- Servers die -------------------------------------------------------------------------------

Sim::Options TwoServers(size_t workers, uint64_t seed = 1) {
  Sim::Options options = TwoStageOptions(workers, seed);
  options.servers = 2;
  return options;
}

bool Lost(const Sim& sim) { return sim.machine->counts().returns > 0; }

// Runs until the machine is in the phase; kPausing needs somebody who asks for a checkpoint.
bool RunTo(Sim* sim, Phase phase) {
  const auto at = [sim](Phase p) {
    return sim->RunUntil([&] { return sim->machine->phase() == p; });
  };
  if (phase == Phase::kPausing) {
    if (!at(Phase::kTraining)) return false;
    sim->Do([sim](Actions* out) { (void)sim->machine->RequestCheckpoint(sim->now_ms, out); });
  }
  return at(phase);
}

// Those in which somebody works.
const auto kWorkingPhases =
    ::testing::Values(Phase::kRestoring, Phase::kTraining, Phase::kPausing, Phase::kEvaluating,
                      Phase::kCombining, Phase::kCheckpointing);
std::string PhaseNumber(const ::testing::TestParamInfo<Phase>& info) {
  return "Phase" + std::to_string(static_cast<int>(info.param));
}

// What is shown as done follows the shards, although nobody will tell the losses of some steps.
TEST(JobMachine, WhatAWorkerTookAlongHoldsNoProgressBack) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Sim::Options options = TwoStageOptions(2, seed);
    options.job.mutable_stage(0)->mutable_train()->set_epochs(20);  // 100 steps
    options.job.clear_checkpoint();
    Sim sim(options);
    ASSERT_TRUE(sim.Boot().ok());
    ASSERT_TRUE(sim.RunUntil([&] { return sim.shards && sim.shards->lowest() == 10; }));
    sim.Kill(sim.Living(false).front());
    ASSERT_TRUE(sim.RunUntil([&] { return sim.shards->lowest() == 60; }));
    EXPECT_EQ(sim.machine->counts().lost_nodes, 1);
    EXPECT_GE(sim.machine->stages()[0].done, 50u);
    ASSERT_TRUE(sim.Run().ok());
  }
}

// In every phase: what was trained since the last checkpoint is trained again, and the end is that
// of a job that nothing has happened to.
class ServerDeath : public ::testing::TestWithParam<Phase> {};

TEST_P(ServerDeath, TakesTheJobBackAndTheEndIsTheSame) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Sim sim(TwoServers(2, seed));
    ASSERT_TRUE(sim.Boot().ok());
    ASSERT_TRUE(RunTo(&sim, GetParam()));
    for (uint64_t i = 0; i < 10 * (seed % 4); ++i) sim.Step();
    sim.Kill(seed % 2);
    ASSERT_TRUE(sim.RunUntil([&] { return Lost(sim); }));
    EXPECT_EQ(sim.machine->phase(), Phase::kGathering);
    sim.AddNode(true);
    ASSERT_TRUE(sim.Run().ok());
    ExpectWholeJob(sim);
    EXPECT_EQ(sim.machine->counts().returns, 1);
    EXPECT_EQ(sim.machine->stages()[0].curve.size(), 10u);
  }
}
INSTANTIATE_TEST_SUITE_P(Phases, ServerDeath, kWorkingPhases, PhaseNumber);

// ---- The scheduler dies -----------------------------------------------------------------------

// In every phase: the new one goes on with the nodes that are there, and nothing is done twice that
// was done.
class SchedulerDeath : public ::testing::TestWithParam<Phase> {};

TEST_P(SchedulerDeath, IsNoticedByNobody) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Sim sim(TwoServers(2, seed));
    ASSERT_TRUE(sim.Boot().ok());
    ASSERT_TRUE(RunTo(&sim, GetParam()));
    for (uint64_t i = 0; i < 13 * (seed % 8); ++i) sim.Step();
    if (sim.over.has_value()) continue;
    const uint64_t lowest = sim.shards->lowest();
    const int stage = sim.shards->stage;
    const bool serving = sim.machine->phase() != Phase::kRestoring;
    ASSERT_TRUE(sim.StartScheduler(true).ok());
    EXPECT_EQ(sim.machine->members().nodes().size(), 4u);
    if (serving) {
      EXPECT_EQ(sim.shards->stage, stage);
      EXPECT_GE(sim.shards->lowest(), lowest);
    }
    ASSERT_TRUE(sim.Run().ok());
    ExpectWholeJob(sim);
    EXPECT_EQ(sim.machine->counts().returns, 0);
    EXPECT_EQ(sim.machine->counts().lost_nodes, 0);
  }
}
INSTANTIATE_TEST_SUITE_P(Phases, SchedulerDeath, kWorkingPhases, PhaseNumber);

TEST(JobMachine, NodesThatDiedWithTheSchedulerAreMissed) {
  for (const bool server : {true, false}) {
    Sim sim(TwoServers(3));
    ASSERT_TRUE(sim.Boot().ok());
    ASSERT_TRUE(sim.RunUntil(
        [&] { return sim.checkpoints.size() == 1 && sim.machine->phase() == Phase::kTraining; }));
    sim.Kill(sim.Living(server).front());
    ASSERT_TRUE(sim.StartScheduler(true).ok());
    ASSERT_TRUE(sim.RunUntil([&] { return sim.machine->counts().lost_nodes == 1; }));
    EXPECT_EQ(sim.machine->counts().returns, server ? 1 : 0);
    if (server) sim.AddNode(true);
    ASSERT_TRUE(sim.Run().ok());
    ExpectWholeJob(sim);
  }
}

TEST(JobMachine, AStoreThatIsBehindTheCheckpointsIsNotGoneOnWith) {
  Sim sim(TwoServers(2));
  ASSERT_TRUE(sim.Boot().ok());
  ASSERT_TRUE(sim.RunUntil([&] { return sim.checkpoints.size() == 1; }));
  const MemoryStore old = sim.store;
  ASSERT_TRUE(sim.RunUntil([&] {
    return sim.machine->checkpoints().size() == 3 && sim.machine->phase() == Phase::kTraining;
  }));
  sim.store = old;
  ASSERT_TRUE(sim.StartScheduler(true).ok());
  EXPECT_TRUE(sim.machine->members().nodes().empty());
  sim.nodes.clear();
  for (const bool server : {true, true, false, false}) sim.AddNode(server);
  ASSERT_TRUE(sim.Run().ok());
  ExpectWholeJob(sim);
}

TEST(JobMachine, SaysWhereALostServerTakesTheJob) {
  Sim sim(TwoServers(2));
  ASSERT_TRUE(sim.Boot().ok());
  ASSERT_TRUE(sim.RunUntil(
      [&] { return sim.checkpoints.size() == 2 && sim.machine->phase() == Phase::kTraining; }));
  sim.Kill(1);
  ASSERT_TRUE(sim.RunUntil([&] { return Lost(sim); }));
  EXPECT_THAT(sim.notes, Contains(::testing::AllOf(HasSubstr("server 2 (host h, process 0) was"),
                                                   HasSubstr("the shards 2 to 3"),
                                                   HasSubstr("goes back to checkpoint 2"))));
  for (const size_t worker : sim.Living(false)) {
    EXPECT_EQ(sim.nodes[worker].mail->kind, CommandKind::HOLD);
  }
  sim.AddNode(true);
  ASSERT_TRUE(sim.RunUntil([&] { return sim.machine->phase() == Phase::kTraining; }));
  EXPECT_EQ(sim.StepsOf(0), 6u);
  EXPECT_EQ(sim.machine->stages()[0].done, 6u);
  ASSERT_TRUE(sim.Run().ok());
  ExpectWholeJob(sim);
}

TEST(JobMachine, AJobWithoutACheckpointBeginsAnewAfterTheLossOfAServer) {
  Sim sim(TwoServers(1));
  ASSERT_TRUE(sim.Boot().ok());
  ASSERT_TRUE(sim.RunUntil([&] { return sim.machine->phase() == Phase::kTraining; }));
  sim.Kill(0);
  sim.Kill(1);
  ASSERT_TRUE(sim.RunUntil([&] { return sim.machine->members().servers() == 0; }));
  sim.AddNode(true);
  sim.AddNode(true);
  ASSERT_TRUE(sim.Run().ok());
  ExpectWholeJob(sim);
}

TEST(JobMachine, ALostServerIsWaitedForOnlySoLong) {
  Sim sim(TwoServers(2));
  ASSERT_TRUE(sim.Boot().ok());
  ASSERT_TRUE(sim.RunUntil([&] { return sim.checkpoints.size() == 1; }));
  sim.Kill(0);
  const Status status = sim.Run();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("none took its place within 300 s"));
  EXPECT_THAT(status.message(), HasSubstr("goes on from checkpoint"));
  ASSERT_TRUE(sim.Boot().ok());
  ASSERT_TRUE(sim.Run().ok());
  ExpectWholeJob(sim);
}

TEST(JobMachine, ServersThatDieAgainAndAgainEndTheJob) {
  Sim sim(TwoServers(2));
  ASSERT_TRUE(sim.Boot().ok());
  for (int64_t death = 1; !sim.over.has_value(); ++death) {
    ASSERT_LE(death, 21);
    ASSERT_TRUE(sim.RunUntil([&] { return sim.machine->phase() == Phase::kRestoring; }));
    sim.Kill(sim.Living(true).front());
    sim.RunUntil([&] { return sim.machine->counts().returns == death; });
    if (!sim.over.has_value()) sim.AddNode(true);
  }
  EXPECT_EQ(sim.over->code(), StatusCode::kUnavailable);
  EXPECT_THAT(sim.over->message(),
              HasSubstr("servers were lost 21 times without a new checkpoint"));
}

TEST(JobMachine, AProcessThatIsStartedAgainTakesItsPlaceAtOnce) {
  Sim sim(TwoServers(2));
  ASSERT_TRUE(sim.Boot().ok());
  ASSERT_TRUE(sim.RunUntil([&] { return sim.machine->phase() == Phase::kTraining; }));
  control::Registration again = sim.MakeRegistration(true);
  again.name = "server-7";
  again.started_ms = 100;
  const auto answer = [&] {
    Status status;
    sim.Do([&](Actions* out) { status = sim.machine->Register(sim.now_ms, again, out).status(); });
    return status;
  };
  EXPECT_EQ(answer().code(), StatusCode::kBusy);  // both are there: it may ask again
  sim.Kill(0);
  ASSERT_TRUE(sim.RunUntil([&] { return Lost(sim); }));
  EXPECT_TRUE(answer().ok());
  EXPECT_EQ(sim.machine->phase(), Phase::kRestoring);
  again.started_ms = 101;
  EXPECT_TRUE(answer().ok());
  EXPECT_EQ(sim.machine->counts().returns, 2);
  again.started_ms = 99;  // one that was taken for dead
  EXPECT_EQ(answer().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(sim.machine->members().servers(), 2u);
}

TEST(JobMachine, WorkThatFailsIsGivenToOthers) {
  for (const Phase phase : {Phase::kTraining, Phase::kEvaluating, Phase::kCombining}) {
    Sim sim(TwoStageOptions(3));
    ASSERT_TRUE(sim.Boot().ok());
    ASSERT_TRUE(sim.RunUntil([&] {
      return sim.machine->phase() == phase &&
             sim.nodes[1].command.sequence == sim.nodes[1].mail->sequence;
    }));
    sim.nodes[1].error = "disk broken";
    sim.nodes[1].error_code = StatusCode::kDataLoss;
    ASSERT_TRUE(sim.Run().ok());
    ExpectWholeJob(sim);
    EXPECT_THAT(sim.notes, Contains(HasSubstr("disk broken; it is done again")));
  }
}

TEST(JobMachine, WorkThatFailsEverywhereEndsTheJobWithItsMessage) {
  Sim sim(TwoStageOptions(2));
  ASSERT_TRUE(sim.Boot().ok());
  int64_t before = 0;  // generation of the work that failed
  for (const size_t worker : {2u, 1u}) {
    ASSERT_TRUE(sim.RunUntil([&] {
      return sim.machine->phase() == Phase::kTraining &&
             sim.nodes[worker].command.sequence == sim.nodes[worker].mail->sequence &&
             sim.machine->generation() > before;
    }));
    before = sim.machine->generation();
    sim.nodes[worker].error = "row 7 of x.csv: not a number";
    sim.nodes[worker].error_code = StatusCode::kDataLoss;
    sim.Report(&sim.nodes[worker]);
  }
  const Status status = sim.Run();
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), HasSubstr("worker 2 (host h, process 0): row 7 of x.csv"));
  EXPECT_THAT(status.message(), HasSubstr("no checkpoint yet"));
}

// ---- Anything at any time ----------------------------------------------------------------------

TEST(JobMachine, RandomFaultsNeverHurt) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Sim::Options options = TwoStageOptions(1 + seed % 4, seed);
    options.servers = 1 + seed % 2;
    Sim sim(options);
    ASSERT_TRUE(sim.Boot().ok());
    std::mt19937_64 random(seed);
    int faults = 0;
    for (int i = 0; i < 2'000'000 && (!sim.over.has_value() || !sim.over->ok()); ++i) {
      if (sim.over.has_value()) {
        ASSERT_TRUE(sim.Boot().ok());
        continue;
      }
      sim.Step();
      if (!sim.over.has_value() && sim.machine->phase() != Phase::kStopping &&
          sim.machine->members().servers() < options.servers && random() % 50 == 0) {
        sim.AddNode(true);
      }
      if (!sim.over.has_value() && sim.machine->phase() == Phase::kGathering &&
          sim.Living(false).size() < options.workers && random() % 50 == 0) {
        sim.AddNode(false);
      }
      if (sim.over.has_value() || faults >= 40 || random() % 150 != 0) continue;
      ++faults;
      const std::vector<size_t> workers = sim.Living(false), servers = sim.Living(true);
      switch (random() % 9) {
        case 8:
          ASSERT_TRUE(sim.StartScheduler(true).ok());
          break;
        case 0:
        case 1:
          if (!workers.empty()) sim.Kill(workers[random() % workers.size()]);
          break;
        case 2:
        case 3:
          if (workers.size() < 6 && sim.machine->phase() != Phase::kStopping) sim.AddNode(false);
          break;
        case 4:
          if (random() % 4 == 0 && !servers.empty()) sim.Kill(servers[random() % servers.size()]);
          break;
        case 5:
          sim.Do([&](Actions* out) { (void)sim.machine->RequestCheckpoint(sim.now_ms, out); });
          break;
        case 6:
          if (random() % 2 == 0) sim.RequestStop();
          break;
        case 7:
          sim.next_manifest_error = ResourceExhausted("disk full");
          break;
      }
    }
    ExpectWholeJob(sim, false);  // it may be the one that failed
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace emporium::scheduler::testing
