#include "models/metrics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

namespace emporium::models {
namespace {

std::map<std::string, double> ByName(const std::vector<NamedValue>& values) {
  std::map<std::string, double> map;
  for (const NamedValue& v : values) map[v.name] = v.value;
  return map;
}

TEST(RankingSums, OneTargetByHand) {
  RankingSums sums({10});
  const std::vector<int32_t> third = {3};
  const std::vector<int32_t> beyond = {11};
  sums.Add(third);
  sums.Add(beyond);
  const auto m = ByName(sums.Means());
  EXPECT_DOUBLE_EQ(m.at("hr@10"), 0.5);
  EXPECT_DOUBLE_EQ(m.at("ndcg@10"), 0.25);  // 1 / log2(4) over two users
  EXPECT_DOUBLE_EQ(m.at("recall@10"), 0.5);
  EXPECT_DOUBLE_EQ(m.at("mrr"), (1.0 / 3 + 1.0 / 11) / 2);
}

TEST(RankingSums, NoUsersNoMeans) { EXPECT_TRUE(RankingSums({10}).Means().empty()); }

// The whole ranking as a list of 0/1 relevances, as textbooks write the metrics.
struct Slow {
  double hr = 0, ndcg = 0, recall = 0, mrr = 0;
};
Slow BruteForce(const std::vector<int>& relevance, int k) {
  Slow slow;
  std::vector<int> ideal = relevance;
  std::sort(ideal.rbegin(), ideal.rend());
  double dcg = 0, idcg = 0, hits = 0, targets = 0;
  for (size_t i = 0; i < relevance.size(); ++i) {
    targets += relevance[i];
    if (relevance[i] && slow.mrr == 0) slow.mrr = 1.0 / (i + 1);
    if (static_cast<int>(i) >= k) continue;
    hits += relevance[i];
    dcg += (std::pow(2.0, relevance[i]) - 1) / std::log2(i + 2.0);
    idcg += (std::pow(2.0, ideal[i]) - 1) / std::log2(i + 2.0);
  }
  slow.hr = hits > 0;
  slow.ndcg = dcg / idcg;
  slow.recall = hits / targets;
  return slow;
}

TEST(RankingSums, AgreesWithBruteForce) {
  std::mt19937 random(7);
  for (const int k : {1, 3, 10, 100}) {
    RankingSums sums({static_cast<uint32_t>(k)});
    Slow want;
    const int users = 60;
    for (int u = 0; u < users; ++u) {
      const size_t items = 5 + random() % 40;
      std::vector<int> relevance(items);
      for (int& r : relevance) r = random() % 4 == 0;
      relevance[random() % items] = 1;
      std::vector<int32_t> ranks;
      for (size_t i = 0; i < items; ++i) {
        if (relevance[i]) ranks.push_back(static_cast<int32_t>(i + 1));
      }
      sums.Add(ranks);
      const Slow one = BruteForce(relevance, k);
      want.hr += one.hr / users;
      want.ndcg += one.ndcg / users;
      want.recall += one.recall / users;
      want.mrr += one.mrr / users;
    }
    const auto m = ByName(sums.Means());
    const std::string at = "@" + std::to_string(k);
    EXPECT_NEAR(m.at("hr" + at), want.hr, 1e-12);
    EXPECT_NEAR(m.at("ndcg" + at), want.ndcg, 1e-12);
    EXPECT_NEAR(m.at("recall" + at), want.recall, 1e-12);
    EXPECT_NEAR(m.at("mrr"), want.mrr, 1e-12);
  }
}

TEST(RankingSums, MergeIsTheSumOfParts) {
  const std::vector<int32_t> a = {1, 5};
  const std::vector<int32_t> b = {2};
  RankingSums first({5, 10}), second({5, 10}), merged({5, 10});
  first.Add(a);
  second.Add(b);
  merged.Merge(first.sums());
  merged.Merge(second.sums());
  RankingSums whole({5, 10});
  whole.Add(a);
  whole.Add(b);
  ASSERT_EQ(merged.sums().size(), RankingSums::Size(2));
  for (size_t i = 0; i < merged.sums().size(); ++i) {
    EXPECT_DOUBLE_EQ(merged.sums()[i], whole.sums()[i]);
  }
}

TEST(Auc, AgreesWithAllPairsAlsoWithTies) {
  std::mt19937 random(3);
  for (const int distinct : {2, 5, 1000000}) {
    std::vector<float> logits(200), labels(200);
    for (size_t i = 0; i < logits.size(); ++i) {
      logits[i] = static_cast<float>(static_cast<int>(random() % distinct)) / 7 - 1;
      labels[i] = static_cast<float>(random() % 3 == 0);
    }
    double won = 0, pairs = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
      for (size_t j = 0; j < logits.size(); ++j) {
        if (labels[i] != 1 || labels[j] != 0) continue;
        pairs += 1;
        won += logits[i] > logits[j] ? 1 : logits[i] == logits[j] ? 0.5 : 0;
      }
    }
    EXPECT_NEAR(Auc(logits, labels).value(), won / pairs, 1e-12) << distinct;
  }
}

TEST(Auc, NeedsBothClasses) {
  const std::vector<float> logits = {1, 2};
  EXPECT_FALSE(Auc(logits, std::vector<float>{1, 1}));
  EXPECT_FALSE(Auc(logits, std::vector<float>{0, 0}));
  EXPECT_FALSE(Auc({}, {}));
}

TEST(LogLoss, AgreesWithTheDefinitionAndStaysFinite) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(300), labels(300);
  double want = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = normal(random);
    labels[i] = static_cast<float>(random() % 2);
    const double p = 1 / (1 + std::exp(-static_cast<double>(logits[i])));
    want -= (labels[i] == 1 ? std::log(p) : std::log(1 - p)) / 300;
  }
  EXPECT_NEAR(LogLoss(logits, labels).value(), want, 1e-9);
  EXPECT_DOUBLE_EQ(LogLoss(std::vector<float>{-3e38f}, std::vector<float>{1}).value(),
                   static_cast<double>(3e38f));
  EXPECT_EQ(LogLoss(std::vector<float>{3e38f}, std::vector<float>{1}).value(), 0);
  EXPECT_FALSE(LogLoss({}, {}));
}

