// Whole jobs through the job machine, with scripted faults and with random ones.
#include "scheduler/job_machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/scheduler/jobs.h"
#include "tests/scheduler/sim.h"

namespace emporium::scheduler::testing {
namespace {

using control::CommandKind;
using ::testing::Contains;
using ::testing::HasSubstr;

size_t Count(const Sim& sim, CommandKind::type kind) {
  return static_cast<size_t>(std::count_if(sim.log.begin(), sim.log.end(),
                                           [kind](const auto& c) { return c.kind == kind; }));
}

// What any run of the two-stage job must end in.
void ExpectWholeJob(const Sim& sim, bool last_checkpoint = true) {
  ASSERT_TRUE(sim.over.has_value());
  EXPECT_TRUE(sim.over->ok()) << sim.over->ToString();
  EXPECT_EQ(sim.StepsOf(0), 10u);
  EXPECT_EQ(sim.StepsOf(1), 8u);  // stopped early at 16, where the weights were not the best
  for (const auto& [step, micro_batches] : sim.shards->applied) {
    const auto plan =
        TrainPlan::Make(sim.options().job.stage(step.first), sim.options().samples[step.first], 0);
    EXPECT_EQ(micro_batches.size(), plan->MicroBatches(step.second));
  }
  const std::vector<StageView> stages = sim.machine->stages();
  for (const StageView& stage : stages) EXPECT_EQ(stage.state, StageView::State::kDone);
  const std::map<uint64_t, Metrics> validations = {
      {4, {{"m", 4}}}, {8, {{"m", 8}}}, {12, {{"m", 8}}}, {16, {{"m", 4}}}};
  EXPECT_EQ(stages[1].validations, validations);
  EXPECT_EQ(stages[2].metrics, (Metrics{{"m", 0.75}}));
  if (!last_checkpoint) return;
  ASSERT_FALSE(sim.checkpoints.empty());
  const spec::CheckpointManifest& last = sim.checkpoints.rbegin()->second.manifest;
  EXPECT_EQ(last.stage(), 1u);
  EXPECT_EQ(last.step(), 8u);
  EXPECT_TRUE(last.stage_done());
}

class WholeJob : public ::testing::TestWithParam<size_t> {};

TEST_P(WholeJob, RunsToTheEnd) {
  Sim sim(TwoStageOptions(GetParam()));
  ASSERT_TRUE(sim.Boot().ok());
  ASSERT_TRUE(sim.Run().ok());
  ExpectWholeJob(sim);
  // Every 3 steps, at the ends and at validations that improve, and only two are kept.
  EXPECT_EQ(sim.machine->checkpoints().size(), 4u + 8u);
  EXPECT_EQ(sim.checkpoints.size(), 2u);
  EXPECT_EQ(sim.machine->counts().lost_nodes, 0);
  for (const auto& command : sim.log) {
    EXPECT_TRUE(command.kind != CommandKind::TRAIN || command.stage_steps > 0);
  }
  // Losses of every step, in order.
  const std::vector<CurvePoint> curve = sim.machine->stages()[0].curve;
  ASSERT_EQ(curve.size(), 10u);
  // Step 1 has micro-batches 0..3 of equal size: 1/2 + (0 + 1 + 2 + 3) / 4.
  EXPECT_DOUBLE_EQ(curve[1].terms.at("loss"), 0.5 + 1.5);
  EXPECT_EQ(sim.store.Load()->finished.size(), 4u);
}
INSTANTIATE_TEST_SUITE_P(Workers, WholeJob, ::testing::Values(1, 3, 6));

TEST(JobMachine, SendsRanksInOrderOfNodes) {
  Sim sim(TwoStageOptions(3));
  ASSERT_TRUE(sim.Boot().ok());
  ASSERT_TRUE(sim.RunUntil([&] { return sim.machine->phase() == Phase::kTraining; }));
  for (size_t i = 1; i < sim.nodes.size(); ++i) {
    EXPECT_EQ(sim.nodes[i].mail->rank, static_cast<int>(i) - 1);
    EXPECT_EQ(sim.nodes[i].mail->workers, 3);
    EXPECT_EQ(sim.nodes[i].mail->from_step, 0);
    EXPECT_EQ(sim.nodes[i].mail->until_step, 3);
    EXPECT_EQ(sim.nodes[i].mail->route.shard_of_partition.size(), 8u);
  }
  EXPECT_EQ(sim.nodes[0].mail->kind, CommandKind::RESTORE);
}

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
    sim.Kill(victim);
    ASSERT_TRUE(sim.RunUntil([&] { return sim.machine->counts().lost_nodes == 1; }));
    if (workers == 1) {
      for (int i = 0; i < 50; ++i) sim.Step();
      ASSERT_FALSE(sim.over.has_value());
      sim.AddNode(false);
    }
    ASSERT_TRUE(sim.Run().ok());
    ExpectWholeJob(sim);
    EXPECT_GT(sim.machine->generation(), 1);
  }
}
INSTANTIATE_TEST_SUITE_P(Phases, WorkerDeath,
                         ::testing::Combine(::testing::Values(Phase::kTraining, Phase::kEvaluating,
                                                              Phase::kCombining,
                                                              Phase::kCheckpointing),
                                            ::testing::Values(1, 3)));

