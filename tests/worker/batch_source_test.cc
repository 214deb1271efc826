#include "worker/batch_source.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "tests/worker/data_fixture.h"
#include "worker/facts.h"
#include "worker/key_hash.h"
#include "worker/synthetic.h"

namespace emporium::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

constexpr const char* kTables = R"(
  name: "j" seed: 3
  table { name: "items" dim: 4 optimizer { sgd {} } popularity {} }
  table { name: "words" dim: 4 optimizer { sgd {} } }
  table { name: "actions" dim: 4 optimizer { sgd {} } }
  feature { name: "item" column: "item" table: "items" source: ITEM }
  feature { name: "title" column: "title" table: "words" source: ITEM min_count: 2 }
  feature { name: "action" column: "action" table: "actions" source: HISTORY salt: 9 }
  feature { name: "query" column: "query" table: "words" source: HISTORY }
  feature { name: "module" column: "module" table: "actions" }
)";
constexpr const char* kEvents = R"(
  events { file: "events.csv" column { name: "time" type: INT } column { name: "user" }
           column { name: "item" } column { name: "action" }
           column { name: "query" type: TEXT } column { name: "module" }
           column { name: "label" type: INT } }
  items { file: "items.csv" column { name: "item" } column { name: "title" type: TEXT } }
  user_column: "user" item_column: "item" time_column: "time"
  items_key_column: "item" items_title_column: "title"
)";

class BatchSourceTest : public DataTest {
 protected:
  void SetUp() override {
    DataTest::SetUp();
    Write("items.csv", "item,title\nA,red shoes\nB,red tea\nC,green tea\nD,blue rare\n");
    Write("events.csv",
          "time,user,item,action,query,module,label\n"
          "100,ann,A,view,,m1,1\n200,bob,B,view,,m1,0\n300,ann,,search,red Tea,m2,0\n"
          "400,ann,B,buy,,m1,1\n500,bob,A,view,,m2,1\n600,ann,A,view,,m1,0\n"
          "700,ann,C,buy,,m2,1\n800,bob,C,view,,m1,0\n900,bob,A,view,,m1,1\n"
          "1000,ann,D,view,,m1,0\n");
  }
  spec::Job Job(const std::string& data, const std::string& tower, const std::string& stages) {
    return ParseJob(std::string(kTables) + "data {" + kEvents + data +
                    "} model { two_tower { item_feature: \"item\" title_feature: \"title\" " +
                    tower + "} } " + stages);
  }
  static std::string TrainStage(const std::string& loss, int size = 100) {
    return "stage { name: \"s\" train { " + loss + " micro_batch_size: " + std::to_string(size) +
           " in_time_order: true } }";
  }
  static PlannedBatch First(const BatchSource& source) {
    auto batch = source.Train(StageId(0), Step(0), MicroBatch(0));
    EXPECT_TRUE(batch.ok()) << batch.status().ToString();
    return std::move(batch).value();
  }
  static const TableKeys& Table(const PlannedBatch& planned, uint16_t id) {
    for (const TableKeys& table : planned.tables) {
      if (table.table == TableId(id)) {
        return table;
      }
    }
    ADD_FAILURE() << "no table " << id;
    return planned.tables.front();
  }
  // Name of each item of the batch, by its key.
  static std::vector<std::string> ItemNames(const PlannedBatch& planned) {
    std::vector<std::string> names;
    for (const int32_t index : planned.batch.items.id.index) {
      const uint64_t key = Table(planned, 0).keys.at(static_cast<size_t>(index));
      for (const char* name : {"A", "B", "C", "D"}) {
        if (KeyOfText(name, 0) == key) {
          names.emplace_back(name);
        }
      }
    }
    EXPECT_EQ(names.size(), static_cast<size_t>(planned.batch.items.count));
    return names;
  }
  // Items of candidates listed in `lists` for each row, as text.
  static std::vector<std::string> Rows(const PlannedBatch& planned,
                                       const std::vector<int32_t>& offset,
                                       const std::vector<int32_t>& list) {
    const auto names = ItemNames(planned);
    std::vector<std::string> rows;
    for (size_t row = 0; row + 1 < offset.size(); ++row) {
      std::string text;
      for (int32_t i = offset[row]; i < offset[row + 1]; ++i) {
        const int32_t item =
            planned.batch.candidates.item.at(static_cast<size_t>(list[static_cast<size_t>(i)]));
        text += names[static_cast<size_t>(item)];
      }
      std::sort(text.begin(), text.end());
      rows.push_back(text);
    }
    return rows;
  }
};

