// Samples with histories, item attributes and sampled items, from text files to batches.
#include <gmock/gmock.h>

#include <map>
#include <set>

#include "tests/worker/data_fixture.h"
#include "worker/key_hash.h"

namespace emporium::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// ann: A B A C at 100, 300, 300, 500; bob: B at 200, D at 600; eve: A at 400.
constexpr const char* kEvents =
    "time,user,item,price,seen,kinds\n"
    "100,ann,A,1,,\n200,bob,B,2,,\n300,ann,B,3,a,x\n300,ann,A,4,a b,x y\n"
    "400,eve,A,5,,\n500,ann,C,6,a b a,x y x\n600,bob,D,7,b,y\n";
constexpr const char* kJob = R"(
  name: "s" seed: 3
  table { name: "items" dim: 4 optimizer { sgd {} } popularity {}
          slot { name: "n" } }
  table { name: "words" dim: 2 optimizer { sgd {} } popularity {} }
  data {
    events { file: "events.csv" column { name: "time" type: INT } column { name: "user" }
             column { name: "item" } column { name: "price" type: FLOAT }
             column { name: "seen" type: TEXT } column { name: "kinds" type: TEXT } }
    items { file: "items.csv" column { name: "item" } column { name: "words" type: TEXT }
            column { name: "brand" } }
    user_column: "user" item_column: "item" time_column: "time" items_key_column: "item"
    split { train_only {} } history { max_length: 2 min_length: 0 }
  }
  feature { name: "price" column: "price" }
  feature { name: "user" column: "user" table: "words" salt: 5 }
  feature { name: "words" column: "words" table: "words" source: ITEM }
  feature { name: "item" column: "item" table: "items" }
  feature { name: "past" column: "item" table: "items" source: HISTORY }
  model { din { pair { target: "item" history: "past" } } }
  stage { name: "t" train { pointwise { negatives { uniform { count: 2 } } } in_time_order: true
                            micro_batch_size: 100 } })";

class PointwiseSequencesTest : public DataTest {
 protected:
  void SetUp() override {
    DataTest::SetUp();
    Write("items.csv", "item,words,brand\nA,red tea,u\nB,tea,u\nC,,v\nD,blue,w\nE,red,w\n");
    Write("events.csv", kEvents);
  }
  static spec::Job Changed(const std::string& from, const std::string& to,
                           std::string text = kJob) {
    return ParseJob(text.replace(text.find(from), from.size(), to));
  }
  static PlannedBatch First(const BatchSource& source) {
    auto batch = source.Train(StageId(0), Step(0), MicroBatch(0));
    EXPECT_TRUE(batch.ok()) << batch.status().ToString();
    return std::move(batch).value();
  }
  static const models::RowLists& Field(const models::Batch& batch, const std::string& name) {
    for (const models::FieldColumn& field : batch.fields) {
      if (field.feature == name) return field.rows;
    }
    ADD_FAILURE() << "no field " << name;
    return batch.fields.front().rows;
  }
  // The keys of each sample by their texts, which are one letter or word each.
  static std::vector<std::string> Texts(const PlannedBatch& planned, const std::string& name) {
    std::map<uint64_t, std::string> text_of;
    for (const char* text : {"A", "B", "C", "D", "E", "a", "b", "x", "y", "red", "tea", "blue"}) {
      text_of[KeyOfText(text, 0)] = text;
    }
    const models::RowLists& rows = Field(planned.batch, name);
    std::vector<std::string> texts;
    for (int32_t i = 0; i < rows.lists(); ++i) {
      texts.emplace_back();
      for (int32_t k = rows.offset[i]; k < rows.offset[i + 1]; ++k) {
        const auto index = static_cast<size_t>(rows.index[static_cast<size_t>(k)]);
        const uint64_t key = planned.tables.at(rows.table.value()).keys.at(index);
        texts.back() += text_of.at(key);
      }
    }
    return texts;
  }
};

TEST_F(PointwiseSequencesTest, HistoriesEndBeforeTheSample) {
  const std::string labelled =
      std::string(kJob).replace(std::string(kJob).find("history {"), 0, "label_column: \"price\" ");
  const auto source = Source(Changed("negatives { uniform { count: 2 } }", "", labelled));
  const PlannedBatch planned = First(*source);
  // ann's two events at 300 do not see each other; two events at most, oldest first.
  EXPECT_THAT(Texts(planned, "past"), ElementsAre("", "", "A", "A", "", "BA", "B"));
  EXPECT_THAT(Texts(planned, "item"), ElementsAre("A", "B", "B", "A", "A", "C", "D"));
  EXPECT_THAT(Texts(planned, "words"),
              ElementsAre("redtea", "tea", "tea", "redtea", "redtea", "", "blue"));
  EXPECT_THAT(planned.batch.label, ElementsAre(1, 1, 1, 1, 1, 1, 1));
  std::vector<std::string> order;
  for (const models::FieldColumn& field : planned.batch.fields) order.push_back(field.feature);
  EXPECT_THAT(order, ElementsAre("user", "words", "item", "past"));
}