TEST(JobMachine, FailsWhenNoWorkerIsLeft) {
  Sim sim(TwoStageOptions(1));
  ASSERT_TRUE(sim.Boot().ok());
  ASSERT_TRUE(sim.RunUntil([&] { return sim.checkpoints.size() == 1; }));
  sim.Kill(1);
  const Status status = sim.Run();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("no worker is left, and none joined within 30 s"));
  EXPECT_THAT(status.message(), HasSubstr("goes on from checkpoint"));
}

TEST(JobMachine, AJoiningWorkerTakesPartAtOnce) {
  Sim sim(TwoStageOptions(1));
  ASSERT_TRUE(sim.Boot().ok());
  ASSERT_TRUE(sim.RunUntil([&] { return sim.machine->phase() == Phase::kTraining; }));
  const int64_t before = sim.machine->generation();
  const size_t joined = sim.AddNode(false);
  EXPECT_EQ(sim.machine->generation(), before + 1);
  EXPECT_EQ(sim.nodes[joined].mail->kind, CommandKind::TRAIN);
  EXPECT_EQ(sim.nodes[joined].mail->rank, 1);
  EXPECT_EQ(sim.nodes[1].mail->workers, 2);
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

// In every phase: what was trained since the last checkpoint is trained again, and the end is that
// of a job that nothing has happened to.
class ServerDeath : public ::testing::TestWithParam<Phase> {};

TEST_P(ServerDeath, TakesTheJobBackAndTheEndIsTheSame) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Sim sim(TwoServers(2, seed));
    ASSERT_TRUE(sim.Boot().ok());
    const auto at = [&](Phase phase) {
      return sim.RunUntil([&] { return sim.machine->phase() == phase; });
    };
    if (GetParam() == Phase::kPausing) {
      ASSERT_TRUE(at(Phase::kTraining));
      sim.Do([&](Actions* out) { (void)sim.machine->RequestCheckpoint(sim.now_ms, out); });
    }
    ASSERT_TRUE(at(GetParam()));
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
INSTANTIATE_TEST_SUITE_P(Phases, ServerDeath,
                         ::testing::Values(Phase::kRestoring, Phase::kTraining, Phase::kPausing,
                                           Phase::kEvaluating, Phase::kCombining,
                                           Phase::kCheckpointing),
                         [](const auto& info) {
                           return "Phase" + std::to_string(static_cast<int>(info.param));
                         });

// ---- The scheduler dies -----------------------------------------------------------------------

// In every phase: the new one goes on with the nodes that are there, and nothing is done twice that
// was done.
class SchedulerDeath : public ::testing::TestWithParam<Phase> {};

TEST_P(SchedulerDeath, IsNoticedByNobody) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Sim sim(TwoServers(2, seed));
    ASSERT_TRUE(sim.Boot().ok());
    const auto at = [&](Phase phase) {
      return sim.RunUntil([&] { return sim.machine->phase() == phase; });
    };
    if (GetParam() == Phase::kPausing) {
      ASSERT_TRUE(at(Phase::kTraining));
      sim.Do([&](Actions* out) { (void)sim.machine->RequestCheckpoint(sim.now_ms, out); });
    }
    ASSERT_TRUE(at(GetParam()));
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
INSTANTIATE_TEST_SUITE_P(Phases, SchedulerDeath,
                         ::testing::Values(Phase::kRestoring, Phase::kTraining, Phase::kPausing,
                                           Phase::kEvaluating, Phase::kCombining,
                                           Phase::kCheckpointing),
                         [](const auto& info) {
                           return "Phase" + std::to_string(static_cast<int>(info.param));
                         });

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
  for (const size_t worker : {2u, 1u}) {
    ASSERT_TRUE(sim.RunUntil([&] {
      return sim.machine->phase() == Phase::kTraining &&
             sim.nodes[worker].command.sequence == sim.nodes[worker].mail->sequence &&
             sim.machine->generation() == (worker == 2 ? 2 : 3);
    }));
    sim.nodes[worker].error = "row 7 of x.csv: not a number";
    sim.nodes[worker].error_code = StatusCode::kDataLoss;
    sim.Report(&sim.nodes[worker]);
  }
  const Status status = sim.Run();
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), HasSubstr("worker 2 (host h, process 0): row 7 of x.csv"));
  EXPECT_THAT(status.message(), HasSubstr("no checkpoint yet"));
}

