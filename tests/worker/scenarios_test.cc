// Scenarios from text files to batches: who carries them, what is refused, and which items are
// sampled in them.
#include <gmock/gmock.h>

#include <map>
#include <set>

#include "tests/worker/data_fixture.h"

namespace emporium::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Six items of the shop, six of the web; both sold G and H.
constexpr const char* kJob = R"(
  name: "s" seed: 3
  table { name: "items" dim: 4 optimizer { sgd {} } }
  data {
    events { file: "events.csv" column { name: "time" type: INT } column { name: "user" }
             column { name: "item" } column { name: "place" } column { name: "code" type: INT } }
    user_column: "user" item_column: "item" time_column: "time"
    split { leave_one_out {} } history { max_length: 4 min_length: 0 }
    scenario { column: "place" value: "web" value: "shop" }
  }
  feature { name: "item" column: "item" table: "items" }
  model { scenario_bottom {} }
  stage { name: "t" train { pointwise { negatives { uniform { count: 2 } }
                                        negatives { unigram { count: 1 } } }
                            in_time_order: true micro_batch_size: 100 } }
  stage { name: "e" evaluate { sampled_negatives: 2 } })";

class ScenariosTest : public DataTest {
 protected:
  void SetUp() override {
    DataTest::SetUp();
    events_ = "time,user,item,place,code\n";
    const std::string items[] = {"ABCDEFGH", "UVWXYZGH"};
    for (int t = 0; t < 48; ++t) {
      const int of = (t / 3) % 2;  // users go to and fro
      events_ += std::to_string(t) + ",u" + std::to_string(t % 4) + "," +
                 items[of][static_cast<size_t>(t * 5 % 8)] + "," +
                 (of == 0 ? "shop,-7" : "web,12") + "\n";
    }
    Write("events.csv", events_);
  }
  static spec::Job Changed(const std::string& from, const std::string& to) {
    std::string text = kJob;
    return ParseJob(text.replace(text.find(from), from.size(), to));
  }
  static PlannedBatch First(const BatchSource& source) {
    auto batch = source.Train(StageId(0), Step(0), MicroBatch(0));
    EXPECT_TRUE(batch.ok()) << batch.status().ToString();
    return std::move(batch).value();
  }
  std::string Refusal(const spec::Job& job, const std::string& out) const {
    Data(job, out);
    const auto source = BatchSource::Open(job, Path(out));
    return source.ok() ? "accepted" : source.status().message();
  }

  std::string events_;
};

TEST_F(ScenariosTest, SampledItemsCarryTheirEventsScenario) {
  const auto source = Source(ParseJob(kJob));
  const models::Batch batch = First(*source).batch;
  const size_t events = static_cast<size_t>(source->plan(StageId(0)).samples);
  ASSERT_EQ(events, 40u);  // four users, two events of each held out
  ASSERT_EQ(batch.scenario.size(), static_cast<size_t>(batch.samples));
  ASSERT_EQ(batch.scenario.size(), 4 * events);
  const auto places = source->dataset().event_column("place");
  for (size_t i = 0; i < events; ++i) {
    const bool web = places->text(places->codes[i]) == "web";
    EXPECT_EQ(batch.scenario[i], web ? 0 : 1);
    for (size_t k = 0; k < 3; ++k) {
      EXPECT_EQ(batch.scenario[events + 3 * i + k], batch.scenario[i]);
    }
  }
}

TEST_F(ScenariosTest, OnlyModelsThatTellThemApartGetThem) {
  const auto source = Source(Changed("scenario_bottom {}", "dnn { mlp { hidden: 2 } }"));
  EXPECT_THAT(First(*source).batch.scenario, IsEmpty());
}

TEST_F(ScenariosTest, AnIntColumnHasThemToo) {
  const auto source = Source(ParseJob(kJob));
  const auto by_number = Source(Changed("column: \"place\" value: \"web\" value: \"shop\"",
                                        "column: \"code\" value: \"12\" value: \"-7\""),
                                "by_number");
  EXPECT_EQ(First(*by_number).batch.scenario, First(*source).batch.scenario);
}

TEST_F(ScenariosTest, RefusesAValueThatIsNotListed) {
  EXPECT_THAT(Refusal(Changed("value: \"web\" ", ""), "a"),
              HasSubstr("data.scenario: column \"place\" is \"web\" in event 3 of 48 (from 0, in "
                        "the order of time), and the job lists no such value; add value: \"web\""));
  EXPECT_THAT(Refusal(Changed("column: \"place\" value: \"web\" value: \"shop\"",
                              "column: \"code\" value: \"12\""),
                      "b"),
              HasSubstr("column \"code\" is \"-7\" in event 0 of 48"));
  EXPECT_THAT(
      Refusal(Changed("scenario { column: \"place\" value: \"web\" value: \"shop\" }", ""), "c"),
      HasSubstr("data.scenario: a scenario_bottom model tells scenarios apart"));
}