// Two groups by hand, one with a single class.
TEST(AucOfGroups, WeighsGroupsByRowsAndLeavesOneClassGroupsOut) {
  const std::vector<float> logits = {1, 2, 3, 5, 4, 9, 8};
  const std::vector<float> labels = {0, 1, 1, 0, 1, 1, 1};
  const std::vector<uint64_t> group = {7, 7, 7, 2, 2, 5, 5};
  const GroupedAuc got = AucOfGroups(logits, labels, group);
  ASSERT_TRUE(got.value);
  EXPECT_DOUBLE_EQ(*got.value, (3 * 1.0 + 2 * 0.0) / 5);
  EXPECT_DOUBLE_EQ(got.left_out, 1 - 5.0 / 7);
  const GroupedAuc none =
      AucOfGroups(std::vector<float>{1}, std::vector<float>{1}, std::vector<uint64_t>{1});
  EXPECT_FALSE(none.value);
  EXPECT_EQ(none.left_out, 1);
}

TEST(AucOfGroups, IsAucWhereAllIsOneGroup) {
  const std::vector<float> logits = {1, 3, 2, 5, 4}, labels = {0, 0, 1, 1, 0};
  EXPECT_EQ(*AucOfGroups(logits, labels, std::vector<uint64_t>(5, 3)).value, *Auc(logits, labels));
}

TEST(Pcoc, IsPredictionsOverLabels) {
  const std::vector<float> logits = {0, 0, std::log(3.0f)};
  EXPECT_NEAR(*Pcoc(logits, std::vector<float>{1, 0, 1}), (0.5 + 0.5 + 0.75) / 2, 1e-6);
  EXPECT_FALSE(Pcoc(logits, std::vector<float>{0, 0, 0}));
}

TEST(Rmse, IsTheRootOfTheMeanSquare) {
  EXPECT_DOUBLE_EQ(*Rmse(std::vector<float>{1, 2}, std::vector<float>{4, 6}), std::sqrt(12.5));
  EXPECT_FALSE(Rmse({}, {}));
}

}  // namespace
}  // namespace emporium::models