// ---- Stopping ----------------------------------------------------------------------------------

class Stop : public ::testing::TestWithParam<Phase> {};

TEST_P(Stop, LeavesACheckpointAndGoesOn) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Sim::Options options = TwoStageOptions(2, seed);
    options.job.mutable_checkpoint()->set_every_steps(0);
    Sim sim(options);
    ASSERT_TRUE(sim.Boot().ok());
    int visits = static_cast<int>(seed % 2);
    Phase last = Phase::kGathering;
    ASSERT_TRUE(sim.RunUntil([&] {
      if (sim.machine->phase() == GetParam() && last != GetParam() && visits-- == 0) return true;
      last = sim.machine->phase();
      return false;
    }));
    for (uint64_t i = 0; i < seed * 3 && sim.machine->phase() == GetParam(); ++i) sim.Step();
    const auto trained = sim.shards->applied.size();
    sim.RequestStop();
    const Status status = sim.Run();
    ASSERT_EQ(status.code(), StatusCode::kCancelled) << status.ToString();
    EXPECT_THAT(status.message(), HasSubstr("stopped (test)"));
    // Nothing of what was trained is lost.
    if (trained > 0) {
      ASSERT_FALSE(sim.checkpoints.empty());
      EXPECT_EQ(sim.saved_shards.rbegin()->second.applied.size(), sim.shards->applied.size());
    }
    ASSERT_TRUE(sim.Boot().ok());
    ASSERT_TRUE(sim.Run().ok());
    ExpectWholeJob(sim);
  }
}
INSTANTIATE_TEST_SUITE_P(Phases, Stop,
                         ::testing::Values(Phase::kTraining, Phase::kEvaluating, Phase::kCombining,
                                           Phase::kCheckpointing));

TEST(JobMachine, ASecondStopEndsAtOnce) {
  Sim sim(TwoStageOptions(2));
  ASSERT_TRUE(sim.Boot().ok());
  ASSERT_TRUE(sim.RunUntil([&] { return sim.StepsOf(0) == 2; }));
  sim.RequestStop();
  EXPECT_FALSE(sim.over.has_value());
  sim.RequestStop();
  ASSERT_TRUE(sim.over.has_value());
  EXPECT_EQ(sim.over->code(), StatusCode::kCancelled);
  EXPECT_THAT(sim.over->message(), HasSubstr("begins anew"));
  for (const SimNode& node : sim.nodes) EXPECT_EQ(node.mail->kind, CommandKind::STOP);
}

TEST(JobMachine, StopsWithoutACheckpointWhenNobodyCanFinishTheStep) {
  Sim sim(TwoStageOptions(1));
  ASSERT_TRUE(sim.Boot().ok());
  ASSERT_TRUE(sim.RunUntil([&] { return sim.StepsOf(0) == 2; }));
  sim.Kill(1);
  ASSERT_TRUE(sim.RunUntil([&] { return sim.machine->counts().lost_nodes == 1; }));
  sim.RequestStop();
  EXPECT_EQ(sim.Run().code(), StatusCode::kCancelled);
  EXPECT_EQ(Count(sim, CommandKind::CHECKPOINT), 0u);
}