// What is sampled in an event's place, in training and evaluation, occurs in its scenario.
TEST_F(ScenariosTest, ItemsAreSampledOfTheEventsScenario) {
  for (const char* model : {"scenario_bottom {}", "dnn { mlp { hidden: 2 } }"}) {
    const auto source = Source(Changed("scenario_bottom {}", model), model);
    const Dataset& data = source->dataset();
    const auto places = data.event_column("place");
    const auto web = [&](int64_t event) {
      return places->text(places->codes[static_cast<size_t>(event)]) == "web";
    };
    const std::string sold[] = {"ABCDEFGH", "UVWXYZGH"};
    const PlannedBatch planned = First(*source);
    const models::RowLists& rows = planned.batch.fields[0].rows;
    // The item of each row, by the events that have it.
    std::map<int32_t, std::string> item_of;
    for (size_t e = 0; e < 40; ++e) {
      item_of[rows.index[e]] = data.item_id(data.event_item()[e]);
    }
    std::set<std::string> drawn[2];
    for (size_t i = 40; i < rows.index.size(); ++i) {
      const bool of_web = web(static_cast<int64_t>(i - 40) / 3);
      const std::string& item = item_of.at(rows.index[i]);
      EXPECT_NE(sold[of_web ? 1 : 0].find(item), std::string::npos) << item;
      drawn[of_web ? 1 : 0].insert(item);
    }
    EXPECT_GT(drawn[0].size(), 4u);
    EXPECT_GT(drawn[1].size(), 4u);
    const auto eval = source->Eval(StageId(1), EvalSplit::kTest, 0);
    ASSERT_TRUE(eval.ok()) << eval.status().ToString();
    ASSERT_EQ(eval->item.size(), 4u);
    for (size_t i = 0; i < 4; ++i) {
      const bool of_web = web(44 + static_cast<int64_t>(i));
      for (int32_t k = eval->ranked_offset[i]; k < eval->ranked_offset[i + 1]; ++k) {
        const std::string item(data.item_id(eval->ranked_item[static_cast<size_t>(k)]));
        EXPECT_NE(sold[of_web ? 1 : 0].find(item), std::string::npos) << item;
      }
    }
  }
}

// A model that ranks items ranks those of the held-out event's scenario that the user has not had.
TEST_F(ScenariosTest, OtherScenariosItemsAreNotRanked) {
  // What is held out is new to its user.
  Write("events.csv",
        events_ + "48,u0,I,shop,-7\n49,u1,J,web,12\n50,u2,I,shop,-7\n51,u3,J,web,12\n");
  std::string text = kJob;
  text = text.substr(0, text.find("  model {")) + R"(
    model { sasrec { item_feature: "item" } }
    stage { name: "t" train { sampled_softmax { negatives { uniform { count: 2 } } } } }
    stage { name: "e" evaluate {} })";
  const auto source = Source(ParseJob(text));
  const Dataset& data = source->dataset();
  const auto eval = source->Eval(StageId(1), EvalSplit::kTest, 0);
  ASSERT_TRUE(eval.ok()) << eval.status().ToString();
  ASSERT_EQ(eval->user.size(), 4u);
  const auto places = data.event_column("place");
  for (size_t u = 0; u < eval->user.size(); ++u) {
    const std::span<const int32_t> events = data.events_of_user(eval->user[u]);
    const bool web = places->text(places->codes[static_cast<size_t>(events.back())]) == "web";
    std::set<std::string> expected;
    for (const char item : std::string("ABCDEFGHIJUVWXYZ")) {
      const std::string sold = web ? "UVWXYZGHJ" : "ABCDEFGHI";
      if (sold.find(item) == std::string::npos) expected.insert(std::string(1, item));
    }
    for (const int32_t event : events.first(events.size() - 1)) {
      expected.emplace(data.item_id(data.event_item()[static_cast<size_t>(event)]));
    }
    std::multiset<std::string> masked;
    for (int32_t k = eval->masked_offset[u]; k < eval->masked_offset[u + 1]; ++k) {
      masked.emplace(data.item_id(eval->masked[static_cast<size_t>(k)]));
    }
    EXPECT_EQ(masked, std::multiset<std::string>(expected.begin(), expected.end()));
  }
  EXPECT_THAT(Refusal(ParseJob(text.replace(text.find("leave_one_out"), 13, "train_only")), "t"),
              HasSubstr("use split { leave_one_out {} }"));
}

}  // namespace
}  // namespace emporium::worker
