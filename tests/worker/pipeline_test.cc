// The state machine of a span, against a plain enumeration.
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "tests/worker/train_fakes.h"
#include "worker/span_plan.h"

namespace emporium::worker {
namespace {

SpanAssignment Assignment(uint32_t rank, uint32_t workers, uint64_t from, uint64_t until) {
  return {Generation(1), StageId(0), rank, workers, Step(from), Step(until), until};
}

using Id = std::pair<uint64_t, uint32_t>;

TEST(SpanPlan, WorkersTogetherHaveEveryMicroBatchOnceInOrder) {
  const TinySource source(50);
  const StagePlan stage = source.plan(StageId(0));
  for (uint32_t workers = 1; workers <= 5; ++workers) {
    std::set<Id> all;
    for (uint32_t rank = 0; rank < workers; ++rank) {
      SpanPlan plan(stage, Assignment(rank, workers, 1, 9), Step(2));
      Id last = {0, 0};
      uint64_t last_step = 1;
      while (const auto id = plan.Next()) {
        EXPECT_LE(id->step.value(), last_step + 1) << "every step is given out";
        last_step = id->step.value();
        EXPECT_EQ(id->of, stage.MicroBatches(id->step));
        if (id->only_await) continue;
        const Id now = {id->step.value(), id->micro_batch.value()};
        EXPECT_LT(last, now);
        last = now;
        EXPECT_TRUE(all.insert(now).second);
      }
    }
    size_t expected = 0;
    for (uint64_t step = 2; step < 9; ++step) expected += stage.MicroBatches(Step(step));
    EXPECT_EQ(all.size(), expected);
    EXPECT_EQ(all.begin()->first, 2u);
    EXPECT_EQ(all.rbegin()->first, 8u);
  }
}

// Random events; after each, the invariants of span_plan.h.
TEST(SpanPlan, InvariantsHoldUnderRandomEvents) {
  const TinySource source(50);
  const StagePlan stage = source.plan(StageId(0));
  for (uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    const uint32_t workers = 1 + random() % 4;
    SpanPlan plan(stage, Assignment(random() % workers, workers, 0, 10), Step(random() % 11));
    std::vector<MicroBatchId> open;
    std::vector<MicroBatchId> begun;
    std::optional<Step> highest;
    std::optional<Step> highest_at_pause;
    bool paused = false;
    for (int event = 0; event < 400 && !plan.Done(); ++event) {
      switch (random() % 8) {
        case 0:
        case 1:
          if (const auto id = plan.Next()) open.push_back(*id);
          break;
        case 2:
        case 3:
        case 4: {
          if (open.empty()) break;
          const size_t i = random() % open.size();
          if (!plan.MayPull(open[i].step)) break;
          if (!plan.MayBegin(open[i].step)) {
            EXPECT_TRUE(paused);
            break;
          }
          plan.Answered(open[i].step);
          if (!open[i].only_await) {
            plan.Begin(open[i].step);
            highest = std::max(highest.value_or(Step(0)), open[i].step);
          }
          begun.push_back(open[i]);
          open.erase(open.begin() + static_cast<long>(i));
          break;
        }
        case 5:
        case 6: {
          if (begun.empty()) break;
          const size_t i = random() % begun.size();
          plan.Acknowledged(begun[i].step);
          begun.erase(begun.begin() + static_cast<long>(i));
          break;
        }
        default:
          if (random() % 20 == 0 && !paused) {
            plan.Pause();
            paused = true;
            highest_at_pause = highest;
          }
      }
      EXPECT_EQ(plan.highest_begun(), highest);
      if (highest_at_pause) {
        EXPECT_EQ(highest, highest_at_pause);
      }
      if (plan.Done()) {
        EXPECT_TRUE(begun.empty() || paused);
        for (const auto& id : open) EXPECT_FALSE(plan.MayBegin(id.step));
      }
    }
  }
}

TEST(SpanPlan, AStepIsAppliedWhenAllOfItIsAcknowledged) {
  const TinySource source(50);
  SpanPlan plan(source.plan(StageId(0)), Assignment(0, 2, 3, 5), Step(3), true);
  // Micro-batches 0 and 2 of step 3, then 0 of step 4, which is short.
  EXPECT_EQ(plan.Next()->step, Step(3));
  plan.Begin(Step(3));
  EXPECT_FALSE(plan.Acknowledged(Step(3)));  // not all are given out
  EXPECT_EQ(plan.Next()->step, Step(3));
  EXPECT_EQ(plan.Next()->step, Step(4));
  EXPECT_FALSE(plan.Next().has_value());
  EXPECT_TRUE(plan.Acknowledged(Step(3)));
  EXPECT_TRUE(plan.Acknowledged(Step(4)));
  EXPECT_FALSE(plan.Done());
  plan.Applied(Step(4));
  EXPECT_FALSE(plan.Done());
  plan.Applied(Step(3));
  EXPECT_TRUE(plan.Done());
  // Who has nothing of a step has nothing to apply.
  SpanPlan second(source.plan(StageId(0)), Assignment(1, 2, 4, 5), Step(4), true);
  EXPECT_TRUE(second.Next()->only_await);
  EXPECT_FALSE(second.Acknowledged(Step(4)));
  EXPECT_TRUE(second.Done());
}

TEST(SpanPlan, APauseDoesNotWaitForAStepToBeApplied) {
  const TinySource source(50);
  SpanPlan plan(source.plan(StageId(0)), Assignment(0, 3, 0, 5), Step(0), true);
  plan.Next();
  plan.Begin(Step(0));
  plan.Pause();
  EXPECT_FALSE(plan.Done());
  EXPECT_TRUE(plan.Acknowledged(Step(0)));
  EXPECT_TRUE(plan.Done());
}

TEST(SpanPlan, PullsGoOneStepAhead) {
  const TinySource source(50);
  SpanPlan plan(source.plan(StageId(0)), Assignment(0, 1, 0, 10), Step(3));
  EXPECT_TRUE(plan.MayPull(Step(3)));
  EXPECT_TRUE(plan.MayPull(Step(4)));
  EXPECT_FALSE(plan.MayPull(Step(5)));
  plan.Answered(Step(4));
  EXPECT_TRUE(plan.MayPull(Step(5)));
  plan.Answered(Step(3));
  EXPECT_TRUE(plan.MayPull(Step(5)));
}

TEST(SpanPlan, NothingToDoIsDoneAtOnce) {
  const TinySource source(50);
  const StagePlan stage = source.plan(StageId(0));
  EXPECT_TRUE(SpanPlan(stage, Assignment(0, 1, 4, 4), Step(4)).Done());
  EXPECT_TRUE(SpanPlan(stage, Assignment(0, 1, 0, 4), Step(9)).Done());
  SpanPlan paused(stage, Assignment(0, 1, 0, 4), Step(0));
  EXPECT_FALSE(paused.Done());
  paused.Pause();
  EXPECT_TRUE(paused.Done());
  EXPECT_FALSE(paused.Next().has_value());
  EXPECT_FALSE(paused.highest_begun().has_value());
}

TEST(SamplesOfStep, CountsEpochsAndTheirShortEnds) {
  const StagePlan stage = TinySource(50).plan(StageId(0));
  EXPECT_EQ(SamplesOfStep(stage, Step(0)), 12u);
  EXPECT_EQ(SamplesOfStep(stage, Step(4)), 2u);
  EXPECT_EQ(SamplesOfStep(stage, Step(5)), 12u);
  EXPECT_EQ(SamplesOfStep(stage, Step(9)), 2u);
}

}  // namespace
}  // namespace emporium::worker