TEST_F(BatchSourceTest, HistoriesHoldItemsActionsAndSearches) {
  const auto source = Source(Job("", "action_feature: \"action\" query_feature: \"query\"",
                                 TrainStage("sampled_softmax { negatives { in_batch {} } }")));
  const PlannedBatch planned = First(*source);
  const models::HistoryColumns& history = planned.batch.history;
  // Samples with a history: ann's B (400), bob's A (500), ann's A, ann's C, bob's C, bob's A, ann's
  // D.
  ASSERT_EQ(planned.batch.samples, 7);
  EXPECT_THAT(history.offset, ElementsAre(0, 2, 3, 6, 10, 12, 15, 20));
  const auto names = ItemNames(planned);
  std::string last;  // ann's history as of D, oldest first
  for (int32_t i = history.offset[6]; i < history.offset[7]; ++i) {
    const int32_t item = history.item[static_cast<size_t>(i)];
    last += item < 0 ? "?" : names[static_cast<size_t>(item)];
  }
  EXPECT_EQ(last, "A?BAC");
  EXPECT_FLOAT_EQ(history.age_days[15], 900.0f / 86400);
  EXPECT_EQ(history.action.lists(), 20);
  EXPECT_EQ(Table(planned, 2).keys[static_cast<size_t>(history.action.index[16])],
            KeyOfText("search", 9));
  EXPECT_EQ(history.query.lists(), 20);
  EXPECT_EQ(history.query.offset[16], history.query.offset[15]);  // an item event has no words
  ASSERT_EQ(history.query.offset[17] - history.query.offset[16], 2);
  const auto word = static_cast<size_t>(history.query.offset[16]);
  EXPECT_EQ(Table(planned, 1).keys[static_cast<size_t>(history.query.index[word])],
            KeyOfText("red", 0));
}

TEST_F(BatchSourceTest, WithoutAQueryFeatureSearchesAreNotInHistories) {
  const auto source = Source(Job("", "", TrainStage("sampled_softmax { negatives { all {} } }")));
  const PlannedBatch planned = First(*source);
  EXPECT_EQ(planned.batch.samples, 7);
  for (const int32_t item : planned.batch.history.item) {
    EXPECT_GE(item, 0);
  }
  EXPECT_EQ(planned.batch.history.query.lists(), 0);
}

TEST_F(BatchSourceTest, TitlesDropRareWordsByDistinctItems) {
  const auto source = Source(Job("", "", TrainStage("sampled_softmax { negatives { all {} } }")));
  const PlannedBatch planned = First(*source);
  const models::ItemColumns& items = planned.batch.items;
  ASSERT_EQ(items.title.lists(), 4);
  EXPECT_THAT(Table(planned, 1).keys,
              UnorderedElementsAre(KeyOfText("red", 0), KeyOfText("tea", 0)));
  const auto names = ItemNames(planned);
  std::map<std::string, int> words;
  for (size_t i = 0; i < 4; ++i) {
    words[names[i]] = items.title.offset[i + 1] - items.title.offset[i];
  }
  EXPECT_EQ(words, (std::map<std::string, int>{{"A", 1}, {"B", 2}, {"C", 1}, {"D", 0}}));
}

TEST_F(BatchSourceTest, AllNegativesMaskThePastAndCountPositives) {
  const auto source = Source(
      Job("", "", TrainStage("sampled_softmax { negatives { all {} } new_items_only: true }")));
  const PlannedBatch planned = First(*source);
  const models::CandidateColumns& c = planned.batch.candidates;
  EXPECT_THAT(Rows(planned, c.positive_offset, c.positive), ElementsAre("B", "A", "C", "C", "D"));
  EXPECT_THAT(Rows(planned, c.masked_offset, c.masked), ElementsAre("A", "B", "AB", "AB", "ABC"));
  EXPECT_EQ(c.item.size(), 4u);
  EXPECT_THAT(c.sampled, ElementsAre(1, 1, 1, 1));
  EXPECT_THAT(c.log_q, ElementsAre(0, 0, 0, 0));
  EXPECT_TRUE(c.in_batch.empty());
  const TableKeys& items = Table(planned, 0);
  EXPECT_FALSE(items.want_popularity);
  std::map<uint64_t, float> counts;
  for (size_t i = 0; i < items.keys.size(); ++i) {
    counts[items.keys[i]] = items.counts[i];
  }
  EXPECT_EQ(counts[KeyOfText("C", 0)], 2);  // positives, not negatives and not histories
  EXPECT_EQ(counts[KeyOfText("A", 0)], 1);
  EXPECT_TRUE(Table(planned, 1).counts.empty());  // the words' table keeps no popularity
}