TEST_F(PointwiseSequencesTest, ByPositionWhereTheLastEventsAreLeftOut) {
  const auto source = Source(Changed("train_only {}", "leave_one_out {}"));
  // ann: C is test, the second A validation; bob: D test, B validation; eve: A test.
  const PlannedBatch planned = First(*source);
  const auto past = Texts(planned, "past");
  EXPECT_THAT(std::vector<std::string>(past.begin(), past.begin() + 2), ElementsAre("", "A"));
}

TEST_F(PointwiseSequencesTest, SamplesWithoutEnoughHistoryDoNotTrain) {
  EXPECT_EQ(Source(Changed("min_length: 0", "min_length: 1"))->plan(StageId(0)).samples, 4u);
  EXPECT_EQ(Source(Changed("min_length: 0", "min_length: 2"))->plan(StageId(0)).samples, 1u);
  // A lag hides what lies less than so many seconds back.
  const auto source = Source(Changed("min_length: 0", "min_length: 1 lag_seconds: 250"));
  EXPECT_THAT(Texts(First(*source), "past"), ElementsAre("A", "B", "A", "A", "B", "B"));
}

TEST_F(PointwiseSequencesTest, NegativesTakeTheItemsPlace) {
  const auto source = Source(ParseJob(kJob));
  const PlannedBatch planned = First(*source);
  const models::Batch& batch = planned.batch;
  ASSERT_EQ(batch.samples, 7 + 14);
  EXPECT_EQ(source->plan(StageId(0)).samples, 7u);
  EXPECT_THAT(std::vector<float>(batch.label.begin() + 7, batch.label.end()),
              ::testing::Each(0.0f));
  const auto item = Texts(planned, "item");
  const auto past = Texts(planned, "past");
  const auto words = Texts(planned, "words");
  const std::map<std::string, std::string> words_of = {
      {"A", "redtea"}, {"B", "tea"}, {"C", ""}, {"D", "blue"}, {"E", "red"}};
  const std::vector<std::string> had = {"A", "B", "AB", "AB", "A", "ABC", "BD"};
  for (size_t i = 7; i < 21; ++i) {
    const size_t event = (i - 7) / 2;
    EXPECT_EQ(had[event].find(item[i]), std::string::npos) << event << item[i];
    EXPECT_EQ(past[i], past[event]);
    EXPECT_EQ(words[i], words_of.at(item[i]));
    EXPECT_EQ(batch.dense[i], static_cast<float>(event + 1));
    EXPECT_EQ(Field(batch, "user").index[i], Field(batch, "user").index[event]);
  }
  // The events alone are sightings, of their items and words, and feed slots.
  const TableKeys& items = planned.tables[0];
  std::map<std::string, float> sighted;
  for (size_t i = 0; i < item.size(); ++i) {
    const auto at = static_cast<size_t>(Field(batch, "item").index[i]);
    sighted[item[i]] = items.counts[at];
    EXPECT_EQ((items.observed_mask[at] & 1) != 0, items.counts[at] > 0);
  }
  for (const auto& [name, count] : sighted) {
    EXPECT_EQ(count, name == "A" ? 3 : name == "B" ? 2 : name == "E" ? 0 : 1) << name;
  }
}

TEST_F(PointwiseSequencesTest, DrawsAreAFunctionOfSeedStageStepAndMicroBatch) {
  const std::string sizes = "micro_batch_size: 2 micro_batches_per_step: 2 epochs: 2";
  const auto items = [&](const BatchSource& source, uint64_t step, uint32_t m) {
    return Texts(*source.Train(StageId(0), Step(step), MicroBatch(m)), "item");
  };
  const auto source = Source(Changed("micro_batch_size: 100", sizes));
  EXPECT_EQ(items(*source, 1, 0), items(*source, 1, 0));
  std::set<std::vector<std::string>> drawn;  // by one event in several epochs and by other seeds
  for (const char* seed : {"seed: 3", "seed: 4", "seed: 5"}) {
    std::string text = kJob;
    text.replace(text.find("seed: 3"), 7, seed);
    const auto other = Source(Changed("micro_batch_size: 100", sizes, text), seed);
    for (const uint64_t step : {0, 2}) drawn.insert(items(*other, step, 0));
  }
  EXPECT_GT(drawn.size(), 2u);
}

