// Jobs of sequence models and of implicit feedback: a valid one, and the line that each change to
// it must cause.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

#include "proto/job_file.h"
#include "proto/model_options.h"
#include "tests/proto/job_samples.h"

namespace emporium {
namespace {

using testing::ComplaintsOf;
using testing::Replaced;

const std::string kJob = R"(name: "feed"
table { name: "item" dim: 16 optimizer { adagrad {} } }
table { name: "word" dim: 16 optimizer { adagrad {} } }
data {
  events { file: "events.csv" column { name: "user" } column { name: "item" }
           column { name: "time" type: INT } column { name: "seen" type: TEXT }
           column { name: "click" type: INT } }
  items { file: "items.csv" column { name: "id" } column { name: "title" type: TEXT } }
  user_column: "user"
  item_column: "item"
  time_column: "time"
  items_key_column: "id"
  split { leave_one_out {} }
  history { max_length: 20 }
}
feature { name: "item" column: "item" table: "item" }
feature { name: "past" column: "item" table: "item" source: HISTORY }
feature { name: "seen" column: "seen" table: "item" }
feature { name: "title" column: "title" table: "word" source: ITEM }
model {
  din {
    feature: "title"
    pair { target: "item" history: "past" }
  }
}
stage {
  name: "train"
  train {
    pointwise { negatives { uniform { count: 4 } } negatives { unigram {} } }
    validate_every_epochs: 1
    early_stop { metric: "sampled99_ndcg@10" }
  }
}
stage { name: "test" evaluate { k: 10 sampled_negatives: 99 } }
)";

struct Case {
  const char* from;
  const char* to;
  const char* expected;  // part of one of the complaints; empty: there are none
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.from << " -> " << c.to; }

class ValidatePointwise : public ::testing::TestWithParam<Case> {};

TEST_P(ValidatePointwise, Complains) {
  const auto complaints = ComplaintsOf(Replaced(kJob, GetParam().from, GetParam().to));
  if (std::string(GetParam().expected).empty()) {
    EXPECT_THAT(complaints, ::testing::IsEmpty());
  } else {
    EXPECT_THAT(complaints, ::testing::Contains(::testing::HasSubstr(GetParam().expected)));
  }
}

constexpr Case kCases[] = {
    {"history: \"past\"", "history: \"seen\"", ""},
    {"    feature: \"title\"\n", "", ""},
    {"    pair { target: \"item\" history: \"past\" }\n", "",
     "model.din.pair: is missing; name a target feature and its history"},
    {"target: \"item\" history", "history", "model.din.pair[0].target: is missing; name the feat"},
    {"history: \"past\"", "", "model.din.pair[0].history: is missing"},
    {"history: \"past\"", "history: \"pest\"",
     "pair[0].history: there is no feature \"pest\"; did you mean \"past\"?"},
    {"history: \"past\"", "history: \"item\"", "pair[0].history: feature \"item\" is no sequence"},
    {"history: \"past\"", "history: \"title\"",
     "pair[0].history: feature \"title\" is no sequence; name a HISTORY feature, or a ROW feature"},
    {"target: \"item\"", "target: \"past\"", "pair[0].target: feature \"past\" is not one key of"},
    {"target: \"item\"", "target: \"title\"", "pair[0].target: feature \"title\" is not one key"},
    {"table: \"item\" source: HISTORY", "table: \"word\" source: HISTORY",
     "pair[0]: \"item\" and \"past\" do not share their rows; give both features one table"},
    {"source: HISTORY", "source: HISTORY salt: 1", "pair[0]: \"item\" and \"past\" do not share"},
    {"feature: \"title\"", "feature: \"item\"", "model.din: feature \"item\" enters twice"},
    {"name: \"past\" column: \"item\"", "name: \"past\" column: \"seen\"",
     "pair[0].history: feature \"past\" has several keys for each event of the history"},
    {"  history { max_length: 20 }\n", "", "feature[1].source: the data has no history"},
    {"  item_column: \"item\"\n", "",
     "model.din.feature[0]: feature \"title\" reads the event's item, and events have none"},
    {"  item_column: \"item\"\n", "",
     "pair[0].history: feature \"past\" reads the user's earlier events, and the data does not"},
    {"source: HISTORY", "source: HISTORY sighting: false",
     "feature[1].sighting: is for ROW and ITEM features of a model that scores samples"},
    {"source: ITEM", "source: ITEM sighting: false", ""},
    {"  item_column: \"item\"\n", "",
     "pointwise.negatives: negatives are items that a user had in no earlier event, and the data"},
    {"  item_column: \"item\"\n", "",
     "evaluate.sampled_negatives: it draws items that a user had in no event, and the data"},
    {"  item_column: \"item\"\n", "",
     "early_stop.metric: it samples items that a user had in no event, and the data does not"},
    {"unigram {}", "in_batch {}",
     "pointwise.negatives[1]: a sample that is scored by itself takes drawn items only; use unif"},
    {"negatives { uniform { count: 4 } } negatives { unigram {} }", "negatives { all {} }",
     "pointwise.negatives[0]: a sample that is scored by itself takes drawn items only"},
    {"count: 4", "count: 0", "pointwise.negatives[0].uniform.count: 0 is outside 1 to"},
    {"negatives { uniform { count: 4 } } negatives { unigram {} }", "",
     "train.pointwise: there is no label to learn; set data.label_column, name tasks, or sample"},
    {"  user_column", "  label_column: \"click\"\n  user_column",
     "pointwise.negatives: events have labels, so they are not all positives; remove the negat"},
    {"sampled_negatives: 99", "sampled_negatives: 10001",
     "evaluate.sampled_negatives: 10001 is outside 0 to 10000"},
    {"sampled99_ndcg@10", "sampled_ndcg@10", "\"sampled_ndcg@10\" is not a metric"},
    {"sampled99_ndcg@10", "sampled99_auc", "\"sampled99_auc\" is not a metric"},
    {"sampled99_ndcg@10", "sampled99_mrr", ""},
};
INSTANTIATE_TEST_SUITE_P(Din, ValidatePointwise, ::testing::ValuesIn(kCases));

// A position tower beside it.
class ValidatePosition : public ::testing::TestWithParam<Case> {
 protected:
  static std::string Job(const std::string& from, const std::string& to) {
    std::string job = Replaced(kJob, "column { name: \"click\" type: INT }",
                               "column { name: \"click\" type: INT } "
                               "column { name: \"place\" type: INT } column { name: \"device\" }");
    job = Replaced(job, "model {\n",
                   "feature { name: \"device\" column: \"device\" table: \"word\" }\n"
                   "model {\n  position { column: \"place\" with: \"device\" }\n");
    return Replaced(job, from, to);
  }
};

TEST_P(ValidatePosition, Complains) {
  const auto complaints = ComplaintsOf(Job(GetParam().from, GetParam().to));
  if (std::string(GetParam().expected).empty()) {
    EXPECT_THAT(complaints, ::testing::IsEmpty());
  } else {
    EXPECT_THAT(complaints, ::testing::Contains(::testing::HasSubstr(GetParam().expected)));
  }
}

constexpr Case kPositionCases[] = {
    {"with: \"device\"", "", ""},
    {"    feature: \"title\"\n", "", ""},
    {"column: \"place\" with", "with", "model.position.column: is missing; name the INT column"},
    {"column: \"place\"", "column: \"rank\"",
     "model.position.column: \"rank\" is not an INT column of data.events; declare it there"},
    {"column: \"place\"", "column: \"device\"",
     "model.position.column: \"device\" is not an INT column of data.events"},
    {"with: \"device\"", "with: \"devise\"",
     "model.position.with[0]: there is no feature \"devise\"; did you mean \"device\"?"},
    {"with: \"device\"", "with: \"title\"",
     "model.position.with[0]: feature \"title\" has source ITEM; name features of source ROW"},
    {"with: \"device\"", "with: \"device\" with: \"device\"", "\"device\" enters twice"},
    {"feature: \"title\"", "feature: \"title\" feature: \"device\"", "\"device\" enters twice"},
    {"with: \"device\"", "places: 0", "model.position.places: 0 is outside 1 to 65535"},
    {"with: \"device\"", "width: 0", "model.position.width: 0 is outside 1 to"},
    {"with: \"device\"", "missing_rate: 1", "model.position.missing_rate: 1 is"},
    {"stage {",
     "task { name: \"a\" label_column: \"click\" } "
     "task { name: \"b\" label_column: \"click\" } stage {",
     "model.position: a position tower is of one task, the job names 2"},
    {"model {\n  position { column: \"place\" with: \"device\" }\n  din {\n    feature: \"title\"\n"
     "    pair { target: \"item\" history: \"past\" }\n",
     "model {\n position { column: \"place\" }\n  two_tower {\n item_feature: \"item\"\n",
     "model.position: a two_tower model ranks items, it scores no samples; remove it"},
};
INSTANTIATE_TEST_SUITE_P(Tower, ValidatePosition, ::testing::ValuesIn(kPositionCases));

TEST(ModelOptions, ThePositionTowersFeaturesAreNotTheModels) {
  std::vector<Complaint> complaints;
  const auto job = ParseJob(Replaced(Replaced(kJob, "feature: \"title\"", ""), "model {\n",
                                     "model {\n  position { column: \"time\" with: \"seen\" }\n"),
                            "job", &complaints);
  ASSERT_TRUE(job.ok());
  EXPECT_THAT(PlainFeatures(*job), ::testing::ElementsAre("title"));
  EXPECT_THAT(PositionFeatures(*job), ::testing::ElementsAre("seen"));
  EXPECT_THAT(InputFeatures(*job), ::testing::ElementsAre("title", "item", "past", "seen"));
}

TEST(ValidatePointwiseJob, AValidOneHasNoFaults) {
  EXPECT_THAT(ComplaintsOf(kJob), ::testing::IsEmpty());
}

TEST(ValidateScenarios, Complains) {
  std::string job = Replaced(kJob, "  din {", "  sfpnet {");
  const std::string without = job;
  job = Replaced(job, "column { name: \"user\" }",
                 "column { name: \"user\" } column { name: \"place\" } "
                 "column { name: \"code\" type: INT } column { name: \"price\" type: FLOAT }");
  job = Replaced(job, "  history {",
                 "  scenario { column: \"place\" value: \"a\" value: \"b\" }\n  history {");
  EXPECT_THAT(ComplaintsOf(job), ::testing::IsEmpty());
  const auto expect = [](const std::string& text, const char* part) {
    EXPECT_THAT(ComplaintsOf(text), ::testing::Contains(::testing::HasSubstr(part)));
  };
  expect(without,
         "data.scenario: a sfpnet model tells scenarios apart, and the data has none; set");
  const Case cases[] = {
      {"column: \"place\" ", "", "data.scenario.column: is missing"},
      {"column: \"place\" ", "column: \"plaec\" ", "scenario.column: \"plaec\" is not a column of"},
      {"column: \"place\" ", "column: \"price\" ", "scenario.column: \"price\" is a FLOAT column"},
      {"value: \"a\" value: \"b\"", "", "data.scenario.value: is missing; list every value"},
      {"value: \"b\"", "value: \"a\"", "data.scenario.value[1]: \"a\" is listed twice"},
      {"column: \"place\" ", "column: \"code\" ",
       "data.scenario.value[0]: \"a\" is no whole number"},
      {"    pair { target: \"item\" history: \"past\" }\n", "", "model.sfpnet.pair: is missing"},
  };
  for (const Case& c : cases) expect(Replaced(job, c.from, c.to), c.expected);
  std::string many;
  for (int i = 0; i < 257; ++i) many += "value: \"" + std::to_string(i) + "\" ";
  expect(Replaced(job, "value: \"a\" value: \"b\"", many.c_str()),
         "data.scenario.value: 257 values are too many; at most 256");
}

TEST(ModelOptions, InputsArePlainFeaturesThenTargetsThenHistories) {
  std::vector<Complaint> complaints;
  const auto job = ParseJob(kJob, "job", &complaints);
  ASSERT_TRUE(job.ok());
  EXPECT_THAT(InputFeatures(*job), ::testing::ElementsAre("title", "item", "past"));
  const auto all = ParseJob(Replaced(kJob, "feature: \"title\"", ""), "job", &complaints);
  ASSERT_TRUE(all.ok());
  EXPECT_THAT(PlainFeatures(*all), ::testing::ElementsAre("seen", "title"));
  EXPECT_TRUE(IsImplicit(*job));
}

TEST(ModelOptions, WhatOptionsNameIsNoPlainFeature) {
  const std::string text = Replaced(
      Replaced(kJob, "din {\n    feature: \"title\"",
               "nam {\n    query: \"title\" action_feature: \"acts\" gap_edges_days: [1, 7]\n"
               "    target_slot: \"z\" event_slot: \"y\""),
      "table: \"item\" }\nfeature { name: \"past\"",
      "table: \"item\" }\nfeature { name: \"acts\" column: \"item\" table: \"word\" source: "
      "HISTORY }\nfeature { name: \"past\"");
  const std::string slots = Replaced(
      text, "{ adagrad {} } }\n",
      "{ adagrad {} } popularity {}\n slot { name: \"z\" update: LOG_EMA fed_by_model: true }"
      " slot { name: \"y\" update: LOG_EMA fed_by_model: true } }\n");
  EXPECT_THAT(ComplaintsOf(slots), ::testing::IsEmpty());
  std::vector<Complaint> complaints;
  const auto job = ParseJob(slots, "job", &complaints);
  ASSERT_TRUE(job.ok());
  EXPECT_THAT(PlainFeatures(*job), ::testing::ElementsAre("seen"));
  EXPECT_THAT(InputFeatures(*job), ::testing::ElementsAre("seen", "item", "past", "title", "acts"));
  EXPECT_TRUE(ReadsEventAges(*job));
  EXPECT_EQ(PopularityTable(*job), "item");
  EXPECT_EQ(FedSlotsOf(*job).table, "item");
  EXPECT_THAT(FedSlotsOf(*job).target, ::testing::ElementsAre("z"));
  const auto expect = [&slots](const char* from, const char* to, const char* part) {
    EXPECT_THAT(ComplaintsOf(Replaced(slots, from, to)),
                ::testing::Contains(::testing::HasSubstr(part)));
  };
  expect("query: \"title\"", "query: \"tilte\"", "model.nam.query: there is no feature \"tilte\"");
  expect("action_feature: \"acts\"", "action_feature: \"x\"", "model.nam.action_feature: there is");
  expect("query: \"title\"", "query: \"item\"", "model.nam: feature \"item\" enters twice");
  expect("event_slot: \"y\"", "",
         "slot[1].fed_by_model: the model does not name the slot, so nothing feeds it");
  expect("LOG_EMA fed", "EMA fed", "slot[0].fed_by_model: the model feeds logs of means");
  expect("LOG_EMA fed", "LOG_EMA column: \"click\" fed", "no event feeds what the model feeds");
}

TEST(ModelOptions, SampledMetricsSayAmongHowMany) {
  EXPECT_EQ(SampledMetricOf("sampled99_hr@10").negatives, 99u);
  EXPECT_EQ(SampledMetricOf("sampled99_hr@10").name, "hr@10");
  for (const char* other : {"hr@10", "sampled", "sampled_hr@10", "sampled99", "sampled9x_hr@1"}) {
    EXPECT_EQ(SampledMetricOf(other).negatives, 0u) << other;
  }
}

}  // namespace
}  // namespace emporium