TEST_F(BatchSourceTest, GroupsHaveSeveralPositivesThatMaskEachOther) {
  const auto source =
      Source(Job("group_column: \"module\" history { min_length: 0 }", "",
                 TrainStage("sampled_softmax { negatives { in_batch {} } mask_history: false }")));
  const PlannedBatch planned = First(*source);
  const models::CandidateColumns& c = planned.batch.candidates;
  EXPECT_THAT(Rows(planned, c.positive_offset, c.positive), ElementsAre("ABD", "ABC", "A", "C"));
  EXPECT_THAT(Rows(planned, c.masked_offset, c.masked), ElementsAre("ABD", "ABC", "", ""));
  EXPECT_THAT(c.in_batch, ElementsAre(1, 1, 1, 1));
  EXPECT_THAT(c.sampled, ElementsAre(1, 1, 1, 1));
  EXPECT_EQ(c.in_batch_draws, 8);
  EXPECT_EQ(c.drawn, 0);
  EXPECT_TRUE(Table(planned, 0).want_popularity);
}

TEST_F(BatchSourceTest, DrawnNegativesCarryTheirLogQ) {
  const auto source = Source(Job("", "",
                                 TrainStage("sampled_softmax { negatives { uniform { count: 2 } } "
                                            "negatives { unigram { count: 3 power: 0.5 } } }",
                                            2)));
  std::map<std::string, double> events = {{"A", 4}, {"B", 2}, {"C", 2}, {"D", 1}};
  double total = 0;
  for (const auto& [name, n] : events) {
    total += std::sqrt(n);
  }
  for (uint64_t step = 0; step < source->plan(StageId(0)).total_steps; ++step) {
    const auto planned = source->Train(StageId(0), Step(step), MicroBatch(0));
    const models::CandidateColumns& c = planned->batch.candidates;
    const auto names = ItemNames(*planned);
    EXPECT_EQ(c.drawn, 5);
    EXPECT_EQ(std::set<int32_t>(c.item.begin(), c.item.end()).size(), c.item.size());
    for (size_t i = 0; i < c.item.size(); ++i) {
      const double n = events[names[static_cast<size_t>(c.item[i])]];
      const double want = c.sampled[i] ? std::log(2.0 / 4 + 3 * std::sqrt(n) / total) : 0;
      EXPECT_NEAR(c.log_q[i], want, 1e-6);
      const bool positive = std::find(c.positive.begin(), c.positive.end(),
                                      static_cast<int32_t>(i)) != c.positive.end();
      EXPECT_TRUE(c.sampled[i] || positive);
    }
  }
}

TEST_F(BatchSourceTest, RankingTakesLabelledGroups) {
  const auto source =
      Source(Job("group_column: \"module\" label_column: \"label\" history { min_length: 0 }",
                 "context { feature: \"module\" }", TrainStage("ranking {}")));
  const PlannedBatch planned = First(*source);
  const models::CandidateColumns& c = planned.batch.candidates;
  // ann m1: A(1) B(1) A(0) D(0); bob m1: B(0) C(0) A(1); ann m2: C(1); bob m2: A(1).
  EXPECT_THAT(Rows(planned, c.group_offset, c.group), ElementsAre("ABD", "ABC", "A", "C"));
  float positives = 0;
  for (const float label : c.group_label) {
    positives += label;
  }
  EXPECT_EQ(positives, 5);
  EXPECT_EQ(c.group_label[static_cast<size_t>(c.group_offset[1]) - 1], 0);  // D
  EXPECT_THAT(c.positive_offset, ElementsAre(0, 0, 0, 0, 0));
  ASSERT_EQ(planned.batch.fields.size(), 1u);
  EXPECT_EQ(planned.batch.fields[0].feature, "module");
  EXPECT_EQ(planned.batch.fields[0].rows.lists(), 4);
  EXPECT_EQ(Table(planned, 2).keys[0], KeyOfText("m1", 0));
}

