// Labels of several tasks, groups and popularity buckets, as batches have them.
#include "worker/task_labels.h"

#include <gmock/gmock.h>

#include <cmath>

#include "tests/worker/data_fixture.h"

namespace emporium::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatEq;
using ::testing::HasSubstr;

class TasksTest : public DataTest {
 protected:
  static constexpr const char* kJob = R"(
    name: "p" seed: 1
    table { name: "t" dim: 4 optimizer { sgd {} } }
    data { events { file: "train.csv" column { name: "user" } column { name: "item" }
                    column { name: "visit" type: INT } column { name: "click" type: INT }
                    column { name: "views" type: FLOAT } }
           user_column: "user" item_column: "item" group_column: "visit"
           split { files { test_file: "test.csv" } } }
    feature { name: "item" column: "item" table: "t" }
    task { name: "click" label_column: "click" }
    task { name: "deep" label_column: "views" given: "click" positive_above_percentile: 50 }
    task { name: "views" label_column: "views" kind: LOG1P given: "click" }
    model { mmoe {} }
    stage { name: "s" train { pointwise { weights: DWA } epochs: 3 micro_batch_size: 4
                              micro_batches_per_step: 1 } }
    stage { name: "e" evaluate {} })";
  void SetUp() override {
    DataTest::SetUp();
    // Views of clicks in training: 1, 2, 3, 8; their median by nearest rank is 2.
    Write("train.csv",
          "user,item,visit,click,views\n"
          "u,a,1,1,3\nu,a,1,0,100\nu,b,2,1,1\nv,a,3,1,2\nv,c,3,1,8\n");
    Write("test.csv", "user,item,visit,click,views\nv,a,3,1,3\nu,d,-7,0,2\n");
  }
};

TEST_F(TasksTest, LabelsGroupsAndBuckets) {
  const auto source = Source(ParseJob(kJob));
  const auto eval = source->Eval(StageId(1), EvalSplit::kTest, 0);
  ASSERT_TRUE(eval.ok()) << eval.status().ToString();
  EXPECT_THAT(eval->planned.batch.label,
              ElementsAre(1, 0, 1, 0, FloatEq(std::log1p(3.0f)), FloatEq(std::log1p(2.0f))));
  ASSERT_EQ(eval->group.size(), 2u);
  EXPECT_EQ(eval->group[0][0], static_cast<uint64_t>(source->dataset().FindUser("v")));
  EXPECT_EQ(eval->group[0][1], static_cast<uint64_t>(source->dataset().FindUser("u")));
  EXPECT_EQ(eval->group[1][0], 3u);
  EXPECT_EQ(eval->group[1][1], static_cast<uint64_t>(int64_t{-7}));
  // a has most events of training and is the first of four items; d has none.
  EXPECT_THAT(eval->popularity_bucket, ElementsAre(0, 2));
}

TEST_F(TasksTest, BatchesKnowTheirEpoch) {
  const auto source = Source(ParseJob(kJob));
  EXPECT_EQ(source->plan(StageId(0)).steps_per_epoch, 2u);
  for (uint64_t step = 0; step < 6; ++step) {
    const auto planned = source->Train(StageId(0), Step(step), MicroBatch(0));
    ASSERT_TRUE(planned.ok());
    EXPECT_EQ(planned->batch.period, static_cast<int32_t>(step / 2));
    EXPECT_EQ(planned->batch.first_period, 0);
  }
}

TEST_F(TasksTest, RefusesCountsBelowZeroAndPercentilesOfNothing) {
  Write("train.csv", "user,item,visit,click,views\nu,a,1,1,-3\n");
  spec::Job job = ParseJob(kJob);
  ASSERT_TRUE(Prepare(job, "negative").ok());
  EXPECT_THAT(BatchSource::Open(job, Path("negative")).status().message(),
              HasSubstr("task \"views\": -3.000000 is below 0"));
  Write("train.csv", "user,item,visit,click,views\nu,a,1,0,3\n");
  ASSERT_TRUE(Prepare(job, "nothing").ok());
  EXPECT_THAT(BatchSource::Open(job, Path("nothing")).status().message(),
              HasSubstr("task \"deep\": no training sample has this task's `given`"));
}

}  // namespace
}  // namespace emporium::worker
