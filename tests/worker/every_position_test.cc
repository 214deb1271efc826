// Training at every position (SampledSoftmax.every_position): a user's samples as rows of one.
#include <gmock/gmock.h>

#include <algorithm>
#include <map>

#include "tests/worker/data_fixture.h"
#include "worker/key_hash.h"

namespace emporium::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class EveryPositionTest : public DataTest {
 protected:
  // ann: a b c d e f g with a search between b and c; bob: b a c b d; cid: d a.
  void SetUp() override {
    DataTest::SetUp();
    Write("events.csv",
          "time,user,item\n10,ann,a\n20,bob,b\n30,ann,b\n35,ann,\n40,ann,c\n50,bob,a\n60,ann,d\n"
          "70,cid,d\n80,ann,e\n90,bob,c\n100,ann,f\n110,bob,b\n120,cid,a\n130,ann,g\n140,bob,d\n");
  }
  spec::Job Job(const std::string& data, const std::string& softmax,
                const std::string& train = "in_time_order: true") {
    return ParseJob(R"(
      name: "j" seed: 3
      table { name: "items" dim: 4 optimizer { sgd {} } popularity {} }
      feature { name: "item" column: "item" table: "items" }
      data { events { file: "events.csv" column { name: "time" type: INT } column { name: "user" }
                      column { name: "item" } }
             user_column: "user" item_column: "item" time_column: "time" )" +
                    data + R"( }
      model { two_tower { item_feature: "item" } }
      stage { name: "s" train { micro_batch_size: 100 sampled_softmax {
        negatives { all {} } )" +
                    softmax + " } " + train + " } }");
  }
  PlannedBatch First(const spec::Job& job) {
    source_ = Source(job);
    auto batch = source_->Train(StageId(0), Step(0), MicroBatch(0));
    EXPECT_TRUE(batch.ok()) << batch.status().ToString();
    return std::move(batch).value();
  }
  // "abc>d": after a, b and c came d; by row.
  std::vector<std::string> Rows(const PlannedBatch& planned) const {
    const models::Batch& batch = planned.batch;
    const models::CandidateColumns& c = batch.candidates;
    std::vector<std::string> rows;
    for (size_t row = 0; row + 1 < c.positive_offset.size(); ++row) {
      int32_t begin = c.event.empty() ? batch.history.offset[row] : 0;
      const int32_t last = c.event.empty() ? batch.history.offset[row + 1] - 1 : c.event[row];
      for (const int32_t offset : batch.history.offset) {
        begin = !c.event.empty() && offset <= last ? offset : begin;
      }
      std::string text;
      for (int32_t j = begin; j <= last; ++j) {
        text += Name(planned, batch.history.item[static_cast<size_t>(j)]);
      }
      rows.push_back(text + ">" + Listed(planned, c.positive_offset, c.positive, row));
    }
    return rows;
  }
  // Names of the candidates that `list` has for a row.
  std::string Listed(const PlannedBatch& planned, const std::vector<int32_t>& offset,
                     const std::vector<int32_t>& list, size_t row) const {
    std::string text;
    for (int32_t i = offset[row]; i < offset[row + 1]; ++i) {
      const int32_t candidate = list[static_cast<size_t>(i)];
      text += Name(planned, planned.batch.candidates.item[static_cast<size_t>(candidate)]);
    }
    std::sort(text.begin(), text.end());
    return text;
  }

  std::unique_ptr<BatchSource> source_;

 private:
  static std::string Name(const PlannedBatch& planned, int32_t item) {
    const int32_t row = planned.batch.items.id.index[static_cast<size_t>(item)];
    const uint64_t key = planned.tables[0].keys[static_cast<size_t>(row)];
    for (char name = 'a'; name <= 'g'; ++name) {
      if (KeyOfText(std::string(1, name), 0) == key) return std::string(1, name);
    }
    return "?";
  }
};

constexpr const char* kLeaveOneOut = "split { leave_one_out {} }";

TEST_F(EveryPositionTest, AUsersSamplesAreRowsOfOne) {
  const PlannedBatch planned = First(Job(kLeaveOneOut, "every_position: true"));
  // Held back: ann's f and g, bob's b and d, all of cid's.
  EXPECT_EQ(source_->plan(StageId(0)).samples, 2u);
  EXPECT_EQ(planned.batch.samples, 2);
  EXPECT_THAT(planned.batch.history.offset, ElementsAre(0, 4, 6));
  EXPECT_THAT(planned.batch.candidates.event, ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(Rows(planned), ElementsAre("a>b", "ab>c", "abc>d", "abcd>e", "b>a", "ba>c"));
  const models::CandidateColumns& c = planned.batch.candidates;
  std::vector<std::string> masked;
  for (size_t row = 0; row < 6; ++row) {
    masked.push_back(Listed(planned, c.masked_offset, c.masked, row));
  }
  EXPECT_THAT(masked, ElementsAre("a", "ab", "abc", "abcd", "b", "ab")) << "its own past";
  EXPECT_EQ(planned.event_time, 90u);
  std::map<uint64_t, float> sighted;
  for (size_t i = 0; i < planned.tables[0].keys.size(); ++i) {
    sighted[planned.tables[0].keys[i]] = planned.tables[0].counts[i];
  }
  EXPECT_EQ(sighted[KeyOfText("c", 0)], 2);
  EXPECT_EQ(sighted[KeyOfText("d", 0)], 1);
  EXPECT_EQ(sighted[KeyOfText("f", 0)], 0) << "held out";
}

TEST_F(EveryPositionTest, TheNewestHistoryDecidesHowFarBackRowsReach) {
  const std::string data = std::string(kLeaveOneOut) + "history { max_length: 2 }";
  const PlannedBatch planned = First(Job(data, "every_position: true"));
  EXPECT_THAT(Rows(planned), ElementsAre("c>d", "cd>e", "b>a", "ba>c"));
}

TEST_F(EveryPositionTest, RowsAreTheSamplesOneByOne) {
  for (const char* data : {kLeaveOneOut, "history { min_length: 2 }", "history { lag_seconds: 25 }",
                           "split { last_days { test_days: 0.0003 } }"}) {
    for (const std::string softmax : {"", "new_items_only: true"}) {
      std::vector<std::string> apart = Rows(First(Job(data, softmax)));
      std::vector<std::string> together = Rows(First(Job(data, softmax + " every_position: true")));
      std::sort(apart.begin(), apart.end());
      std::sort(together.begin(), together.end());
      EXPECT_EQ(together, apart) << data << softmax;
      EXPECT_GT(apart.size(), 2u);
    }
  }
}

TEST_F(EveryPositionTest, EventsOfOneTimeDoNotKnowEachOther) {
  Write("events.csv", "time,user,item\n10,ann,a\n20,ann,b\n20,ann,c\n30,ann,d\n");
  const PlannedBatch planned = First(Job("", "every_position: true"));
  EXPECT_THAT(planned.batch.candidates.event, ElementsAre(0, 0, 2));
  EXPECT_THAT(Rows(planned), ElementsAre("a>b", "a>c", "abc>d"));
}

TEST_F(EveryPositionTest, AnEventWithoutHistoryIsNoRow) {
  const PlannedBatch planned = First(Job("history { min_length: 0 }", "every_position: true"));
  EXPECT_EQ(planned.batch.samples, 3);
  EXPECT_EQ(planned.batch.candidates.event.size(), 6u + 4 + 1);
}

TEST_F(EveryPositionTest, SaysWhenNobodyHasTwoEvents) {
  Write("events.csv", "time,user,item\n10,ann,a\n20,bob,b\n");
  const spec::Job job = Job("", "every_position: true");
  ASSERT_TRUE(Prepare(job, "prepared").ok());
  const auto source = BatchSource::Open(job, Path("prepared"));
  ASSERT_FALSE(source.ok());
  EXPECT_THAT(source.status().message(), HasSubstr("no training sample is left; 2 were looked"));
}

}  // namespace
}  // namespace emporium::worker
