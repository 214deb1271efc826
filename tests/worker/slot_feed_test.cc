#include "worker/slot_feed.h"

#include <gmock/gmock.h>

#include <bit>
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
  EXPECT_THAT(planned->tables[1].observed_mask, ElementsAre(0x3f, 0x3f));
  EXPECT_THAT(planned->tables[1].slot_totals, ElementsAre(4, 12));
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
  EXPECT_EQ(rows.slot_totals[1].size(), 2u);
  for (size_t i = 0; i < 12; ++i) rows.slots[1][i] = static_cast<float>(i) - 2;
  FillSlots(rows, planned->slots, &planned->batch);
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

// Events of kinds, with a past item beside the item that each is about.
class CounterFeedTest : public DataTest {
 protected:
  static constexpr const char* kJob = R"(
    name: "p" seed: 1
    table { name: "item" dim: 4 optimizer { sgd {} } popularity {}
            slot { name: "show" }
            slot { name: "buy" when { column: "action" value: "pay" value: "cart" } }
            slot { name: "none" when { column: "action" value: "never" } }
            slot { name: "spent" column: "n" when { column: "action" value: "pay" } }
            slot { name: "first" column: "t" update: MIN }
            slot { name: "last_click" column: "t" update: MAX
                   when { column: "kind" value: "2" } } }
    data { events { file: "events.csv" column { name: "y" type: INT } column { name: "t" type: INT }
                    column { name: "item" type: INT } column { name: "other" type: INT }
                    column { name: "before" type: INT } column { name: "action" }
                    column { name: "kind" type: INT } column { name: "n" type: FLOAT } }
           label_column: "y" time_column: "t" split { files { test_file: "test.csv" } } }
    feature { name: "item" column: "item" table: "item" hashing: IDENTITY
              slot_input { slot: "show" as: IIF } slot_input { slot: "buy" as: POPULARITY }
              slot_input { slot: "first" as: AGE } slot_input { slot: "last_click" as: AGE } }
    feature { name: "other" column: "other" table: "item" hashing: IDENTITY }
    feature { name: "before" column: "before" table: "item" hashing: IDENTITY sighting: false }
    model { deepfm {} }
    stage { name: "s" train { pointwise {} micro_batch_size: 4 in_time_order: true } }
    stage { name: "e" evaluate {} })";
  static constexpr int64_t kStart = 1'700'000'000;  // no float holds the seconds after it
  void SetUp() override {
    DataTest::SetUp();
    const auto row = [](int y, int64_t after, const std::string& rest) {
      return std::to_string(y) + "," + std::to_string(kStart + after) + "," + rest + "\n";
    };
    const std::string header = "y,t,item,other,before,action,kind,n\n";
    // The second event names item 7 twice; item 5 is only ever something of the past.
    Write("events.csv", header + row(0, 1, "7,8,5,show,1,1") + row(1, 3, "7,7,5,pay,2,30") +
                            row(1, 7, "8,9,7,cart,2,40") + row(0, 9, "7,9,5,click,3,50"));
    Write("test.csv", header + row(1, 86'401, "7,5,8,show,1,1"));
    source_ = Source(ParseJob(kJob));
  }
  // Time in whole seconds after kStart.
  static int64_t After(float value) { return int64_t{std::bit_cast<uint32_t>(value)} - kStart; }
  std::unique_ptr<BatchSource> source_;
};

TEST_F(CounterFeedTest, AnEventFeedsAKeyOnceAndNothingThatItBringsAlong) {
  const auto planned = source_->Train(StageId(0), Step(0), MicroBatch(0));
  ASSERT_TRUE(planned.ok()) << planned.status().ToString();
  const TableKeys& item = planned->tables[0];
  ASSERT_THAT(item.keys, ElementsAre(7, 8, 9, 5));
  const auto observed = [&item](size_t key, size_t slot) { return item.observed[key * 6 + slot]; };
  // show, buy, none, spent, first, last_click: nothing but what happened.
  EXPECT_THAT(item.observed_mask, ElementsAre(0b111011, 0b110011, 0b110011, 0));
  EXPECT_EQ(observed(0, 0), 3);
  EXPECT_EQ(observed(0, 1), 1);
  EXPECT_EQ(observed(0, 3), 30);
  EXPECT_EQ(After(observed(0, 4)), 1);
  EXPECT_EQ(After(observed(0, 5)), 3);
  EXPECT_EQ(observed(1, 0), 2);
  EXPECT_EQ(observed(1, 1), 1);
  EXPECT_EQ(After(observed(1, 4)), 1);
  EXPECT_EQ(After(observed(1, 5)), 7);
  EXPECT_EQ(observed(2, 0), 2);
  EXPECT_EQ(After(observed(2, 4)), 7);
  // Totals are of keys: three events counted for 7, two each for 8 and 9.
  EXPECT_THAT(item.slot_totals, ElementsAre(7, 3, 0, 30));
  // Popularity counts uses of a key, but none of the past.
  EXPECT_THAT(item.counts, ElementsAre(4, 2, 2, 0));
}

TEST_F(CounterFeedTest, DerivedInputsAreOfTheTableAndTheSamplesOwnTime) {
  auto eval = source_->Eval(StageId(1), EvalSplit::kTest, 0);
  ASSERT_TRUE(eval.ok()) << eval.status().ToString();
  PlannedBatch& planned = eval->planned;
  ASSERT_EQ(planned.tables[0].want_slots, 6u);
  ASSERT_EQ(planned.tables[0].want_totals, 4u);
  const std::vector<uint32_t> dims = {4};
  RowBuffer rows;
  PrepareRows(planned.tables, dims, false, &rows);
  const auto input = [&](float show, float buy, uint32_t first, std::vector<double> totals) {
    rows.slots[0] = std::vector<float>(18);
    rows.slots[0][0] = show;
    rows.slots[0][1] = buy;
    rows.slots[0][4] = std::bit_cast<float>(first);
    rows.slot_totals[0] = std::move(totals);
    FillSlots(rows, planned.slots, &planned.batch);
    return planned.batch.dense;
  };
  const auto near = [](double x) { return FloatNear(static_cast<float>(x), 1e-6f); };
  const uint32_t day_ago = kStart + 1;
  EXPECT_THAT(
      input(9, 3, day_ago, {99, 15, 0, 0}),
      ElementsAre(near(std::log(100 / 10.0) / std::log(100)), near(0.5), near(std::log(2)), 0));
  EXPECT_THAT(input(0, 15, kStart + 100'000, {99, 15, 0, 0}), ElementsAre(1, 1, 0, 0));
  EXPECT_THAT(input(0, 0, 0, {0, 0, 0, 0}), ElementsAre(1, 0, 0, 0));  // nothing was ever counted
  EXPECT_THAT(input(2, 2, 0, {1, 1, 0, 0}), ElementsAre(0, 1, 0, 0));  // rounded above the total
}

TEST_F(CounterFeedTest, ColumnsThatSayNothingOfKindsAreRefused) {
  spec::Job job = ParseJob(kJob);
  job.mutable_table(0)->mutable_slot(1)->mutable_when()->set_column("n");
  const auto dataset = Data(job, "again");
  const auto columns = SlotColumns::Create(*dataset, job);
  ASSERT_FALSE(columns.ok());
  EXPECT_THAT(columns.status().message(), ::testing::HasSubstr("holds no kinds of events"));
}

}  // namespace
}  // namespace emporium::worker