TEST_F(PointwiseSequencesTest, WhoHadAlmostAllGetsFewerNegatives) {
  Write("items.csv", "item,words,brand\nA,red tea,u\nB,tea,u\nC,,v\nD,blue,w\n");
  const PlannedBatch planned = First(*Source(ParseJob(kJob)));
  EXPECT_EQ(planned.batch.samples, 7 + 14);  // each has one left at least
  Write("items.csv", "item,words,brand\n");
  Write("events.csv", "time,user,item,price,seen,kinds\n1,ann,A,1,,\n2,ann,B,1,,\n");
  const PlannedBatch few = First(*Source(ParseJob(kJob)));
  const auto item = Texts(few, "item");
  EXPECT_THAT(item, ElementsAre("A", "B", "B", "B"));  // of the second event nothing is left
}

TEST_F(PointwiseSequencesTest, UnigramDrawsWhatHasEvents) {
  const auto source = Source(Changed("uniform { count: 2 }", "unigram { count: 9 }"));
  for (const std::string& item : Texts(First(*source), "item")) EXPECT_NE(item, "E");
}

TEST_F(PointwiseSequencesTest, ListsOfARowAreSequencesToo) {
  std::string text = kJob;
  const std::string from = text.substr(text.find("  feature { name: \"item\""));
  text = text.substr(0, text.size() - from.size()) + R"(
    feature { name: "brand" column: "brand" table: "items" source: ITEM }
    feature { name: "seen" column: "seen" table: "items" }
    feature { name: "kind" column: "brand" table: "words" source: ITEM }
    feature { name: "kinds" column: "kinds" table: "words" }
    model { din { feature: "user" pair { target: "brand" history: "seen" }
                  pair { target: "kind" history: "kinds" } } }
    stage { name: "t" train { pointwise { negatives { uniform { count: 1 } } } in_time_order: true
                              micro_batch_size: 100 } })";
  const PlannedBatch planned = First(*Source(ParseJob(text)));
  const auto seen = Texts(planned, "seen");
  EXPECT_THAT(std::vector<std::string>(seen.begin(), seen.begin() + 7),
              ElementsAre("", "", "a", "ab", "", "aba", "b"));
  EXPECT_EQ(Texts(planned, "kinds")[5], "xyx");
  EXPECT_EQ(seen[7 + 5], "aba");

  Write("events.csv", "time,user,item,price,seen,kinds\n1,ann,A,1,a b,x\n");
  const auto source = Source(ParseJob(text));
  EXPECT_THAT(source->Train(StageId(0), Step(0), MicroBatch(0)).status().message(),
              HasSubstr("\"seen\" and \"kinds\": event 0 has not equally many keys in both"));
}

TEST_F(PointwiseSequencesTest, ANamModelGetsItsQueryKindsAgesAndWhatTheTableKnows) {
  std::string text = kJob;
  const std::string slots =
      " slot { name: \"z\" update: LOG_EMA fed_by_model: true }"
      " slot { name: \"y\" update: LOG_EMA fed_by_model: true } ";
  text.insert(text.find("slot { name: \"n\" }"), slots);
  const std::string from = text.substr(text.find("  model {"));
  text = text.substr(0, text.size() - from.size()) + R"(
    feature { name: "acts" column: "item" table: "words" source: HISTORY }
    model { nam { pair { target: "item" history: "past" } query: "words" action_feature: "acts"
                  gap_edges_days: 1 target_slot: "z" event_slot: "y" } }
    stage { name: "t" train { pointwise { negatives { uniform { count: 1 } } } in_time_order: true
                              micro_batch_size: 100 } }
    stage { name: "e" evaluate { sampled_negatives: 1 } })";
  text.replace(text.find("train_only {}"), 13, "leave_one_out {}");
  const auto source = Source(ParseJob(text));
  const PlannedBatch planned = First(*source);
  std::vector<std::string> order;
  for (const models::FieldColumn& field : planned.batch.fields) order.push_back(field.feature);
  EXPECT_THAT(order, ElementsAre("user", "item", "past", "words", "acts"));
  // Ann's first two events train, the second saw A and B at one time; then both once more.
  EXPECT_THAT(Texts(planned, "past"), ElementsAre("", "A", "", "A"));
  EXPECT_THAT(Texts(planned, "acts"), ElementsAre("", "A", "", "A"));
  const auto day = static_cast<float>(200.0 / 86400);
  EXPECT_THAT(planned.batch.event_age_days, ElementsAre(day, day));
  const TableKeys& items = planned.tables[0];
  EXPECT_TRUE(items.want_popularity);
  EXPECT_FALSE(planned.tables[1].want_popularity);
  EXPECT_EQ(items.want_slots, 3u);
  EXPECT_EQ(items.observed.size(), 3 * items.keys.size());
  // Events feed the count alone; there is room for what the model will observe.
  for (const uint32_t mask : items.observed_mask) EXPECT_EQ(mask & 3u, 0u);
  const auto eval = source->Eval(StageId(1), EvalSplit::kTest, 0);
  ASSERT_TRUE(eval.ok()) << eval.status().ToString();
  EXPECT_TRUE(eval->planned.tables[0].want_popularity);
  EXPECT_EQ(eval->planned.tables[0].want_slots, 3u);
  EXPECT_THAT(eval->planned.tables[0].observed, IsEmpty());
}

