#include "worker/slot_feed.h"

#include <gmock/gmock.h>

#include <cmath>

#include "tests/worker/data_fixture.h"
#include "worker/row_source.h"

namespace emporium::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;

class SlotFeedTest : public DataTest {
 protected:
  static constexpr const char* kJob = R"(
    name: "p" seed: 1
    table { name: "other" dim: 4 optimizer { sgd {} } }
    table { name: "t" dim: 4 optimizer { sgd {} }
            slot { name: "shows" } slot { name: "sum" column: "n" }
            slot { name: "last" column: "x" update: SET }
            slot { name: "highest" column: "x" update: MAX }
            slot { name: "mean" column: "x" update: EMA }
            slot { name: "level" column: "x" update: LOG_EMA } }
    data { events { file: "events.csv" column { name: "y" type: INT } column { name: "a" type: INT }
                    column { name: "b" type: INT } column { name: "n" type: INT }
                    column { name: "x" type: FLOAT } column { name: "z" type: FLOAT } }
           label_column: "y" split { files { test_file: "test.csv" } } }
    feature { name: "b" column: "b" table: "other" }
    feature { name: "a" column: "a" table: "t" hashing: IDENTITY
              slot_input { slot: "last" } slot_input { slot: "sum" log1p: true } }
    feature { name: "z" column: "z" }
    model { deepfm {} }
    stage { name: "s" train { pointwise {} micro_batch_size: 4 in_time_order: true } }
    stage { name: "e" evaluate {} })";
  void SetUp() override {
    DataTest::SetUp();
    Write("events.csv", "y,a,b,n,x,z\n1,7,1,2,-3,10\n0,9,1,5,1,20\n1,7,1,4,-1,30\n0,7,2,1,-2,40\n");
    Write("test.csv", "y,a,b,n,x,z\n1,9,1,2,0.5,50\n1,8,1,2,0.5,60\n");
    source_ = Source(ParseJob(kJob));
  }
  std::unique_ptr<BatchSource> source_;
};

TEST_F(SlotFeedTest, MakesOneNumberOfEachKeyAndSlot) {
  const auto planned = source_->Train(StageId(0), Step(0), MicroBatch(0));
  ASSERT_TRUE(planned.ok()) << planned.status().ToString();
  ASSERT_EQ(planned->tables.size(), 2u);
  EXPECT_TRUE(planned->tables[0].observed.empty());
  EXPECT_THAT(planned->tables[1].keys, ElementsAre(7, 9));
  const auto level = static_cast<float>(std::log((std::exp(-3) + std::exp(-1) + std::exp(-2)) / 3));
  EXPECT_THAT(planned->tables[1].observed,
              ElementsAre(3, 7, -2, -1, -2, FloatNear(level, 1e-6f), 1, 5, 1, 1, 1, 1));
}

TEST_F(SlotFeedTest, BringsSlotsBackAsDenseInputs) {
  auto planned = source_->Train(StageId(0), Step(0), MicroBatch(0));
  ASSERT_TRUE(planned.ok()) << planned.status().ToString();
  EXPECT_EQ(planned->tables[0].want_slots, 0u);
  ASSERT_EQ(planned->tables[1].want_slots, 6u);
  const std::vector<uint32_t> dims = {4, 4};
  RowBuffer rows;
  PrepareRows(planned->tables, dims, true, &rows);
  ASSERT_EQ(rows.slots[1].size(), 12u);
  for (size_t i = 0; i < 12; ++i) rows.slots[1][i] = static_cast<float>(i) - 2;
  FillSlots(rows, &planned->batch);
  // Of key 7: last 0, sum -1; of key 9: last 6, sum 5.
  const auto log6 = static_cast<float>(std::log(6.0));
  EXPECT_THAT(planned->batch.dense,
              ElementsAre(10, 0, 0, 20, 6, FloatNear(log6, 1e-6f), 30, 0, 0, 40, 0, 0));
}

TEST_F(SlotFeedTest, AnEvaluationReadsAndObservesNothing) {
  const auto eval = source_->Eval(StageId(1), EvalSplit::kTest, 0);
  ASSERT_TRUE(eval.ok()) << eval.status().ToString();
  EXPECT_THAT(eval->planned.tables[1].keys, ElementsAre(9, 8));
  EXPECT_TRUE(eval->planned.tables[1].observed.empty());
  EXPECT_EQ(eval->planned.tables[1].want_slots, 6u);
}

}  // namespace
}  // namespace emporium::worker
