// Micro-batches that fail wherever they are computed: they end the job, or it goes on without them.
#include <gmock/gmock.h>

#include "tests/scheduler/jobs.h"

namespace emporium::scheduler {
namespace {

using ::testing::Contains;
using testing::ExpectWholeJob;
using ::testing::HasSubstr;
using testing::Sim;
using testing::TwoStageOptions;
using Name = std::tuple<int, uint64_t, uint32_t>;

Sim::Options Allowing(uint32_t most, size_t workers, uint64_t seed = 1) {
  Sim::Options options = TwoStageOptions(workers, seed);
  for (int stage = 0; stage < 2; ++stage) {
    options.job.mutable_stage(stage)->mutable_train()->set_quarantine_micro_batches(most);
  }
  return options;
}

std::set<Name> LeftOutOf(const Sim& sim) {
  std::set<Name> names;
  for (const LeftOut& one : sim.machine->left_out()) {
    EXPECT_TRUE(names.emplace(one.stage, one.step, one.micro_batch).second) << "once";
    EXPECT_THAT(one.why, HasSubstr("cannot be read"));
  }
  return names;
}

// Two in one step, one in the next, one at a span's first step, and one of another stage.
const std::set<Name> kPoison = {{0, 1, 1}, {0, 1, 2}, {0, 2, 0}, {0, 3, 3}, {1, 4, 2}};

TEST(Quarantine, TheSameAreLeftOutByAnyNumberOfWorkers) {
  for (size_t workers = 1; workers <= 6; ++workers) {
    for (uint64_t seed = 1; seed <= 10; ++seed) {
      SCOPED_TRACE(std::to_string(workers) + " workers, seed " + std::to_string(seed));
      Sim sim(Allowing(4, workers, seed));
      sim.poison = kPoison;
      ASSERT_TRUE(sim.Boot().ok());
      ASSERT_TRUE(sim.Run().ok());
      ExpectWholeJob(sim);
      EXPECT_EQ(LeftOutOf(sim), kPoison);
      EXPECT_THAT(sim.notes, Contains(HasSubstr("micro-batch 1 of step 1 is left out")));
      // What is left out has no loss, and no step waits for it.
      for (const StageView& stage : {sim.machine->stages()[0], sim.machine->stages()[1]}) {
        uint64_t steps = 0;
        for (const CurvePoint& point : stage.curve) steps += point.steps;
        EXPECT_GE(steps, stage.done);
      }
    }
  }
}

TEST(Quarantine, OneMoreThanIsAllowedEndsTheJob) {
  for (size_t workers = 1; workers <= 4; ++workers) {
    Sim sim(Allowing(3, workers));
    sim.poison = kPoison;
    ASSERT_TRUE(sim.Boot().ok());
    const Status status = sim.Run();
    EXPECT_EQ(status.code(), StatusCode::kDataLoss) << status.ToString();
    EXPECT_THAT(status.message(), HasSubstr("cannot be read"));
    EXPECT_EQ(sim.machine->left_out().size(), 3u);
  }
}

TEST(Quarantine, AJobThatAllowsNoneEnds) {
  Sim sim(TwoStageOptions(4));
  sim.poison = {{0, 1, 1}};
  ASSERT_TRUE(sim.Boot().ok());
  EXPECT_EQ(sim.Run().code(), StatusCode::kDataLoss);
  EXPECT_TRUE(sim.machine->left_out().empty());
}

TEST(Quarantine, AnotherSchedulerKnowsWhatIsLeftOut) {
  for (const bool rejoin : {true, false}) {
    Sim sim(Allowing(9, 3));
    sim.poison = kPoison;
    ASSERT_TRUE(sim.Boot().ok());
    // Of the checkpoint at step 6, and after it.
    ASSERT_TRUE(sim.RunUntil([&] { return sim.StepsOf(0) == 8; }));
    EXPECT_EQ(LeftOutOf(sim).size(), 4u);
    const auto notes = sim.notes.size();
    ASSERT_TRUE((rejoin ? sim.StartScheduler(true) : sim.Boot()).ok());
    EXPECT_EQ(LeftOutOf(sim).size(), 4u) << "from the store, or from the checkpoint";
    ASSERT_TRUE(sim.Run().ok());
    ExpectWholeJob(sim);
    EXPECT_EQ(LeftOutOf(sim), kPoison);
    for (size_t i = notes; i < sim.notes.size(); ++i) {
      EXPECT_THAT(sim.notes[i], ::testing::Not(HasSubstr("of step 1 is left out"))) << "again";
    }
  }
}

TEST(Quarantine, WhatWasLeftOutStaysSoWhenTheJobGoesBack) {
  Sim sim(Allowing(9, 2));
  sim.poison = kPoison;
  ASSERT_TRUE(sim.Boot().ok());
  ASSERT_TRUE(sim.RunUntil([&] { return LeftOutOf(sim).size() == 4; }));  // before a checkpoint
  sim.Kill(0);
  ASSERT_TRUE(sim.RunUntil([&] { return sim.machine->counts().returns == 1; }));
  sim.AddNode(true);
  EXPECT_EQ(LeftOutOf(sim).size(), 4u);
  ASSERT_TRUE(sim.Run().ok());
  ExpectWholeJob(sim);
  EXPECT_EQ(LeftOutOf(sim), kPoison);
}

}  // namespace
}  // namespace emporium::scheduler