TEST_F(BatchSourceTest, RankingDrawsNegativesThatTheUserNeverHad) {
  const auto source = Source(
      Job("label_column: \"label\"", "",
          TrainStage("ranking { negatives { uniform { count: 8 } } negatives { all {} } }")));
  const PlannedBatch planned = First(*source);
  const models::CandidateColumns& c = planned.batch.candidates;
  // Labelled positive with a history: ann's B, bob's A, ann's C, bob's A again.
  EXPECT_THAT(Rows(planned, c.group_offset, c.group), ElementsAre("BCD", "ACD", "CD", "AD"));
  for (size_t row = 0; row < 4; ++row) {
    EXPECT_EQ(c.group_label[static_cast<size_t>(c.group_offset[row])], 1);
    EXPECT_EQ(c.group_label[static_cast<size_t>(c.group_offset[row]) + 1], 0);
  }
}

TEST_F(BatchSourceTest, CountersAreThoseOfTheRowsOwnTime) {
  const auto source = Source(Job("", "popularity { counter { window_days: 1 } }",
                                 TrainStage("sampled_softmax { negatives { all {} } }")));
  const PlannedBatch planned = First(*source);
  const models::CandidateColumns& c = planned.batch.candidates;
  ASSERT_EQ(c.log_counts.size(), 7u * 4);
  const auto names = ItemNames(planned);
  std::map<std::string, float> first_row;
  std::map<std::string, float> last_row;
  for (size_t i = 0; i < 4; ++i) {
    first_row[names[static_cast<size_t>(c.item[i])]] = c.log_counts[i];
    last_row[names[static_cast<size_t>(c.item[i])]] = c.log_counts[6 * 4 + i];
  }
  EXPECT_FLOAT_EQ(first_row["A"], std::log1p(1.0f));  // at 400
  EXPECT_FLOAT_EQ(first_row["C"], 0);
  EXPECT_FLOAT_EQ(last_row["A"], std::log1p(4.0f));  // at 1000
  EXPECT_FLOAT_EQ(last_row["D"], 0);                 // its own event does not count
  const auto items = source->Items(0, AsOf::kNow);
  ASSERT_TRUE(items.ok());
  EXPECT_FLOAT_EQ(items->log_counts[static_cast<size_t>(source->dataset().FindItem("D"))],
                  std::log1p(1.0f));
}

TEST_F(BatchSourceTest, EvaluatesNewItemsByTimeWithSlices) {
  const auto source = Source(Job("split { last_days { test_days: 0.0036 } }", "",
                                 TrainStage("sampled_softmax { negatives { all {} } }") +
                                     "stage { name: \"e\" evaluate { slice_column: \"module\" } }"
                                     "stage { name: \"any\" evaluate { new_items_only: false } }"));
  ASSERT_EQ(source->EvalChunks(StageId(1), EvalSplit::kTest), 1);
  const auto eval = source->Eval(StageId(1), EvalSplit::kTest, 0);
  ASSERT_TRUE(eval.ok());
  const auto& data = source->dataset();
  const auto names = [&](const std::vector<int32_t>& items) {
    std::string text;
    for (const int32_t item : items) {
      text += data.item_id(item);
    }
    return text;
  };
  // The cut lies at 1000 - 311: ann had A and B, bob B and A.
  EXPECT_THAT(eval->user, ElementsAre(data.FindUser("ann"), data.FindUser("bob")));
  EXPECT_EQ(names(eval->target), "CDC");
  EXPECT_THAT(eval->target_offset, ElementsAre(0, 2, 3));
  EXPECT_EQ(names(eval->masked), "ABBA");
  EXPECT_THAT(eval->masked_offset, ElementsAre(0, 2, 4));
  ASSERT_EQ(eval->slice.size(), 1u);
  EXPECT_EQ(data.text("module", eval->slice[0][0]), "m2");  // ann's C
  EXPECT_EQ(data.text("module", eval->slice[0][1]), "m1");
  EXPECT_TRUE(eval->planned.tables[0].counts.empty());
  const auto any = source->Eval(StageId(2), EvalSplit::kTest, 0);
  EXPECT_EQ(names(any->target), "CDAC");
  EXPECT_TRUE(any->masked.empty());
  EXPECT_FALSE(source->Eval(StageId(1), EvalSplit::kTest, 1).ok());
  EXPECT_EQ(source->EvalChunks(StageId(1), EvalSplit::kValidation), 0);
}

