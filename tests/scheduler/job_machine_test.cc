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

// ---- The same again --------------------------------------------------------------------------

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
