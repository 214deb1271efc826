#include "worker/stage_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace emporium::worker {
namespace {

spec::Train Settings(uint32_t size, uint32_t per_step, uint32_t epochs, uint64_t max_steps = 0) {
  spec::Train train;
  train.set_micro_batch_size(size);
  train.set_micro_batches_per_step(per_step);
  train.set_epochs(epochs);
  train.set_max_steps(max_steps);
  return train;
}

// Every epoch has every sample exactly once, whatever the sizes.
TEST(StagePlanTest, AnEpochHasEverySampleOnce) {
  for (const uint64_t samples : {1u, 7u, 8u, 9u, 100u}) {
    for (const uint32_t size : {1u, 4u, 200u}) {
      for (const uint32_t per_step : {1u, 2u, 3u}) {
        const StagePlan plan = PlanStage(samples, Settings(size, per_step, 2));
        ASSERT_EQ(plan.total_steps, 2 * plan.steps_per_epoch);
        std::vector<std::vector<uint64_t>> epochs(2);
        for (uint64_t step = 0; step < plan.total_steps; ++step) {
          const uint32_t m = plan.MicroBatches(Step(step));
          ASSERT_GE(m, 1u);
          ASSERT_LE(m, per_step);
          for (uint32_t b = 0; b < m; ++b) {
            const MicroBatchSamples batch(plan, 1, StageId(0), false, Step(step), MicroBatch(b));
            ASSERT_GE(batch.size(), 1u);
            ASSERT_LE(batch.size(), size);
            for (uint32_t i = 0; i < batch.size(); ++i) {
              epochs[step / plan.steps_per_epoch].push_back(batch.sample(i));
            }
          }
        }
        for (const auto& epoch : epochs) {
          EXPECT_EQ(epoch.size(), samples);
          EXPECT_EQ(std::set<uint64_t>(epoch.begin(), epoch.end()).size(), samples);
        }
        if (samples == 100) {
          EXPECT_NE(epochs[0], epochs[1]);
        }
      }
    }
  }
}

TEST(StagePlanTest, OnlyTheLastStepOfAnEpochIsShort) {
  const StagePlan plan = PlanStage(25, Settings(4, 3, 1));
  EXPECT_EQ(plan.steps_per_epoch, 3u);  // 7 micro-batches
  EXPECT_EQ(plan.MicroBatches(Step(0)), 3u);
  EXPECT_EQ(plan.MicroBatches(Step(2)), 1u);
  EXPECT_EQ(MicroBatchSamples(plan, 1, StageId(0), false, Step(2), MicroBatch(0)).size(), 1u);
  EXPECT_EQ(PlanStage(25, Settings(4, 3, 10, 5)).total_steps, 5u);
  EXPECT_EQ(PlanStage(25, Settings(4, 3, 1, 5)).total_steps, 3u);
  EXPECT_EQ(PlanStage(0, Settings(4, 3, 1)).total_steps, 0u);
}

TEST(StagePlanTest, OrderFollowsSeedStageAndEpoch) {
  const StagePlan plan = PlanStage(64, Settings(64, 1, 3));
  const auto order = [&](uint64_t seed, uint32_t stage, uint64_t step, bool in_time_order) {
    const MicroBatchSamples batch(plan, seed, StageId(stage), in_time_order, Step(step),
                                  MicroBatch(0));
    std::vector<uint64_t> samples;
    for (uint32_t i = 0; i < batch.size(); ++i) {
      samples.push_back(batch.sample(i));
    }
    return samples;
  };
  EXPECT_EQ(order(1, 0, 0, false), order(1, 0, 0, false));
  EXPECT_NE(order(1, 0, 0, false), order(2, 0, 0, false));
  EXPECT_NE(order(1, 0, 0, false), order(1, 1, 0, false));
  EXPECT_NE(order(1, 0, 0, false), order(1, 0, 1, false));
  const auto in_order = order(1, 0, 2, true);
  EXPECT_TRUE(std::is_sorted(in_order.begin(), in_order.end()));
}

}  // namespace
}  // namespace emporium::worker
