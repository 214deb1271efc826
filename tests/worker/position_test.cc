// The place of each sample, and the features of the position tower, from text files to batches.
#include <gmock/gmock.h>

#include "tests/worker/data_fixture.h"

namespace emporium::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kEvents =
    "time,user,item,place,device\n"
    "100,ann,A,1,web\n200,bob,B,0,app\n300,ann,B,-3,app\n400,eve,C,5000000000,web\n";
constexpr const char* kJob = R"(
  name: "p" seed: 3
  table { name: "t" dim: 4 optimizer { sgd {} } }
  table { name: "line" dim: 1 optimizer { sgd {} } }
  data {
    events { file: "events.csv" column { name: "time" type: INT } column { name: "user" }
             column { name: "item" } column { name: "place" type: INT } column { name: "device" } }
    user_column: "user" item_column: "item" time_column: "time"
    split { train_only {} } history { min_length: 0 }
  }
  feature { name: "device" column: "device" table: "t" salt: 2 }
  feature { name: "item" column: "item" table: "t" }
  feature { name: "user" column: "user" table: "t" salt: 1 }
  model { fm { linear_table: "line" } position { column: "place" with: "device" } }
  stage { name: "t" train { pointwise { negatives { uniform { count: 1 } } } in_time_order: true
                            micro_batch_size: 100 } })";

class PositionTest : public DataTest {
 protected:
  void SetUp() override {
    DataTest::SetUp();
    Write("events.csv", kEvents);
  }
};

TEST_F(PositionTest, EverySampleHasThePlaceOfItsEvent) {
  const auto source = Source(ParseJob(kJob));
  const auto planned = source->Train(StageId(0), Step(0), MicroBatch(0));
  ASSERT_TRUE(planned.ok()) << planned.status().ToString();
  const models::Batch& batch = planned->batch;
  ASSERT_EQ(batch.samples, 8);  // a sampled item each
  constexpr int32_t kLast = 2147483647;
  EXPECT_THAT(batch.place, ElementsAre(1, 0, 0, kLast, 1, 0, 0, kLast));
}

TEST_F(PositionTest, ItsFeaturesStandBehindTheModelsAndHaveNoLinearPart) {
  const auto source = Source(ParseJob(kJob));
  const auto planned = source->Train(StageId(0), Step(0), MicroBatch(0));
  ASSERT_TRUE(planned.ok()) << planned.status().ToString();
  std::vector<std::string> names;
  for (const models::FieldColumn& field : planned->batch.fields) {
    names.push_back(field.feature + std::to_string(field.rows.table.value()));
    EXPECT_EQ(field.rows.lists(), 8);
  }
  EXPECT_THAT(names, ElementsAre("item0", "user0", "device0", "item1", "user1"));
}

TEST_F(PositionTest, WithoutATowerThereAreNoPlaces) {
  const std::string text = kJob;
  const std::string tower = " position { column: \"place\" with: \"device\" }";
  const auto source = Source(ParseJob(std::string(text).erase(text.find(tower), tower.size())));
  const auto planned = source->Train(StageId(0), Step(0), MicroBatch(0));
  ASSERT_TRUE(planned.ok()) << planned.status().ToString();
  EXPECT_TRUE(planned->batch.place.empty());
}

TEST_F(PositionTest, TheColumnHasNumbers) {
  std::string text = kJob;
  text.replace(text.find("column: \"place\""), 15, "column: \"device\"");
  const spec::Job job = ParseJob(text);
  ASSERT_TRUE(Prepare(job, "prepared").ok());
  const auto source = BatchSource::Open(job, Path("prepared"));
  ASSERT_FALSE(source.ok());
  EXPECT_THAT(source.status().message(),
              HasSubstr("model.position.column: \"device\" must be an INT column"));
}

}  // namespace
}  // namespace emporium::worker