TEST_F(BatchSourceTest, UsersAreAlsoRankedAmongItemsThatTheyNeverHad) {
  const std::string train = TrainStage("sampled_softmax { negatives { all {} } }");
  const auto source = Source(Job("split { last_days { test_days: 0.0036 } }", "",
                                 train + "stage { name: \"e\" evaluate { sampled_negatives: 2 } }"
                                         "stage { name: \"all\" evaluate {} }"));
  const auto eval = source->Eval(StageId(1), EvalSplit::kTest, 0);
  ASSERT_TRUE(eval.ok());
  EXPECT_THAT(eval->ranked_offset, ElementsAre(0, 0, 1));  // ann had all, bob all but D
  EXPECT_EQ(source->dataset().item_id(eval->ranked_item[0]), "D");
  EXPECT_TRUE(source->Eval(StageId(2), EvalSplit::kTest, 0)->ranked_offset.empty());
}

TEST_F(BatchSourceTest, EvaluatesTheLastEventOfEachUser) {
  const auto source = Source(Job("split { leave_one_out {} }", "",
                                 TrainStage("sampled_softmax { negatives { all {} } }") +
                                     "stage { name: \"e\" evaluate {} }"));
  const auto eval = source->Eval(StageId(1), EvalSplit::kTest, 0);
  ASSERT_TRUE(eval.ok());
  // bob's last event, A, is an item that he had.
  EXPECT_THAT(eval->user, ElementsAre(source->dataset().FindUser("ann")));
  EXPECT_EQ(source->dataset().item_id(eval->target[0]), "D");
  EXPECT_EQ(eval->masked.size(), 3u);
  const auto validation = source->Eval(StageId(0), EvalSplit::kValidation, 0);
  EXPECT_EQ(validation->target.size(), 2u);  // C of both
}

TEST_F(BatchSourceTest, UsersAndItemsComeInChunks) {
  const auto source = Source(Job(
      "", "",
      TrainStage("sampled_softmax { negatives { all {} } }") + "stage { name: \"x\" export {} }"));
  EXPECT_EQ(source->ItemChunks(), 1);
  EXPECT_EQ(source->UserChunks(), 1);
  const auto items = source->Items(0, AsOf::kNow);
  EXPECT_EQ(items->first_item, 0);
  EXPECT_EQ(items->planned.batch.items.count, 4);
  EXPECT_TRUE(items->log_counts.empty());
  std::vector<int32_t> users;
  const auto batch = source->Users(0, AsOf::kNow, &users);
  EXPECT_THAT(users, ElementsAre(0, 1));
  EXPECT_EQ(batch->batch.samples, 2);
  EXPECT_EQ(batch->batch.history.item.size(), 9u);
  EXPECT_FALSE(source->Items(1, AsOf::kNow).ok());
  const control::DatasetFacts facts =
      FactsOf(*source, Job("", "", TrainStage("") + "stage { name: \"x\" export {} }"));
  EXPECT_THAT(facts.train_samples_of_stage, ElementsAre(7, 0));
  EXPECT_THAT(facts.chunks_of_stage, ElementsAre(0, 2));
  EXPECT_EQ(facts.digest, source->dataset().digest());
}

TEST_F(BatchSourceTest, SaysWhatAFeatureLacks) {
  const auto open = [&](const spec::Job& job) {
    EXPECT_TRUE(Prepare(job, "prepared").ok());
    return BatchSource::Open(job, Path("prepared")).status().message();
  };
  spec::Job job = Job("", "", TrainStage("sampled_softmax {}"));
  job.mutable_feature(0)->set_column("nothing");
  EXPECT_THAT(open(job), HasSubstr("feature \"item\": data.items: no column \"nothing\""));
  job.mutable_feature(0)->set_column("item");
  job.mutable_feature(0)->set_hashing(spec::IDENTITY);
  EXPECT_THAT(open(job), HasSubstr("holds no integers"));
  job.mutable_feature(0)->set_hashing(spec::HASH);
  job.mutable_feature(0)->set_table("nowhere");
  EXPECT_THAT(open(job), HasSubstr("no table \"nowhere\""));
}