TEST_F(PointwiseSequencesTest, EvaluatedEventsAreRankedAmongItemsTheirUserNeverHad) {
  std::string text = kJob;
  text.replace(text.find("train_only {}"), 13, "leave_one_out {}");
  const auto source = Source(ParseJob(text + " stage { name: \"e\" evaluate { k: 1 k: 2 "
                                             "sampled_negatives: 2 } }"));
  ASSERT_EQ(source->EvalChunks(StageId(1), EvalSplit::kTest), 1);
  const auto eval = source->Eval(StageId(1), EvalSplit::kTest, 0);
  ASSERT_TRUE(eval.ok());
  EXPECT_THAT(eval->ranked_offset, ElementsAre(0, 2, 4, 6));  // eve, ann, bob by time
  const auto item = Texts(eval->planned, "item");
  EXPECT_THAT(std::vector<std::string>(item.begin(), item.begin() + 3), ElementsAre("A", "C", "D"));
  for (size_t i = 3; i < item.size(); ++i) {
    EXPECT_EQ(std::string(source->dataset().item_id(eval->ranked_item[i - 3])), item[i]);
    const char* const had[] = {"A", "ABC", "BD"};
    EXPECT_EQ(std::string(had[(i - 3) / 2]).find(item[i]), std::string::npos);
  }
  // Another stage asks the same questions.
  const auto again = Source(ParseJob(text + " stage { name: \"x\" evaluate {} } stage { name: "
                                            "\"e\" evaluate { sampled_negatives: 2 } }"));
  EXPECT_EQ(again->Eval(StageId(2), EvalSplit::kTest, 0)->ranked_item, eval->ranked_item);
  EXPECT_THAT(again->Eval(StageId(1), EvalSplit::kTest, 0)->ranked_offset, IsEmpty());
}

TEST_F(PointwiseSequencesTest, ALargeEvaluationComesInSmallerChunks) {
  std::string events = "time,user,item,price,seen,kinds\n";
  for (int i = 0; i < 400; ++i) {
    events +=
        std::to_string(i) + ",u" + std::to_string(i / 2) + ",i" + std::to_string(i) + ",1,,\n";
  }
  Write("events.csv", events);
  std::string text = kJob;
  text.replace(text.find("train_only {}"), 13, "last_days { test_days: 0.001 }");
  text += " stage { name: \"e\" evaluate { sampled_negatives: 99 } }";
  const auto source = Source(ParseJob(text));
  const int64_t chunks = source->EvalChunks(StageId(1), EvalSplit::kTest);
  ASSERT_EQ(chunks, 3);  // 87 events, 40 a chunk
  std::map<int32_t, std::vector<int32_t>> of_user;
  for (int64_t c = 0; c < chunks; ++c) {
    const auto eval = source->Eval(StageId(1), EvalSplit::kTest, c);
    ASSERT_TRUE(eval.ok());
    EXPECT_EQ(eval->planned.batch.samples, static_cast<int32_t>(eval->item.size()) * 100);
    for (size_t i = 0; i < eval->item.size(); ++i) {
      const auto begin = eval->ranked_item.begin() + eval->ranked_offset[i];
      const std::vector<int32_t> items(begin, begin + 99);
      EXPECT_EQ(std::set<int32_t>(items.begin(), items.end()).size(), 99u);
      const auto user = static_cast<int32_t>(eval->group[0][i]);
      EXPECT_EQ(of_user.try_emplace(user, items).first->second, items);  // by the user alone
    }
  }
}

}  // namespace
}  // namespace emporium::worker