TEST(JobMachine, ACheckpointOnRequestPausesAndGoesOn) {
  Sim::Options options = TwoStageOptions(2);
  options.job.mutable_checkpoint()->set_every_steps(0);
  Sim sim(options);
  ASSERT_TRUE(sim.Boot().ok());
  Actions unused;
  EXPECT_EQ(sim.machine->RequestCheckpoint(0, &unused).code(), StatusCode::kFailedPrecondition);
  ASSERT_TRUE(sim.RunUntil([&] { return sim.StepsOf(0) == 4; }));
  sim.Do([&](Actions* out) { EXPECT_TRUE(sim.machine->RequestCheckpoint(sim.now_ms, out).ok()); });
  ASSERT_TRUE(sim.RunUntil([&] { return sim.checkpoints.size() == 1; }));
  EXPECT_GE(sim.checkpoints.begin()->second.manifest.step(), 4u);
  EXPECT_LT(sim.checkpoints.begin()->second.manifest.step(), 10u);
  ASSERT_TRUE(sim.Run().ok());
  ExpectWholeJob(sim);
  EXPECT_EQ(sim.machine->checkpoints().size(), 2u + 3u);
}

// ---- Checkpoints and restarts ------------------------------------------------------------------

TEST(JobMachine, AFailedCheckpointIsCountedAndTrainingGoesOn) {
  Sim sim(TwoStageOptions(2));
  ASSERT_TRUE(sim.Boot().ok());
  ASSERT_TRUE(sim.RunUntil([&] { return sim.machine->phase() == Phase::kCheckpointing; }));
  sim.next_server_error = ResourceExhausted("disk full");
  ASSERT_TRUE(sim.RunUntil([&] { return sim.machine->counts().failed_checkpoints == 1; }));
  EXPECT_TRUE(sim.checkpoints.empty());
  sim.next_manifest_error = ResourceExhausted("disk full again");
  ASSERT_TRUE(sim.RunUntil([&] { return sim.machine->counts().failed_checkpoints == 2; }));
  EXPECT_TRUE(sim.checkpoints.empty());
  ASSERT_TRUE(sim.Run().ok());
  ExpectWholeJob(sim);
  EXPECT_EQ(sim.machine->counts().failed_checkpoints, 2);
  EXPECT_THAT(sim.notes, Contains(HasSubstr("checkpoint 1 failed: server 1 (host h, process 0): "
                                            "disk full")));
  const std::vector<CheckpointRecord> records = sim.store.Load()->checkpoints;
  EXPECT_EQ(records[0].error, "server 1 (host h, process 0): disk full");
  EXPECT_EQ(records[1].error, "disk full again");
  EXPECT_EQ(records[2].error, "");
}

// Where the best weights could not be kept the job must not end with others.
TEST(JobMachine, AFailedCheckpointOfTheBestEndsTheJobAndTheSameCommandGoesOn) {
  Sim sim(TwoStageOptions(2));
  ASSERT_TRUE(sim.Boot().ok());
  const auto best_is_written = [&] {
    return sim.machine->phase() == Phase::kCheckpointing && sim.machine->stage() == 1 &&
           sim.StepsOf(1) == 4;
  };
  ASSERT_TRUE(sim.RunUntil(best_is_written));
  sim.next_server_error = ResourceExhausted("disk full");
  const Status failed = sim.Run();
  EXPECT_EQ(failed.code(), StatusCode::kUnavailable);
  EXPECT_THAT(failed.message(), HasSubstr("disk full; it holds the best weights of stage "
                                          "'finetune' so far, which keep_best is to leave"));
  ASSERT_TRUE(sim.Boot().ok());
  ASSERT_TRUE(sim.Run().ok());
  ExpectWholeJob(sim);
}

