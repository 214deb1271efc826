// The two-tower model against tensors made by tests/reference/two_tower.py in float64: every loss
// term, every gradient of rows and dense parameters, user and item vectors.
#include <gtest/gtest.h>

#include <numeric>

#include "tests/models/feed.h"
#include "tests/models/tensor_file.h"

namespace emporium::models {
namespace {

constexpr const char* kTables[] = {"item", "word", "action", "module", "device"};

const std::string kData = R"(
  name: "reference"
  table { name: "item" dim: 8 popularity {} }
  table { name: "word" dim: 8 }
  table { name: "action" dim: 8 }
  table { name: "module" dim: 3 }
  table { name: "device" dim: 2 }
  data { history { max_length: 10 } }
  feature { name: "item" column: "item" table: "item" source: ITEM }
  feature { name: "title" column: "title" table: "word" source: ITEM }
  feature { name: "kind" column: "kind" table: "action" source: HISTORY }
  feature { name: "query" column: "query" table: "word" source: HISTORY }
  feature { name: "module" column: "module" table: "module" }
  feature { name: "device" column: "device" table: "device" }
)";

const std::string kCaseNames[] = {"softmax_transformer", "pair_context_a", "list_context_b",
                                  "pairwise_age", "softmax_age"};

std::string ModelOf(const std::string& name) {
  if (name == "softmax_transformer") {
    return R"(title_feature: "title" action_feature: "kind" query_feature: "query"
      user_tower { transformer { layers: 2 heads: 2 width: 6 feed_forward: 12 dropout: 0
        gap_edges_days: [1, 7, 30] } }
      item_tower { residual {} } popularity { counter { window_days: 3 } counter { window_days: 9 } })";
  }
  if (name == "pair_context_a") {
    return R"(title_feature: "title" action_feature: "kind" initial_scale: 2
      user_tower { transformer { layers: 2 heads: 2 width: 6 feed_forward: 12 dropout: 0 } }
      item_tower { residual {} } context { feature: ["module", "device"] hidden: 4 }
      popularity { counter { window_days: 3 } counter { half_life_days: 9 } })";
  }
  if (name == "list_context_b") {
    return R"(similarity: DOT initial_scale: 0.5
      user_tower { transformer { layers: 2 heads: 2 width: 8 feed_forward: 12 dropout: 0
        gap_edges_days: 3 } }
      context { feature: ["module", "device"] hidden: 4 variant: B })";
  }
  const std::string pooled = R"(title_feature: "title" title_weight: 2
    user_tower { age_pooling { age_edges_days: [3, 7, 14] max_count: 3 } })";
  if (name == "pairwise_age") {
    return pooled + R"(initial_scale: 10
      popularity { counter { window_days: 3 } counter { window_days: 9 } })";
  }
  return pooled + R"(initial_scale: 4 item_tower { residual {} }
    popularity { counter { window_days: 3 } counter { window_days: 9 } counter { window_days: 30 } })";
}

std::string LossOf(const std::string& name) {
  if (name == "softmax_transformer") {
    return "sampled_softmax { negatives { in_batch {} } negatives { uniform {} } "
           "positives_power: 0.5 }";
  }
  if (name == "pair_context_a") return "ranking { form: PAIR }";
  if (name == "list_context_b") return "ranking { form: LIST }";
  if (name == "pairwise_age") return "ranking { form: PAIRWISE_LOGISTIC }";
  return "sampled_softmax { negatives { uniform {} } log_q: false positives_power: 0.5 }";
}

spec::Job JobOf(const std::string& name) {
  return ParseJob(kData + "model { two_tower { item_feature: \"item\" " + ModelOf(name) +
                  "} } stage { name: \"train\" train { " + LossOf(name) + " } }");
}

