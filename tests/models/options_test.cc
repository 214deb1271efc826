// What CreateModel refuses, and that it says everything at once; parameters and their first values.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "tests/models/feed.h"

namespace emporium::models {
namespace {

std::string Refusal(const std::string& job) {
  const auto result = CreateModel(ParseJob(job));
  return result.ok() ? "accepted" : result.status().message();
}

void ExpectSays(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' not in:\n" << text;
}

const std::string kFeatures = R"(
  table { name: "item" dim: 8 } table { name: "word" dim: 4 } table { name: "one" dim: 1 }
  feature { name: "item" column: "i" table: "item" source: ITEM }
  feature { name: "title" column: "t" table: "word" source: ITEM }
  feature { name: "kind" column: "k" table: "item" source: HISTORY }
  feature { name: "row" column: "r" table: "item" } feature { name: "word" column: "w" table: "word" }
  feature { name: "price" column: "p" }
)";

TEST(CreateModel, NeedsAModel) { ExpectSays(Refusal(""), "model: there is none"); }

TEST(CreateModel, TwoTowerSaysEverythingAtOnce) {
  const std::string text = Refusal(kFeatures + R"(model { two_tower {
      item_feature: "item" title_feature: "title" action_feature: "row" query_feature: "nowhere"
      user_tower { transformer { layers: 0 heads: 3 width: 16 dropout: 1 gap_edges_days: [3, 2] }
                   history_dropout: -0.5 }
      context { hidden: 0 } popularity {} initial_scale: 1000 } }
    stage { name: "fit" train { pointwise {} } })");
  ExpectSays(text, "model.two_tower.title_feature: table 'word' has dim 4, the item's table 8");
  ExpectSays(text,
             "model.two_tower.action_feature: feature 'row' has source ROW; set source: HISTORY");
  ExpectSays(text, "model.two_tower.query_feature: there is no feature 'nowhere'");
  ExpectSays(text, "transformer.layers: there is none");
  ExpectSays(text, "transformer.heads: 3 heads do not divide width 16");
  ExpectSays(text, "transformer.width: 16, but a plain item tower gives the table's dim 8");
  ExpectSays(text, "transformer.dropout:");
  ExpectSays(text, "transformer.gap_edges_days:");
  ExpectSays(text, "user_tower.history_dropout:");
  ExpectSays(text, "context.feature: a context tower needs features");
  ExpectSays(text, "context.hidden:");
  ExpectSays(text, "popularity.counter: there is none");
  ExpectSays(text, "initial_scale:");
  ExpectSays(text, "stage 'fit': a two-tower model trains with sampled_softmax or ranking");
}

TEST(CreateModel, TwoTowerNeedsPopularityForInBatchLogQ) {
  const auto job = [](const std::string& popularity, const std::string& log_q) {
    return R"(table { name: "x" dim: 8 } table { name: "item" dim: 8 )" + popularity + R"( }
      feature { name: "item" column: "i" table: "item" source: ITEM }
      model { two_tower { item_feature: "item" user_tower { age_pooling {} } } }
      stage { name: "fit" train { sampled_softmax { negatives { in_batch {} } )" +
           log_q + " } } }";
  };
  ExpectSays(Refusal(job("", "")), "table 'item': in-batch negatives with log_q need");
  EXPECT_EQ(Refusal(job("", "log_q: false")), "accepted");
  const auto model = CreateModel(ParseJob(job("popularity {}", "")));
  ASSERT_TRUE(model.ok());
  EXPECT_EQ((*model)->needs().popularity_tables, std::vector<TableId>{TableId(1)});
  EXPECT_EQ((*model)->needs().vector_width, 8);
  EXPECT_TRUE((*model)->needs().history && (*model)->needs().candidates);
}

TEST(CreateModel, AgePoolingTakesNoActions) {
  ExpectSays(Refusal(kFeatures + R"(model { two_tower { item_feature: "item" action_feature: "kind"
               user_tower { age_pooling {} } } })"),
             "age_pooling: it pools items and cannot use action_feature");
}

TEST(CreateModel, DeepFmSaysEverythingAtOnce) {
  const std::string text = Refusal(kFeatures + R"(model { deepfm {
      feature: ["row", "word", "kind", "gone", "price"] linear_table: "item" dropout: 2 hidden: 0 } }
    stage { name: "fit" train { ranking {} } })");
  ExpectSays(text, "table 'word' of feature 'word' has dim 4, table 'item' has 8");
  ExpectSays(text, "there is no feature 'gone'");
  ExpectSays(text, "linear_table: table 'item' must have dim 1, it has 8");
  ExpectSays(text, "model.deepfm.dropout:");
  ExpectSays(text, "model.deepfm.hidden:");
  ExpectSays(text, "stage 'fit': a deepfm model trains with the pointwise loss");
  ExpectSays(Refusal(kFeatures + R"(model { deepfm { feature: "row" fm: false } })"),
             "model.deepfm: nothing is left to train");
}

const std::string kWhole = kFeatures + R"(
  model { two_tower { item_feature: "item" action_feature: "kind" initial_scale: 4
    initial_shift: -3
    user_tower { transformer { width: 8 gap_edges_days: 1 } } item_tower { residual {} }
    context { feature: "row" } popularity { counter { window_days: 1 } counter { window_days: 9 } } } }
  stage { name: "fit" train { ranking {} } })";

TEST(Parameters, FirstValuesAreAFunctionOfSeedNameAndShape) {
  Feed a(ParseJob(kWhole)), again(ParseJob(kWhole)), other(ParseJob("seed: 2 " + kWhole));
  EXPECT_EQ(a.dense, again.dense);
  EXPECT_NE(a.dense, other.dense);
  std::set<float> firsts;
  for (const DenseParameter& p : a.model->parameters()) {
    const float* begin = a.dense.data() + a.offsets[p.name];
    double square = 0;
    for (int64_t i = 0; i < p.size; ++i) square += static_cast<double>(begin[i]) * begin[i];
    const double rms = std::sqrt(square / static_cast<double>(p.size));
    if (p.name == "item_tower.block0.linear.weight") {
      EXPECT_NEAR(rms, 1 / std::sqrt(3.0 * 32), 0.01);  // U(-1/sqrt(32), 1/sqrt(32))
    } else if (p.name == "user_tower.position") {
      EXPECT_NEAR(rms, 0.02, 0.003);
    } else if (p.name == "user_tower.layer0.norm1.weight") {
      EXPECT_EQ(rms, 1);
    } else if (p.name == "scale" || p.name == "ranking.pair.scale") {
      EXPECT_FLOAT_EQ(begin[0], std::log(4.0f));
    } else if (p.name == "ranking.point.shift" || p.name == "ranking.pair.shift") {
      EXPECT_EQ(begin[0], -3);
    } else if (p.name == "popularity.beta") {
      EXPECT_EQ(begin[0], 0.5f);
    } else if (p.name == "context.out.weight") {
      EXPECT_EQ(rms, 0);
    }
    // Parameters of one shape still start apart.
    if (rms != 0 && rms != 1 && p.size > 8) {
      EXPECT_TRUE(firsts.insert(begin[0]).second) << p.name;
    }
    const bool outside = p.name.rfind("ranking.", 0) == 0 || p.name.rfind("context.", 0) == 0;
    EXPECT_EQ(p.train_only, outside) << p.name;
  }
}

}  // namespace
}  // namespace emporium::models
