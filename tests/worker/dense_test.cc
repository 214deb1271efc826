#include "worker/dense.h"

#include <gtest/gtest.h>

#include <numeric>

#include "worker/key_split.h"
#include "worker/learning_rate.h"
#include "worker/span_plan.h"

namespace emporium::worker {
namespace {

models::DenseParameter Parameter(const std::string& name, int64_t size) {
  return {name, {size}, size, false};
}

spec::Job JobWithGroups() {
  spec::Job job;
  job.add_table()->set_dim(16);
  job.add_table()->set_dim(8);
  spec::DenseGroup* tower = job.add_dense();
  tower->set_name("tower");
  tower->add_parameter("user.");
  tower->add_parameter("item.");
  tower->set_chunk_floats(3);
  spec::DenseGroup* unused = job.add_dense();
  unused->set_name("unused");
  unused->add_parameter("nothing.");
  spec::DenseGroup* rest = job.add_dense();
  rest->set_name("rest");
  rest->set_chunk_floats(1000);
  return job;
}

TEST(DenseLayout, CutsParametersIntoChunksOfTheirGroups) {
  const spec::Job job = JobWithGroups();
  const auto layout = DenseLayout::Make(
      job, {Parameter("user.w", 7), Parameter("head.w", 5), Parameter("item.w", 3)});
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ(layout->floats(), 15u);
  ASSERT_EQ(layout->tables().size(), 2u);
  EXPECT_EQ(layout->tables()[0].table, TableId(2));
  EXPECT_EQ(layout->tables()[1].table, TableId(4));
  EXPECT_EQ(layout->tables()[0].keys,
            (std::vector<uint64_t>{DenseKey("user.w", 0), DenseKey("user.w", 1),
                                   DenseKey("user.w", 2), DenseKey("item.w", 0)}));
  EXPECT_EQ(layout->tables()[1].keys, (std::vector<uint64_t>{DenseKey("head.w", 0)}));
  EXPECT_EQ(TableDims(job), (std::vector<uint32_t>{16, 8, 3, 1024, 1000}));

  std::vector<float> flat(15);
  std::iota(flat.begin(), flat.end(), 1.0f);
  std::vector<float> rows(12, -1.0f);
  layout->FlatToRows(0, flat, rows);
  EXPECT_EQ(rows, (std::vector<float>{1, 2, 3, 4, 5, 6, 7, 0, 0, 13, 14, 15}));
  std::vector<float> wide(1000, -1.0f);
  layout->FlatToRows(1, flat, wide);
  EXPECT_EQ(std::vector<float>(wide.begin(), wide.begin() + 6),
            (std::vector<float>{8, 9, 10, 11, 12, 0}));
  std::vector<float> back(15);
  layout->RowsToFlat(0, rows, back);
  layout->RowsToFlat(1, wide, back);
  EXPECT_EQ(back, flat);
}

TEST(DenseLayout, WithoutGroupsThereIsOne) {
  spec::Job job;
  job.add_table()->set_dim(4);
  const auto layout = DenseLayout::Make(job, {Parameter("w", 1024), Parameter("v", 1025)});
  ASSERT_TRUE(layout.ok());
  ASSERT_EQ(layout->tables().size(), 1u);
  EXPECT_EQ(layout->tables()[0].table, TableId(1));
  EXPECT_EQ(layout->tables()[0].keys.size(), 3u);
  EXPECT_EQ(layout->chunk_floats(0), 1024u);
  EXPECT_EQ(TableDims(job), (std::vector<uint32_t>{4, 1024}));
}

TEST(DenseLayout, StatisticsLieInTheirOwnGroupAndNothingElseDoes) {
  spec::Job job = JobWithGroups();
  spec::DenseGroup* group = job.add_dense();
  group->set_name("statistics");
  group->set_statistics(true);
  models::DenseParameter mean = Parameter("user.norm.mean", 2);
  mean.statistic = true;
  const auto layout =
      DenseLayout::Make(job, {Parameter("user.w", 2), mean, Parameter("head.w", 2)});
  ASSERT_TRUE(layout.ok());
  ASSERT_EQ(layout->tables().size(), 3u);
  EXPECT_EQ(layout->tables()[0].keys, (std::vector<uint64_t>{DenseKey("user.w", 0)}));
  EXPECT_EQ(layout->tables()[1].keys, (std::vector<uint64_t>{DenseKey("head.w", 0)}));
  EXPECT_EQ(layout->tables()[2].table, TableId(5));
  EXPECT_EQ(layout->tables()[2].keys, (std::vector<uint64_t>{DenseKey("user.norm.mean", 0)}));
  job.mutable_dense()->RemoveLast();
  EXPECT_FALSE(DenseLayout::Make(job, {mean}).ok());
}

TEST(DenseLayout, RefusesParametersWithoutAGroupAndNamesTwice) {
  spec::Job job = JobWithGroups();
  job.mutable_dense()->RemoveLast();
  const auto homeless = DenseLayout::Make(job, {Parameter("head.w", 5)});
  ASSERT_FALSE(homeless.ok());
  EXPECT_NE(homeless.status().message().find("head.w"), std::string::npos);
  const auto twice = DenseLayout::Make(job, {Parameter("user.w", 5), Parameter("user.w", 5)});
  EXPECT_EQ(twice.status().code(), StatusCode::kInvalidArgument);
}

// Pinned: checkpoints are found by it.
TEST(DenseKey, IsPinned) {
  EXPECT_EQ(DenseKey("", 0), 0x2d06800538d394c2u);
  EXPECT_NE(DenseKey("w", 0), DenseKey("w", 1));
}

TEST(LearningRate, FollowsItsSchedule) {
  spec::LearningRate rate;
  EXPECT_EQ(LearningRateFactor(rate, Step(0), 10), 1.0f);
  EXPECT_EQ(LearningRateFactor(rate, Step(9), 10), 1.0f);
  rate.set_warm_up_steps(4);
  rate.set_base_factor(2);
  EXPECT_EQ(LearningRateFactor(rate, Step(0), 10), 0.5f);
  EXPECT_EQ(LearningRateFactor(rate, Step(3), 10), 2.0f);
  EXPECT_EQ(LearningRateFactor(rate, Step(4), 10), 2.0f);
  rate.set_final_factor(0.5);
  for (const auto schedule : {spec::LearningRate::LINEAR, spec::LearningRate::COSINE}) {
    rate.set_schedule(schedule);
    EXPECT_FLOAT_EQ(LearningRateFactor(rate, Step(4), 11), 2.0f);
    EXPECT_FLOAT_EQ(LearningRateFactor(rate, Step(7), 11), 1.5f);  // half way
    EXPECT_FLOAT_EQ(LearningRateFactor(rate, Step(10), 11), 1.0f);
    EXPECT_FLOAT_EQ(LearningRateFactor(rate, Step(4), 5), 1.0f);  // no way to go
    EXPECT_LT(LearningRateFactor(rate, Step(9), 11), LearningRateFactor(rate, Step(8), 11));
  }
}

TEST(RandomSeed, DependsOnEveryPart) {
  std::set<uint64_t> seeds;
  for (uint64_t seed : {1, 2}) {
    for (uint32_t stage : {0, 1}) {
      for (uint64_t step : {0, 1, 2}) {
        for (uint32_t m : {0, 1, 2}) {
          seeds.insert(RandomSeed(seed, StageId(stage), Step(step), MicroBatch(m)));
        }
      }
    }
  }
  EXPECT_EQ(seeds.size(), 36u);
}

}  // namespace
}  // namespace emporium::worker
