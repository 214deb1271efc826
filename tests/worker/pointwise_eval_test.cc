// Metrics of several tasks from chunks, against the definitions applied to all rows at once.
#include "worker/pointwise_eval.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "models/metrics.h"
#include "models/random.h"

namespace emporium::worker {
namespace {

// ctr; views given a click; buy given a click, trained as a product.
const std::vector<models::Task> kTasks = {{"ctr"}, {"views", false, 0}, {"buy", true, 0, true}};

struct Rows {
  std::vector<float> logits[3], labels[3];
  std::vector<uint64_t> user, session;
  std::vector<uint8_t> bucket;
  std::vector<uint32_t> country;
};

Rows SomeRows(int rows) {
  models::Random random(3);
  Rows all;
  for (int i = 0; i < rows; ++i) {
    for (int k = 0; k < 3; ++k) {
      all.logits[k].push_back(random.Normal());
      all.labels[k].push_back(k == 1 ? random.Uniform() : random.Uniform() < 0.5f ? 1 : 0);
    }
    all.user.push_back(random.Next() % 9);
    all.session.push_back(random.Next() % 30);
    all.bucket.push_back(static_cast<uint8_t>(random.Next() % 3));
    all.country.push_back(static_cast<uint32_t>(random.Next() % 2));
  }
  return all;
}

// Rows [begin, end), the slice's values in an order of the chunk's own.
std::string ChunkOf(const Rows& all, size_t begin, size_t end) {
  PointwiseChunk chunk;
  chunk.rows = static_cast<uint32_t>(end - begin);
  const auto part = [&](const auto& values) {
    return std::vector(values.begin() + static_cast<int64_t>(begin),
                       values.begin() + static_cast<int64_t>(end));
  };
  for (int k = 0; k < 3; ++k) {
    const auto logits = part(all.logits[k]);
    const auto labels = part(all.labels[k]);
    chunk.logits.insert(chunk.logits.end(), logits.begin(), logits.end());
    chunk.labels.insert(chunk.labels.end(), labels.begin(), labels.end());
  }
  chunk.group = {part(all.user), part(all.session)};
  chunk.popularity_bucket = part(all.bucket);
  PointwiseChunk::Column& column = chunk.columns.emplace_back();
  const uint32_t first = all.country[begin];
  column.values = {std::to_string(first), std::to_string(1 - first)};
  for (const uint32_t c : part(all.country)) column.value.push_back(c == first ? 0 : 1);
  return Encode(chunk);
}

std::map<std::string, double> Combined(const std::vector<std::string>& chunks) {
  const PointwiseMetrics wanted = {kTasks, {"gauc", "s_gauc"}, {"country"}};
  const auto metrics =
      CombinePointwise(wanted, static_cast<int64_t>(chunks.size()),
                       [&](int64_t c) -> Result<std::string> { return chunks[c]; });
  EXPECT_TRUE(metrics.ok()) << metrics.status().ToString();
  std::map<std::string, double> by_name;
  for (const control::Metric& m : *metrics) {
    EXPECT_TRUE(by_name.emplace(m.name, m.value).second) << "twice: " << m.name;
  }
  return by_name;
}

TEST(PointwiseEval, IsExactHoweverTheRowsAreCut) {
  const Rows all = SomeRows(120);
  const auto got = Combined({ChunkOf(all, 0, 50), ChunkOf(all, 50, 51), ChunkOf(all, 51, 120)});
  EXPECT_EQ(Combined({ChunkOf(all, 0, 120)}), got);

  EXPECT_EQ(got.at("auc[task=ctr]"), *models::Auc(all.logits[0], all.labels[0]));
  EXPECT_EQ(got.at("gauc[task=ctr]"),
            *models::AucOfGroups(all.logits[0], all.labels[0], all.user).value);
  EXPECT_EQ(got.at("s_gauc[task=ctr]"),
            *models::AucOfGroups(all.logits[0], all.labels[0], all.session).value);
  EXPECT_GT(got.at("s_gauc_left_out[task=ctr]"), 0);
  EXPECT_EQ(got.at("rows[task=ctr]"), 120);

  std::vector<float> top, top_label, country, country_label;
  std::vector<float> views, views_label, buy, buy_label, joint, joint_label;
  for (size_t i = 0; i < 120; ++i) {
    if (all.bucket[i] == 0) {
      top.push_back(all.logits[0][i]);
      top_label.push_back(all.labels[0][i]);
    }
    if (all.country[i] == 1) {
      country.push_back(all.logits[0][i]);
      country_label.push_back(all.labels[0][i]);
    }
    const double p =
        1 / (1 + std::exp(-double{all.logits[0][i]})) / (1 + std::exp(-double{all.logits[2][i]}));
    joint.push_back(static_cast<float>(p));
    joint_label.push_back(all.labels[0][i] * all.labels[2][i]);
    if (all.labels[0][i] == 0) continue;
    views.push_back(all.logits[1][i]);
    views_label.push_back(all.labels[1][i]);
    buy.push_back(all.logits[2][i]);
    buy_label.push_back(all.labels[2][i]);
  }
  EXPECT_EQ(got.at("pcoc[task=ctr,popularity=top 1%]"), *models::Pcoc(top, top_label));
  EXPECT_EQ(got.at("auc[task=ctr,country=1]"), *models::Auc(country, country_label));
  EXPECT_EQ(got.at("rmse[task=views]"), *models::Rmse(views, views_label));
  EXPECT_EQ(got.at("rows[task=views]"), static_cast<double>(views.size()));
  EXPECT_EQ(got.at("auc[task=buy]"), *models::Auc(buy, buy_label));
  EXPECT_EQ(got.at("auc[task=buy,joint]"), *models::Auc(joint, joint_label));
  EXPECT_EQ(got.at("rows[task=buy,joint]"), 120);
  double predicted = 0, positives = 0;
  for (size_t i = 0; i < 120; ++i) {
    predicted += joint[i];
    positives += joint_label[i];
  }
  EXPECT_NEAR(got.at("pcoc[task=buy,joint]"), predicted / positives, 1e-5);
}

TEST(PointwiseEval, RanksAmongSampledItems) {
  // Three are better, one is equal and comes first by its number, one is equal and does not.
  const std::vector<float> scores = {2, 3, 1, 1, 0, 1.5f};
  const std::vector<int32_t> items = {9, 8, 3, 7, 1, 2};
  EXPECT_EQ(RankAmong(1, 5, scores, items), 5u);

  const std::vector<models::Task> tasks(1);
  const auto chunk = [](std::vector<uint32_t> rank, std::vector<uint32_t> country) {
    PointwiseChunk made;
    made.rows = static_cast<uint32_t>(rank.size());
    made.logits.assign(rank.size(), 0.5f);
    made.labels.assign(rank.size(), 1.0f);
    made.rank = std::move(rank);
    made.columns = {{{"no", "se"}, std::move(country)}};
    return Encode(made);
  };
  const std::vector<std::string> chunks = {chunk({1, 4}, {0, 1}), chunk({0, 11}, {0, 0})};
  PointwiseMetrics wanted = {tasks, {}, {"country"}, false, 99, {1, 10}};
  const auto combine = [&] {
    return CombinePointwise(wanted, 2, [&](int64_t c) -> Result<std::string> { return chunks[c]; });
  };
  const auto metrics = combine();
  ASSERT_TRUE(metrics.ok()) << metrics.status().ToString();
  std::map<std::string, double> got;
  for (const control::Metric& m : *metrics) got[m.name] = m.value;
  // One row is not ranked; without labels there is nothing else to say of the rows.
  const std::map<std::string, double> whole = {{"rows", 4},
                                               {"sampled99_hr@1", 1.0 / 3},
                                               {"sampled99_hr@10", 2.0 / 3},
                                               {"sampled99_ndcg@1", 1.0 / 3},
                                               {"sampled99_ndcg@10", (1 + 1 / std::log2(5.0)) / 3},
                                               {"sampled99_mrr", (1 + 1.0 / 4 + 1.0 / 11) / 3}};
  for (const auto& [name, value] : whole) EXPECT_NEAR(got.at(name), value, 1e-12) << name;
  EXPECT_NEAR(got.at("sampled99_hr@1[country=no]"), 0.5, 1e-12);
  EXPECT_NEAR(got.at("sampled99_mrr[country=se]"), 0.25, 1e-12);
  EXPECT_EQ(got.count("auc") + got.count("logloss") + got.count("sampled99_recall@1"), 0u);
  wanted.sampled_negatives = 0;
  EXPECT_EQ(combine().status().code(), StatusCode::kDataLoss);
}

TEST(PointwiseEval, RefusesChunksOfAnotherJob) {
  const Rows all = SomeRows(10);
  const std::string chunk = ChunkOf(all, 0, 10);
  const auto combine = [&](const PointwiseMetrics& wanted) {
    return CombinePointwise(wanted, 1, [&](int64_t) -> Result<std::string> { return chunk; })
        .status()
        .code();
  };
  EXPECT_EQ(combine({kTasks, {"gauc"}, {"country"}}), StatusCode::kDataLoss);
  EXPECT_EQ(combine({kTasks, {"gauc", "s_gauc"}, {}}), StatusCode::kDataLoss);
  EXPECT_EQ(combine({std::span(kTasks).first(2), {"gauc", "s_gauc"}, {"country"}}),
            StatusCode::kDataLoss);
}

}  // namespace
}  // namespace emporium::worker
