// Every complaint of ValidateJob: one change to a valid job each, and the line that it must cause.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

#include "proto/job_file.h"
#include "tests/proto/job_samples.h"

namespace emporium {
namespace {

using testing::ComplaintsOf;
using testing::DeepFmJob;
using testing::Replaced;
using testing::TwoTowerJob;

struct Case {
  const char* from;
  const char* to;
  const char* expected;  // part of one of the complaints
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.from << " -> " << c.to; }

class ValidateTwoTower : public ::testing::TestWithParam<Case> {};
class ValidateDeepFm : public ::testing::TestWithParam<Case> {};

void ExpectComplaint(const std::string& job, const Case& c) {
  EXPECT_THAT(ComplaintsOf(Replaced(job, c.from, c.to)),
              ::testing::Contains(::testing::HasSubstr(c.expected)));
}

TEST_P(ValidateTwoTower, Complains) { ExpectComplaint(TwoTowerJob(), GetParam()); }
TEST_P(ValidateDeepFm, Complains) { ExpectComplaint(DeepFmJob(), GetParam()); }

constexpr Case kTables[] = {
    {"name: \"shop\"", "", "job:1: name: is missing; give a name"},
    {"  dim: 16", "  ", "job:2: table[0].dim: is missing; give the number of weights"},
    {"dim: 16", "dim: 0", "job:4: table[0].dim: 0 is outside 1 to 4096; give a value inside"},
    {"dim: 16", "dim: 4097", "table[0].dim: 4097 is outside 1 to 4096"},
    {"  optimizer { adagrad {} }", "  ", "job:2: table[0].optimizer: is missing; name one: adag"},
    {"optimizer { adagrad {} }", "optimizer {}", "job:5: table[0].optimizer: is missing"},
    {"adagrad {}", "adagrad { learning_rate: 0 }",
     "table[0].optimizer.adagrad.learning_rate: is not a number above 0; give a rate"},
    {"adagrad {}", "adagrad { epsilon: 0 }", "table[0].optimizer.adagrad.epsilon: is not a num"},
    {"adagrad {}", "adagrad { l2: -1 }", "adagrad.l2: -1 is below 0; give at least 0"},
    {"adagrad {}", "adagrad { l2: nan }", "adagrad.l2: is not a finite number; give a finite"},
    {"adagrad {}", "adam { beta1: 1 }", "adam.beta1: 1 is not in [0, 1); give at least 0"},
    {"adagrad {}", "adamw { weight_decay: -0.5 }", "adamw.weight_decay: -0.5 is below 0"},
    {"adagrad {}", "momentum { momentum: 1.5 }", "momentum.momentum: 1.5 is not in [0, 1)"},
    {"adagrad {}", "sgd { learning_rate: inf }", "sgd.learning_rate: is not a number above 0"},
    {"adagrad {}", "ftrl { alpha: -1 }", "ftrl.alpha: is not a number above 0"},
    {"popularity {}", "initializer {}", "table[0].initializer: is missing; name one: zeros {}"},
    {"popularity {}", "initializer { uniform { low: 1 high: 1 } }",
     "table[0].initializer.uniform: low is not below high; give low < high"},
    {"popularity {}", "initializer { normal { stddev: -1 } }", "normal.stddev: -1 is below 0"},
    {"popularity {}", "initializer { xavier { gain: -1 } }", "xavier.gain: -1 is below 0"},
    {"popularity {}", "initializer { truncated_normal { mean: nan } }",
     "truncated_normal.mean: is not a finite number"},
    {"adagrad {}", "adagrad {} clip_norm: -1", "optimizer.clip_norm: -1 is below 0"},
    {"popularity {}", "popularity { half_life_steps: -2 }",
     "table[0].popularity.half_life_steps: -2 is below 0"},
    {"popularity {}", "popularity { half_life_steps: 3 half_life_days: 1 }",
     "popularity.half_life_days: half_life_steps is given too; a count fades by steps or by event"},
    {"popularity {}", "popularity { bytes: 5 }", "table[0].popularity.bytes: 5 is outside 1 to 4"},
    {"popularity {}", "popularity {} admission {}",
     "table[0].admission.sightings: is missing; give a number of sightings, 2 to 255"},
    {"popularity {}", "popularity {} admission { sightings: 1 }",
     "table[0].admission.sightings: 1 is outside 2 to 255"},
    {"popularity {}", "popularity {} admission { sightings: 2 sketch_mib: 0 }",
     "table[0].admission.sketch_mib: 0 is outside 1 to"},
    {"popularity {}", "admission { sightings: 2 }",
     "table[0].admission: needs popularity, whose sightings it counts; set popularity {}"},
    {"popularity {}", "expiry { untouched_steps: 9 }",
     "table[0].expiry.every_steps: is missing; say after how many steps"},
    {"popularity {}", "expiry { every_steps: 9 }",
     "table[0].expiry: says when rows go, but not which; give untouched_steps"},
    {"popularity {}", "expiry { every_steps: 9 rows: 5000 }",
     "table[0].expiry: popularity_below and rows need popularity"},
    {"popularity {}", "popularity {} expiry { every_steps: 9 popularity_below: nan }",
     "table[0].expiry.popularity_below: is not a finite number"},
    {"popularity {}", "popularity {} expiry { every_steps: 9 rows: 1023 }",
     "table[0].expiry.rows: 1023 are fewer than the 1024 partitions that share them"},
    {"popularity {}", "slot { name: \"n\" }",
     "table[0].slot: slots are fed by the samples of pointwise models, and a two_tower model "
     "has none"},
    {"name: \"word\"", "name: \"item\"", "table[1].name: \"item\" is the name of an earlier one"},
    {"name: \"rest\"", "name: \"word\"", "dense[0].name: \"word\" is the name of an earlier one"},
    {"optimizer { adamw {} }", "", "dense[0].optimizer: is missing"},
    {"optimizer { adamw {} }", "optimizer { adamw {} } chunk_floats: 0",
     "dense[0].chunk_floats: 0 is outside 1 to 4096"},
    {"data {", "dense { name: \"late\" optimizer { sgd {} } } data {",
     "dense[1]: an earlier group without `parameter` takes every parameter; put the group"},
    {"cluster {", "mode: ASYNC cluster {", "mode: ASYNC is not supported yet; use SYNC"},
    {"cluster {", "checkpoint { keep: 1 } cluster {", "checkpoint.keep: 1 is outside 2 to"},
    {"partitions: 1024", "partitions: 1000", "cluster.partitions: 1000 is not a power of two"},
    {"partitions: 1024", "partitions: 131072", "cluster.partitions: 131072 is not a power of"},
    {"partitions: 1024", "partitions: 4 servers: 5",
     "cluster: 5 shards are more than the 4 that are possible; ask for fewer"},
    {"partitions: 1024", "workers: 0", "cluster.workers: 0 is outside 1 to 8192"},
    {"partitions: 1024", "lanes: 0", "cluster.lanes: 0 is outside"},
};
INSTANTIATE_TEST_SUITE_P(Tables, ValidateTwoTower, ::testing::ValuesIn(kTables));

constexpr Case kData[] = {
    {"file: \"events.csv\"", "", "data.events.file: is missing; name the files"},
    {"file: \"events.csv\"", "file: \"events.parquet\" format: PARQUET",
     "data.events.format: PARQUET is not supported yet; use CSV or TSV"},
    {"column { name: \"item\" }", "column { name: \"user\" }",
     "data.events.column[1].name: \"user\" is declared twice; declare each column once"},
    {"column { name: \"item\" }", "column {}", "data.events.column[1].name: is missing; give the"},
    {"column { name: \"item\" }", "column { name: \"itm\" }",
     "job:30: data.item_column: \"item\" is not a column of data.events; did you mean \"itm\"?"},
    {"column { name: \"time\" type: INT }", "column { name: \"time\" }",
     "data.time_column: \"time\" is a STRING column; declare it with type INT or FLOAT"},
    {"items_key_column: \"id\"", "", "data.items_key_column: is missing; name the column"},
    {"items_title_column: \"title\"", "items_title_column: \"name\"",
     "data.items_title_column: \"name\" is not a column of data.items"},
    {"last_days { test_days: 30 validation_days: 30 }", "", "data.split: is missing; name one"},
    {"test_days: 30", "test_days: -1",
     "data.split.last_days.test_days: is not a number of days above 0"},
    {"last_days { test_days: 30 validation_days: 30 }", "files {}",
     "data.split.files: names no file; set test_file"},
    {"time_column: \"time\"", "", "data.split.last_days: needs the time of events; set data.time"},
    {"time_column: \"time\"", "", "data.history: needs to know whose past it is, and when"},
    {"user_column: \"user\"", "", "data.user_column: a two_tower model needs it: whose history"},
    {"item_column: \"item\"", "", "data.item_column: a two_tower model needs it"},
    {"max_length: 50", "max_length: 1025", "data.history.max_length: 1025 is outside 1 to 1024"},
    {"max_length: 50", "min_length: 60", "data.history.min_length: is above max_length"},
    {"max_length: 50", "lag_seconds: -1", "data.history.lag_seconds: -1 is below 0"},
    {"history { max_length: 50 }", "", "feature[2].source: the data has no history; set data.h"},
    {"history { max_length: 50 }", "max_bad_fraction: 2",
     "data.max_bad_fraction: 2 is outside 0 to 1"},
    {"name: \"id\" column: \"item\" table", "name: \"id\" table",
     "job:37: feature[0].column: is missing; name the column that it reads"},
    {"column: \"item\" table", "column: \"itme\" table",
     "feature[0].column: \"itme\" is not a column of data.events; did you mean \"item\"?"},
    {"column: \"item\" table: \"item\"", "column: \"item\" table: \"itm\"",
     "feature[0].table: there is no table \"itm\"; did you mean \"item\"?"},
    {"column: \"item\" table: \"item\"", "column: \"item\"", "feature[0].table: is missing"},
    {"name: \"price\" column: \"price\"", "name: \"price\" column: \"price\" table: \"item\"",
     "feature[5].table: a FLOAT column is a dense input and has no rows; remove the table"},
    {"name: \"price\" column: \"price\"", "name: \"price\" column: \"price\" source: HISTORY",
     "feature[5].source: a dense input of source HISTORY is not supported yet; use source ROW"},
    {"table: \"item\" }", "table: \"item\" hashing: IDENTITY }",
     "feature[0].hashing: IDENTITY needs whole numbers; use HASH, or an INT column"},
    {"table: \"item\" }", "table: \"item\" max_length: 0 }", "feature[0].max_length: 0 is outside"},
    {"name: \"title\" column", "name: \"id\" column",
     "feature[1].name: \"id\" is the name of an earlier one; give each its own name"},
};
INSTANTIATE_TEST_SUITE_P(Data, ValidateTwoTower, ::testing::ValuesIn(kData));

constexpr Case kModel[] = {
    {"item_feature: \"id\"", "", "job:44: model.two_tower.item_feature: is missing; name the f"},
    {"item_feature: \"id\"", "item_feature: \"ib\"",
     "model.two_tower.item_feature: there is no feature \"ib\"; did you mean \"id\"?"},
    {"item_feature: \"id\"", "item_feature: \"context\"",
     "model.two_tower.item_feature: feature \"context\" is not over the item's id"},
    {"title_feature: \"title\"", "title_feature: \"words\"",
     "model.two_tower.title_feature: feature \"words\" has source HISTORY; name a feature with"},
    {"title_feature: \"title\"", "title_feature: \"id\"",
     "model.two_tower.title_feature: feature \"id\" is not over a TEXT column; declare its"},
    {"  name: \"word\"\n  dim: 16", "  name: \"word\"\n  dim: 8",
     "model.two_tower.title_feature: table \"word\" has dim 8, the item's table has 16"},
    {"action_feature: \"action\"", "action_feature: \"id\"",
     "model.two_tower.action_feature: feature \"id\" has source ROW; name a feature with source"},
    {"column: \"query\" table: \"word\"", "column: \"query\" table: \"item\"",
     "query_feature: search words do not share the title's table"},
    {"heads: 2", "heads: 3", "transformer.heads: width 16 is not a multiple of the heads"},
    {"heads: 2", "heads: 2 layers: 0", "transformer.layers: 0 is outside 1 to 64"},
    {"heads: 2", "heads: 2 dropout: 1", "transformer.dropout: 1 is not in [0, 1)"},
    {"[1, 7, 30]", "[1, 7, 7]", "gap_edges_days: edges do not ascend from above 0"},
    {"width: 16", "width: 32",
     "transformer.width: differs from the item table's dim 16, which a plain item tower keeps"},
    {"user_tower { transformer { width: 16 heads: 2 gap_edges_days: [1, 7, 30] } }", "",
     "model.two_tower.user_tower: is missing; name one: transformer {} or age_pooling {}"},
    {"transformer { width: 16 heads: 2 gap_edges_days: [1, 7, 30] }",
     "age_pooling { age_edges_days: [0, 1] }", "age_pooling.age_edges_days: edges do not ascend"},
    {"context { feature: \"context\" }", "context {}", "model.two_tower.context.feature: is mis"},
    {"context { feature: \"context\" }", "context { feature: \"price\" }",
     "model.two_tower.context.feature[0]: feature \"price\" has no table; give it a table"},
    {"counter { window_days: 30 }", "counter { window_days: 0 }",
     "popularity.counter[0].window_days: is not a number of days above 0"},
    {"counter { window_days: 30 }", "counter {}", "popularity.counter[0]: is missing; set window"},
    {"counter { half_life_days: 7 }", "counter { half_life_days: -7 }",
     "popularity.counter[1].half_life_days: is not a number of days above 0"},
    {"title_feature: \"title\"", "title_feature: \"title\" initial_scale: 0",
     "model.two_tower.initial_scale: is outside 0.01 to 100"},
    {"title_feature: \"title\"", "title_feature: \"title\" initial_shift: nan",
     "model.two_tower.initial_shift: is outside -100 to 100"},
};
INSTANTIATE_TEST_SUITE_P(Model, ValidateTwoTower, ::testing::ValuesIn(kModel));

constexpr Case kStages[] = {
    {"name: \"finetune\"", "name: \"pretrain\"", "stage[1].name: \"pretrain\" is the name of an"},
    {"export {}", "", "stage[3]: is missing; name one: train {}, evaluate {} or export {}"},
    {"  popularity {}\n", "\n",
     "stage[0].train.sampled_softmax.log_q: in_batch negatives need the item's popularity, which "
     "table \"item\" does not keep; add popularity {} to the table, or set log_q: false"},
    {"negatives { in_batch {} } negatives { uniform { count: 64 } }", "",
     "stage[0].train.sampled_softmax.negatives: is missing; add negatives"},
    {"uniform { count: 64 } }", "uniform {} } every_position: true",
     "stage[0].train.sampled_softmax.every_position: a two_tower model has one user vector a "
     "sample, none for each event of it; remove it, or use a model such as sasrec"},
    {"in_batch {}", "all {}", "negatives[0]: all {} leaves nothing for other negatives; use it"},
    {"in_batch {}", "", "sampled_softmax.negatives[0]: is missing; name one: in_batch {}"},
    {"uniform { count: 64 }", "uniform { count: 0 }", "negatives[1].uniform.count: 0 is outside"},
    {"ranking { negatives { unigram { count: 8 } } }", "",
     "stage[1].train: is missing; name a loss: sampled_softmax {}"},
    {"ranking { negatives { unigram { count: 8 } } }", "ranking {}",
     "stage[1].train.ranking.negatives: is missing; without data.label_column"},
    {"ranking { negatives { unigram { count: 8 } } }", "pointwise {}",
     "stage[1].train.pointwise: a two_tower model has no pointwise loss; use sampled_softmax"},
    {"validate_every_epochs: 1", "", "stage[0].train.early_stop: there is no validation to judge"},
    {"validation_days: 30", "",
     "stage[0].train.validate_every_epochs: the split holds out nothing to validate on"},
    {"metric: \"ndcg@10\"", "metric: \"ndcg\"", "early_stop.metric: \"ndcg\" is not a metric; use"},
    {"metric: \"ndcg@10\"", "", "early_stop.metric: is missing; name one, such as"},
    {"metric: \"ndcg@10\"", "metric: \"mrr\" patience: 0", "early_stop.patience: 0 is outside 1"},
    {"validate_every_epochs: 1", "validate_every_epochs: 1 epochs: 0",
     "stage[0].train.epochs: 0 is outside 1 to"},
    {"validate_every_epochs: 1", "validate_every_epochs: 1 micro_batch_size: 0",
     "stage[0].train.micro_batch_size: 0 is outside 1 to"},
    {"validate_every_epochs: 1", "validate_every_epochs: 1 micro_batches_per_step: 4097",
     "stage[0].train.micro_batches_per_step: 4097 is outside 1 to 4096"},
    {"validate_every_epochs: 1", "validate_every_epochs: 1 learning_rate { plateau_factor: 1.5 }",
     "learning_rate.plateau_factor: is not above 0 and at most 1"},
    {"validate_every_epochs: 1", "validate_every_epochs: 1 learning_rate { base_factor: 0 }",
     "learning_rate.base_factor: is not a number above 0"},
    {"validate_every_epochs: 1", "validate_every_epochs: 1 clip_global_norm: -1",
     "stage[0].train.clip_global_norm: -1 is below 0"},
    {"validate_every_epochs: 1", "validate_every_epochs: 1 clip_global_norm: nan",
     "stage[0].train.clip_global_norm: is not a finite number"},
    {"evaluate { k: 10 slice_column: \"action\" }", "evaluate { k: 0 }", "evaluate.k[0]: 0 is out"},
    {"slice_column: \"action\"", "slice_column: \"color\"",
     "evaluate.slice_column[0]: \"color\" is not a column of data.events; declare it there"},
    {"last_days { test_days: 30 validation_days: 30 }", "train_only {}",
     "stage[2].evaluate.on: the split holds out nothing for TEST; hold out samples"},
    {"evaluate { k: 10 slice_column: \"action\" }", "evaluate { floor_days: -1 }",
     "evaluate.floor_days[0]: -1 is below 0"},
    {"export {}", "export { hnsw_m: 1 }", "stage[3].export.hnsw_m: 1 is outside 2 to 512"},
    {"export {}", "export { recall_k: 0 }", "stage[3].export.recall_k: 0 is outside 1 to"},
};
INSTANTIATE_TEST_SUITE_P(Stages, ValidateTwoTower, ::testing::ValuesIn(kStages));

constexpr Case kDeepFm[] = {
    {"adam {} }", "adam {} } slot {}", "table[1].slot[0].name: is missing"},
    {"adam {} }", "adam {} } slot { name: \"a\" update: EMA }",
     "table[1].slot[0].column: is missing; name the column whose values it takes"},
    {"adam {} }", "adam {} } slot { name: \"a\" column: \"ad\" }",
     "table[1].slot[0].column: \"ad\" is no INT or FLOAT column of data.events"},
    {"adam {} }", "adam {} } slot { name: \"a\" fades: true }",
     "table[1].slot[0].fades: the table's popularity has no half life"},
    {"adam {} }", "adam {} } slot { name: \"a\" column: \"bid\" update: MAX fades: true }",
     "table[1].slot[0].fades: only what is added up fades"},
    {"adam {} }", "adam {} } slot { name: \"a\" column: \"bid\" update: EMA least_rho: 1 }",
     "table[1].slot[0].least_rho: 1 is not in [0, 1)"},
    {"adam {} }", "adam {} } popularity { half_life_days: 2 }",
     "table[1].popularity.half_life_days: the events have no time; set data.time_column"},
    {"table: \"deep\"", "table: \"deep\" slot_input { slot: \"ctr\" }",
     "feature[0].slot_input[0].slot: the feature's table has no slot \"ctr\""},
    {"label_column: \"click\"", "", "stage[0].train.pointwise: there is no label to learn; set"},
    {"label_column: \"click\"", "label_column: \"ad\"",
     "data.label_column: \"ad\" is a STRING col"},
    {"linear_table: \"wide\"", "linear_table: \"deep\"",
     "model.deepfm.linear_table: \"deep\" is not a table with dim 1; declare a table"},
    {"linear_table: \"wide\"\n    hidden: [32, 16]", "fm: false",
     "model.deepfm: linear, fm and MLP parts are all off; switch one on"},
    {"hidden: [32, 16]", "hidden: [32, 0]", "model.deepfm.hidden[1]: 0 is outside 1 to 65536"},
    {"hidden: [32, 16]", "feature: \"da\"", "model.deepfm.feature[0]: there is no feature \"da\""},
    {"deepfm {\n    linear_table: \"wide\"\n    hidden: [32, 16]", "dnn { feature: \"da\"",
     "model.dnn.feature[0]: there is no feature \"da\""},
    {"deepfm {\n    linear_table: \"wide\"\n    hidden: [32, 16]", "wdl { linear_table: \"deep\"",
     "model.wdl.linear_table: \"deep\" is not a table with dim 1; declare a table"},
    {"model {", "task { label_column: \"click\" } model {",
     "task[0].name: is missing; give a name"},
    {"model {", "task { name: \"a\" label_column: \"ad\" } model {",
     "task[0].label_column: \"ad\" is no INT or FLOAT column of data.events; declare it there"},
    {"model {", "task { name: \"a\" label_column: \"click\" given: \"b\" } model {",
     "task[0].given: there is no BINARY task \"b\" before it; name one, and put it first"},
    {"model {", "task { name: \"a\" label_column: \"click\" entire_space: true } model {",
     "task[0].entire_space: only a BINARY task with `given` is trained as a product; set given"},
    {"model {", "task { name: \"a\" label_column: \"bid\" kind: LOG1P positive_from: 1 } model {",
     "task[0]: LOG1P has no positives; remove positive_from and positive_above_percentile"},
    {"model {", "task { name: \"a\" label_column: \"bid\" positive_above_percentile: 101 } model {",
     "task[0].positive_above_percentile: 101 is outside 0 to 100"},
    {"model {", "task { name: \"a\" label_column: \"bid\" weight: -1 } model {",
     "task[0].weight: -1 is below 0; give at least 0"},
    {"pointwise {}", "pointwise { weights: DWA }",
     "pointwise.weights: there is one task; leave FIXED, or add tasks"},
    {"pointwise {}", "pointwise { temperature: 0 }",
     "pointwise.temperature: is not a number above 0"},
    {"stage { name: \"test\"",
     "dense { name: \"s\" statistics: true optimizer { adam {} } } stage { name: \"test\"",
     "dense[0]: statistics are means of batches, which only plain sgd keeps; set optimizer"},
    {"stage { name: \"test\"",
     "dense { name: \"s\" statistics: true optimizer { sgd { l2: 1 } } } stage { name: \"test\"",
     "dense[0]: statistics are means of batches, which only plain sgd keeps; set optimizer"},
    {"hidden: [32, 16]", "dropout: 1", "model.deepfm.dropout: 1 is not in [0, 1)"},
    {"feature { name: \"ad\" column: \"ad\" table: \"deep\" }\nfeature { name: \"bid\" column: "
     "\"bid\" }",
     "", "model.deepfm: no feature enters the model; declare features"},
    {"feature { name: \"bid\" column: \"bid\" }",
     "feature { name: \"more\" column: \"ad\" table: \"wide\" }",
     "model.deepfm: table \"wide\" has dim 1, an earlier feature's table has 8"},
    {"feature { name: \"bid\" column: \"bid\" }",
     "feature { name: \"more\" column: \"ad\" table: \"deep\" source: ITEM }",
     "feature[1].source: there is no file of items; set data.items, or use source ROW"},
    {"pointwise {}", "ranking {}", "stage[0].train.ranking: a deepfm model has no candidates"},
    {"pointwise {}", "sampled_softmax {}",
     "stage[0].train.sampled_softmax: a deepfm model has no candidates; use pointwise {}"},
    {"pointwise {}", "pointwise {} last_days: 3", "train.last_days: events have no time; set"},
    {"pointwise {}", "pointwise {} in_time_order: true", "in_time_order: events have no time"},
    {"evaluate {}", "export {}", "stage[1].export: a deepfm model has no item vectors to export"},
    {"evaluate {}", "evaluate { on: VALIDATION }",
     "stage[1].evaluate.on: the split holds out nothing for VALIDATION"},
    {"files { test_file: \"later.csv\" }", "leave_one_out {}",
     "data.split.leave_one_out: needs to know a user's last event; set data.user_column"},
    {"label_column: \"click\"", "label_column: \"click\" items_key_column: \"ad\"",
     "data: items_key_column and items_title_column need data.items; set data.items"},
};
INSTANTIATE_TEST_SUITE_P(DeepFm, ValidateDeepFm, ::testing::ValuesIn(kDeepFm));

TEST(ValidateJobTest, AnEmptyJobLacksEverything) {
  std::vector<std::string> missing;
  for (const Complaint& complaint : ValidateJob(spec::Job())) {
    EXPECT_EQ(complaint.problem, "is missing");
    missing.push_back(complaint.field);
  }
  EXPECT_THAT(missing, ::testing::ElementsAre("name", "data", "model", "stage"));
}

TEST(ValidateJobTest, EveryPositionNeedsOneHistory) {
  const std::string job =
      Replaced(TwoTowerJob(), "uniform { count: 64 } }", "uniform {} } every_position: true");
  EXPECT_THAT(ComplaintsOf(Replaced(job, "max_length: 50", "distinct_items: true")),
              ::testing::Contains(::testing::HasSubstr(
                  "every_position: with history.distinct_items a user has another history")));
}

TEST(ValidateJobTest, WordsOfSearchesNeedNoTitles) {
  const std::string job = Replaced(TwoTowerJob(), "title_feature: \"title\"", "");
  EXPECT_THAT(ComplaintsOf(job), ::testing::IsEmpty());
  EXPECT_THAT(
      ComplaintsOf(Replaced(job, "  name: \"word\"\n  dim: 16", "  name: \"word\"\n  dim: 8")),
      ::testing::Contains(::testing::HasSubstr(
          "model.two_tower.query_feature: table \"word\" has dim 8, the item's table has")));
}

// What every model that ranks items is asked.
TEST(ValidateJobTest, SasRec) {
  const std::string tower = TwoTowerJob();
  const size_t begin = tower.find("model {");
  const size_t end = tower.find("stage {");
  const auto job = [&](const std::string& options) {
    return Replaced(
        tower.substr(0, begin) + "model {\n  sasrec { " + options + " }\n}\n" + tower.substr(end),
        "ranking { negatives { unigram { count: 8 } } }",
        "sampled_softmax { negatives { all {} } every_position: true }");
  };
  EXPECT_THAT(ComplaintsOf(job("item_feature: \"id\" attribute_feature: \"title\"")),
              ::testing::IsEmpty());
  const auto expect = [&](const std::string& text, const std::string& complaint) {
    EXPECT_THAT(ComplaintsOf(text), ::testing::Contains(::testing::HasSubstr(complaint)));
  };
  expect(job(""), "model.sasrec.item_feature: is missing; name the feature");
  expect(job("item_feature: \"id\" attribute_feature: \"words\""),
         "model.sasrec.attribute_feature: feature \"words\" has source HISTORY");
  expect(Replaced(job("item_feature: \"id\""), "  history { max_length: 50 }\n", ""),
         "data.history: a sasrec model needs it: it reads the past");
  expect(Replaced(job("item_feature: \"id\""), "  popularity {}\n", "\n"),
         "stage[0].train.sampled_softmax.log_q: in_batch negatives need the item's popularity");
}

TEST(ValidateJobTest, TooManyTables) {
  spec::Job job;
  for (int i = 0; i < 257; ++i) {
    job.add_table()->set_name("t" + std::to_string(i));
  }
  std::vector<std::string> problems;
  for (const Complaint& complaint : ValidateJob(job)) {
    problems.push_back(complaint.problem);
  }
  EXPECT_THAT(problems, ::testing::Contains("257 tables and dense groups are too many"));
}

}  // namespace
}  // namespace emporium