Batch BatchOf(const TensorFile& file, const std::string& name, const spec::Job& job) {
  const std::string p = name + "/batch/";
  const spec::TwoTower& model = job.model().two_tower();
  Batch batch;
  batch.samples = static_cast<int32_t>(file.floats(p + "history.offset").size()) - 1;
  batch.weight = file.floats(p + "weight");
  batch.items.id = Singles(0, file.ints(p + "items.id.index"));
  batch.items.count = batch.items.id.lists();
  if (model.has_title_feature()) {
    batch.items.title =
        Lists(1, file.ints(p + "items.title.index"), file.ints(p + "items.title.offset"));
  }
  HistoryColumns& h = batch.history;
  h.offset = file.ints(p + "history.offset");
  h.item = file.ints(p + "history.item");
  h.age_days = file.floats(p + "history.age_days");
  h.count = file.ints(p + "history.count");
  if (model.has_action_feature()) h.action = Singles(2, file.ints(p + "history.action.index"));
  if (model.has_query_feature()) {
    h.query = Lists(1, file.ints(p + "history.query.index"), file.ints(p + "history.query.offset"));
  }
  CandidateColumns& c = batch.candidates;
  c.item = file.ints(p + "candidates.item");
  c.log_q = file.floats(p + "candidates.log_q");
  c.sampled = file.ints<uint8_t>(p + "candidates.sampled");
  if (name == "softmax_transformer") {
    c.in_batch = file.ints<uint8_t>(p + "candidates.in_batch");
    c.in_batch_draws = static_cast<float>(file.floats(p + "candidates.positive").size());
    c.drawn = 4;
  }
  c.positive = file.ints(p + "candidates.positive");
  c.positive_offset = file.ints(p + "candidates.positive_offset");
  c.masked = file.ints(p + "candidates.masked");
  c.masked_offset = file.ints(p + "candidates.masked_offset");
  c.group = file.ints(p + "candidates.group");
  c.group_offset = file.ints(p + "candidates.group_offset");
  c.group_label = file.floats(p + "candidates.group_label");
  c.log_counts = file.floats(p + "candidates.log_counts");
  if (model.has_context()) {
    batch.fields.push_back({"module", Singles(3, file.ints(p + "field.module.index"))});
    batch.fields.push_back({"device", Singles(4, file.ints(p + "field.device.index"))});
  }
  return batch;
}

class TwoTowerReference : public testing::TestWithParam<std::string> {};

TEST_P(TwoTowerReference, LossesGradientsAndVectorsEqualPyTorch) {
  static const TensorFile file("two_tower.bin");
  const std::string name = GetParam();
  const spec::Job job = JobOf(name);
  Feed feed(job);
  for (const char* table : kTables) {
    const NamedTensor& rows = file.at(name + "/rows/" + table);
    feed.AddTable(static_cast<int32_t>(rows.shape[1]), rows.values);
  }
  feed.tables[0].popularity = file.floats(name + "/batch/popularity");
  for (float p : feed.tables[0].popularity) feed.tables[0].popularity_total += p;
  // The same parameters under the same names and in the same shapes.
  ASSERT_EQ(file.names(name + "/dense/").size(), feed.model->parameters().size());
  for (const DenseParameter& parameter : feed.model->parameters()) {
    const NamedTensor& values = file.at(name + "/dense/" + parameter.name);
    ASSERT_EQ(values.shape, parameter.shape) << parameter.name;
    std::copy(values.values.begin(), values.values.end(),
              feed.dense.begin() + feed.offsets[parameter.name]);
  }
  const Batch batch = BatchOf(file, name, job);
  const auto terms = feed.Train(batch, job.stage(0).train());
  const auto losses = file.names(name + "/loss/");
  ASSERT_EQ(terms.size(), losses.size());
  for (const std::string& term : losses) {
    ASSERT_EQ(terms.count(term), 1u) << term;
    EXPECT_NEAR(terms.at(term), file.floats(name + "/loss/" + term)[0], 2e-6) << term;
  }
  for (const DenseParameter& parameter : feed.model->parameters()) {
    const auto begin = feed.dense_gradient.begin() + feed.offsets[parameter.name];
    ExpectNear(std::vector<float>(begin, begin + parameter.size),
               file.floats(name + "/dense_gradient/" + parameter.name), 2e-5, parameter.name);
  }
  for (size_t t = 0; t < std::size(kTables); ++t) {
    ExpectNear(feed.tables[t].gradient, file.floats(name + "/row_gradient/" + kTables[t]), 2e-5,
               kTables[t]);
  }
  ExpectNear(feed.UserVectors(batch), file.floats(name + "/user_vectors"), 2e-5, "user vectors");
  ExpectNear(feed.ItemVectors(batch, file.floats(name + "/batch/items.log_counts")),
             file.floats(name + "/item_vectors"), 2e-5, "item vectors");
}

INSTANTIATE_TEST_SUITE_P(Cases, TwoTowerReference, testing::ValuesIn(kCaseNames),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace emporium::models