TEST(JobMachine, AStageWithoutKeepBestLeavesItsLastWeights) {
  Sim::Options options = TwoStageOptions(2);
  spec::Train* train = options.job.mutable_stage(1)->mutable_train();
  train->mutable_early_stop()->set_keep_best(false);
  train->mutable_learning_rate()->set_plateau_factor(0.5f);
  Sim sim(options);
  ASSERT_TRUE(sim.Boot().ok());
  ASSERT_TRUE(sim.Run().ok());
  EXPECT_EQ(sim.StepsOf(1), 16u);
  EXPECT_EQ(sim.checkpoints.rbegin()->second.manifest.step(), 16u);
  for (const control::Command& command : sim.log) {
    if (command.kind != CommandKind::TRAIN) continue;
    const bool after_plateau = command.stage == 1 && command.from_step >= 12;
    EXPECT_EQ(command.rate_factor, after_plateau ? 0.5 : 1) << command.from_step;
  }
}

TEST(JobMachine, AFinishedJobIsNotRunAgainButAChangedStageIs) {
  Sim::Options options = TwoStageOptions(2);
  Sim sim(options);
  ASSERT_TRUE(sim.Boot().ok());
  ASSERT_TRUE(sim.Run().ok());
  sim.log.clear();
  ASSERT_TRUE(sim.Boot().ok());
  EXPECT_TRUE(sim.over.has_value() && sim.over->ok());
  EXPECT_TRUE(sim.log.empty());
  EXPECT_EQ(sim.machine->stages()[2].metrics, (Metrics{{"m", 0.75}}));
  Actions unused;
  EXPECT_EQ(sim.machine->Register(0, sim.MakeRegistration(false), &unused).status().code(),
            StatusCode::kCancelled);

  // Other options of the evaluation: it and what comes after it are run again.
  options.job.mutable_stage(2)->mutable_evaluate()->add_k(20);
  Sim changed(options);
  changed.store = sim.store;
  changed.checkpoints = sim.checkpoints;
  changed.saved_shards = sim.saved_shards;
  ASSERT_TRUE(changed.Boot().ok());
  ASSERT_TRUE(changed.Run().ok());
  EXPECT_EQ(Count(changed, CommandKind::TRAIN), 0u);
  EXPECT_EQ(Count(changed, CommandKind::COMBINE), 2u);
}

TEST(JobMachine, ExportsAgainFromTheNewestCheckpoint) {
  Sim sim(TwoStageOptions(2));
  ASSERT_TRUE(sim.Boot().ok());
  ASSERT_TRUE(sim.Run().ok());
  JobMachine::Config config;
  config.job = sim.options().job;
  config.fingerprint = "f";
  config.lease_ms = 3000;
  config.exports_only = true;
  EXPECT_EQ(JobMachine::Make(config, StoredState(), std::nullopt, 1).status().code(),
            StatusCode::kNotFound);
  auto machine =
      JobMachine::Make(config, sim.store.Load().value(), sim.checkpoints.rbegin()->second, 100);
  ASSERT_TRUE(machine.ok());
  EXPECT_EQ((*machine)->stage(), 3u);
  EXPECT_EQ((*machine)->stages()[3].state, StageView::State::kWaiting);
  EXPECT_EQ((*machine)->stages()[2].metrics, (Metrics{{"m", 0.75}}));
  Actions actions;
  (*machine)->Start(0, &actions);
  EXPECT_EQ((*machine)->phase(), Phase::kGathering);
}

TEST(JobMachine, RefusesCheckpointsThatCannotBe) {
  Sim sim(TwoStageOptions(1));
  ASSERT_TRUE(sim.Boot().ok());
  ASSERT_TRUE(sim.RunUntil([&] { return sim.checkpoints.size() == 1; }));
  runtime::CheckpointInfo& info = sim.checkpoints.begin()->second;
  const spec::CheckpointManifest good = info.manifest;
  info.manifest.set_scheduler_state("{");
  EXPECT_EQ(sim.Boot().code(), StatusCode::kDataLoss);
  info.manifest = good;
  info.manifest.set_stage(3);
  EXPECT_EQ(sim.Boot().code(), StatusCode::kDataLoss);
  info.manifest = good;
  info.manifest.set_partitions(16);
  EXPECT_EQ(sim.Boot().code(), StatusCode::kDataLoss);
}