class PointwiseTest : public DataTest {
 protected:
  static constexpr const char* kJob = R"(
    name: "p" seed: 1
    table { name: "t" dim: 4 optimizer { sgd {} } popularity {} }
    table { name: "w" dim: 4 optimizer { sgd {} } }
    table { name: "linear" dim: 1 optimizer { sgd {} } }
    data { events { file: "train.csv" column { name: "y" type: FLOAT } column { name: "a" }
                    column { name: "n" type: INT } column { name: "x" type: FLOAT }
                    column { name: "q" type: TEXT } column { name: "z" type: FLOAT } }
           label_column: "y" split { files { test_file: "test.csv" } } }
    feature { name: "a" column: "a" table: "t" salt: 1 }
    feature { name: "z" column: "z" }
    feature { name: "n" column: "n" table: "t" hashing: IDENTITY }
    feature { name: "x" column: "x" }
    feature { name: "q" column: "q" table: "w" }
    model { deepfm { linear_table: "linear" } }
    stage { name: "s" train { pointwise { positive_from: 3 } micro_batch_size: 2
                              micro_batches_per_step: 1 in_time_order: true } }
    stage { name: "e" evaluate { slice_column: "a" } })";
  void SetUp() override {
    DataTest::SetUp();
    Write("train.csv", "y,a,n,x,q,z\n5,u,7,0.5,red tea,1\n2,v,7,1.5,,2\n3,u,8,2.5,tea,3\n");
    Write("test.csv", "y,a,n,x,q,z\n1,w,-1,3.5,new,4\n4,u,7,4.5,,5\n");
  }
};

TEST_F(PointwiseTest, FieldsDenseInputsAndLabels) {
  const auto source = Source(ParseJob(kJob));
  EXPECT_EQ(source->plan(StageId(0)).samples, 3u);
  const auto planned = source->Train(StageId(0), Step(0), MicroBatch(0));
  ASSERT_TRUE(planned.ok());
  const models::Batch& batch = planned->batch;
  EXPECT_THAT(batch.label, ElementsAre(1, 0));
  EXPECT_EQ(batch.dense_width, 2);
  EXPECT_THAT(batch.dense, ElementsAre(1, 0.5, 2, 1.5));  // z and x, in the order of features
  ASSERT_EQ(batch.fields.size(), 6u);
  EXPECT_EQ(batch.fields[1].feature, "n");
  EXPECT_EQ(batch.fields[4].feature, "n");
  EXPECT_EQ(batch.fields[4].rows.table, TableId(2));
  EXPECT_THAT(batch.fields[2].rows.offset, ElementsAre(0, 2, 2));
  ASSERT_EQ(planned->tables.size(), 3u);
  EXPECT_THAT(planned->tables[0].keys, ElementsAre(KeyOfText("u", 1), KeyOfText("v", 1), 7));
  EXPECT_THAT(planned->tables[0].counts, ElementsAre(1, 1, 2));
  EXPECT_THAT(planned->tables[1].keys, ElementsAre(KeyOfText("red", 0), KeyOfText("tea", 0)));
  EXPECT_EQ(planned->tables[2].keys.size(), 5u);
  for (size_t f = 0; f < 3; ++f) {  // the linear table has the same keys
    const models::RowLists& rows = batch.fields[f].rows;
    const models::RowLists& linear = batch.fields[f + 3].rows;
    for (size_t i = 0; i < rows.index.size(); ++i) {
      EXPECT_EQ(planned->tables[rows.table.value()].keys[static_cast<size_t>(rows.index[i])],
                planned->tables[2].keys[static_cast<size_t>(linear.index[i])]);
    }
  }
}

TEST_F(PointwiseTest, EvaluatesTheTestRows) {
  const auto source = Source(ParseJob(kJob));
  ASSERT_EQ(source->EvalChunks(StageId(1), EvalSplit::kTest), 1);
  EXPECT_EQ(source->EvalChunks(StageId(1), EvalSplit::kValidation), 0);
  const auto eval = source->Eval(StageId(1), EvalSplit::kTest, 0);
  EXPECT_THAT(eval->planned.batch.label, ElementsAre(0, 1));  // the train stage's threshold
  EXPECT_EQ(source->dataset().text("a", eval->slice[0][0]), "w");
  EXPECT_TRUE(eval->planned.tables[0].counts.empty());
  EXPECT_EQ(source->ItemChunks(), 0);
  EXPECT_FALSE(source->Items(0, AsOf::kNow).ok());
}

TEST_F(PointwiseTest, ALabelIsNeeded) {
  spec::Job job = ParseJob(kJob);
  job.mutable_data()->clear_label_column();
  ASSERT_TRUE(Prepare(job, "prepared").ok());
  EXPECT_THAT(BatchSource::Open(job, Path("prepared")).status().message(),
              HasSubstr("data.label_column"));
}

}  // namespace
}  // namespace emporium::worker
