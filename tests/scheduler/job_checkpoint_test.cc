// Checkpoints whose files are written while training goes on, in tests/scheduler/sim.h.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/scheduler/jobs.h"
#include "tests/scheduler/sim.h"

namespace emporium::scheduler::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

// Training goes on, and files of a checkpoint are being written.
bool WritesBeside(const Sim& sim) {
  return sim.machine->phase() == Phase::kTraining && sim.machine->checkpoint_in_work() > 0;
}

TEST(JobCheckpoint, TrainingGoesOnWhileFilesAreWritten) {
  Sim sim(TwoStageOptions(2));
  ASSERT_TRUE(sim.Boot().ok());
  ASSERT_TRUE(sim.RunUntil([&] { return WritesBeside(sim); }));
  const uint64_t number = sim.machine->checkpoint_in_work();
  const uint64_t cut = sim.StepsOf(0);
  // Steps are applied although no file is there yet.
  const bool trained = sim.RunUntil(
      [&] { return sim.StepsOf(0) > cut || sim.machine->checkpoint_in_work() != number; });
  ASSERT_TRUE(trained);
  ASSERT_TRUE(sim.RunUntil([&] { return sim.checkpoints.contains(number); }));
  EXPECT_EQ(sim.checkpoints.at(number).manifest.step(), cut);
  ASSERT_TRUE(sim.Run().ok());
  ExpectWholeJob(sim);
}

TEST(JobCheckpoint, FilesThatCannotBeWrittenAreCountedAndTrainingGoesOn) {
  Sim sim(TwoStageOptions(2));
  ASSERT_TRUE(sim.Boot().ok());
  sim.next_write_error = ResourceExhausted("no space left");
  ASSERT_TRUE(sim.RunUntil([&] { return sim.machine->counts().failed_checkpoints == 1; }));
  EXPECT_THAT(sim.notes, Contains(HasSubstr("checkpoint 1 failed: server 1 (host h, process 0): no "
                                            "space left")));
  ASSERT_TRUE(sim.Run().ok());
  ExpectWholeJob(sim);
}

TEST(JobCheckpoint, ASchedulerThatDiesMeanwhileNeverUsesTheNumberAgain) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Sim sim(TwoStageOptions(2, seed));
    ASSERT_TRUE(sim.Boot().ok());
    ASSERT_TRUE(sim.RunUntil([&] { return WritesBeside(sim); }));
    const uint64_t number = sim.machine->checkpoint_in_work();
    ASSERT_TRUE(sim.StartScheduler(true).ok());
    ASSERT_TRUE(sim.RunUntil([&] { return sim.machine->checkpoint_in_work() > 0; }));
    EXPECT_GT(sim.machine->checkpoint_in_work(), number);
    ASSERT_TRUE(sim.Run().ok());
    EXPECT_FALSE(sim.checkpoints.contains(number));
    EXPECT_EQ(sim.machine->counts().returns, 0);
    ExpectWholeJob(sim);
  }
}

TEST(JobCheckpoint, AStopWaitsForWhatIsBeingWrittenAndTakesItsOwn) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Sim sim(TwoStageOptions(2, seed));
    ASSERT_TRUE(sim.Boot().ok());
    ASSERT_TRUE(sim.RunUntil([&] { return WritesBeside(sim); }));
    sim.RequestStop();
    EXPECT_EQ(sim.Run().code(), StatusCode::kCancelled);
    ASSERT_FALSE(sim.checkpoints.empty());
    EXPECT_EQ(sim.checkpoints.rbegin()->second.manifest.step(), sim.StepsOf(0));
  }
}

// The next stage has begun on the shards alone: the worker has none of their rows yet.
TEST(JobCheckpoint, WhatAStageCouldNotSaveIsSavedAsTheBeginningOfTheNext) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Sim sim(TwoStageOptions(1, seed));
    ASSERT_TRUE(sim.Boot().ok());
    ASSERT_TRUE(sim.RunUntil([&] {
      return sim.machine->checkpoint_in_work() > 0 &&
             sim.log.back().kind == control::CommandKind::CHECKPOINT &&
             sim.log.back().until_step == 10;
    }));
    sim.next_write_error = ResourceExhausted("no space left");
    ASSERT_TRUE(sim.RunUntil([&] { return sim.shards->stage == 1; }));
    EXPECT_EQ(sim.machine->counts().failed_checkpoints, 1);
    sim.Report(&sim.nodes.at(1));  // it knows of the stage
    sim.RequestStop();
    EXPECT_EQ(sim.Run().code(), StatusCode::kCancelled);
    EXPECT_EQ(sim.StepsOf(1), 0u);
    const spec::CheckpointManifest& last = sim.checkpoints.rbegin()->second.manifest;
    EXPECT_EQ(last.stage(), 1u);
    EXPECT_EQ(last.step(), 0u);
    EXPECT_FALSE(last.stage_done());
    ASSERT_TRUE(sim.Boot().ok());
    ASSERT_TRUE(sim.Run().ok());
    ExpectWholeJob(sim);
  }
}

}  // namespace
}  // namespace emporium::scheduler::testing