// ---- Registration ------------------------------------------------------------------------------

TEST(JobMachine, RefusesNodesThatDoNotBelong) {
  Sim sim(TwoStageOptions(2));
  ASSERT_TRUE(sim.Boot().ok());
  const auto refused = [&](const control::Registration& registration) {
    Status status;
    sim.Do([&](Actions* out) {
      status = sim.machine->Register(sim.now_ms, registration, out).status();
    });
    return status;
  };
  control::Registration other_job = sim.MakeRegistration(false);
  other_job.job_fingerprint = "g";
  EXPECT_EQ(refused(other_job).code(), StatusCode::kFailedPrecondition);
  control::Registration other_data = sim.MakeRegistration(false);
  other_data.facts.digest = "other";
  EXPECT_THAT(refused(other_data).message(),
              HasSubstr("the data differ from those of the workers"));
  control::Registration malformed = sim.MakeRegistration(false);
  malformed.facts.chunks_of_stage.pop_back();
  EXPECT_EQ(refused(malformed).code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(refused(sim.MakeRegistration(true)).message(), HasSubstr("has its 1 servers"));
  EXPECT_EQ(sim.machine->counts().refused_registrations, 4);
  ASSERT_TRUE(sim.Run().ok());

  // After a restart the checkpoint's data are asked for.
  StoredState nothing;
  JobMachine::Config config = sim.machine->config();
  auto machine = JobMachine::Make(config, nothing, sim.checkpoints.rbegin()->second, 100);
  ASSERT_TRUE(machine.ok());
  Actions unused;
  (*machine)->Start(0, &unused);
  EXPECT_THAT((*machine)->Register(0, other_data, &unused).status().message(),
              HasSubstr("the data are not those that checkpoint"));
}

TEST(JobMachine, AJobWithoutSamplesFailsBeforeItBegins) {
  Sim::Options options = TwoStageOptions(1);
  options.samples[1] = 0;
  Sim sim(options);
  JobMachine::Config config;
  config.job = options.job;
  config.fingerprint = "f";
  config.lease_ms = 3000;
  auto machine = JobMachine::Make(config, StoredState(), std::nullopt, 1);
  ASSERT_TRUE(machine.ok());
  Actions out;
  (*machine)->Start(0, &out);
  const auto registered = (*machine)->Register(0, sim.MakeRegistration(false), &out);
  EXPECT_THAT(registered.status().message(), HasSubstr("stage 'finetune' has no training samples"));
  EXPECT_EQ((*machine)->phase(), Phase::kOver);
  EXPECT_THAT((*machine)->result().message(), HasSubstr("'finetune' has no training samples"));
}

TEST(JobMachine, AMetricThatIsNotThereFailsWithTheNamesThatAre) {
  Sim::Options options = TwoStageOptions(1);
  options.job.mutable_stage(1)->mutable_train()->mutable_early_stop()->set_metric("auc");
  Sim sim(options);
  ASSERT_TRUE(sim.Boot().ok());
  const Status status = sim.Run();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("stops early by 'auc', which its validation does not"));
  EXPECT_THAT(status.message(), HasSubstr("it gives m"));
}

TEST(JobMachine, ALateTickLosesNobody) {
  Sim sim(TwoStageOptions(2));
  ASSERT_TRUE(sim.Boot().ok());
  ASSERT_TRUE(sim.RunUntil([&] { return sim.machine->phase() == Phase::kTraining; }));
  sim.now_ms += 60'000;  // this process did not run
  sim.Do([&](Actions* out) { sim.machine->Tick(sim.now_ms, out); });
  EXPECT_EQ(sim.machine->counts().lost_nodes, 0);
  ASSERT_TRUE(sim.Run().ok());
  ExpectWholeJob(sim);
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

TEST(JobMachine, TheSameSeedGivesTheSameCommands) {
  const auto trace = [] {
    Sim sim(TwoStageOptions(3, 7));
    EXPECT_TRUE(sim.Boot().ok());
    EXPECT_TRUE(sim.Run().ok());
    return sim.log;
  };
  EXPECT_EQ(trace(), trace());
}

}  // namespace
}  // namespace emporium::scheduler::testing
