#include "worker/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "worker/negatives.h"

namespace emporium::worker {
namespace {

TEST(RandomStreamTest, IsAFunctionOfItsNumbers) {
  RandomStream a(1, Purpose::kNegatives, {2, 3});
  RandomStream b(1, Purpose::kNegatives, {2, 3});
  EXPECT_EQ(a.Next(), b.Next());
  std::set<uint64_t> firsts;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    for (const Purpose purpose : {Purpose::kShuffle, Purpose::kLag, Purpose::kNegatives}) {
      for (uint64_t i = 0; i < 20; ++i) {
        firsts.insert(RandomStream(seed, purpose, {i, 0}).Next());
        firsts.insert(RandomStream(seed, purpose, {0, i + 100}).Next());
      }
    }
  }
  EXPECT_EQ(firsts.size(), 5u * 3 * 40);
}

TEST(RandomStreamTest, IsUniformAndNormal) {
  RandomStream random(7, Purpose::kSynthetic, {});
  double unit = 0;
  double normal = 0;
  double square = 0;
  std::vector<int> bins(10, 0);
  constexpr int kDraws = 100'000;
  for (int i = 0; i < kDraws; ++i) {
    unit += random.Unit();
    const double z = random.Normal();
    normal += z;
    square += z * z;
    ++bins[random.Below(10)];
  }
  EXPECT_NEAR(unit / kDraws, 0.5, 0.005);
  EXPECT_NEAR(normal / kDraws, 0, 0.015);
  EXPECT_NEAR(square / kDraws, 1, 0.02);
  for (const int n : bins) {
    EXPECT_NEAR(n, kDraws / 10, 400);
  }
}

TEST(PermutationTest, VisitsEverythingOnceInAnotherOrderForEachKey) {
  for (const uint64_t n : {1ull, 2ull, 3ull, 7ull, 64ull, 1000ull, 4097ull}) {
    std::set<std::vector<uint64_t>> orders;
    for (uint64_t key = 0; key < 4; ++key) {
      const Permutation permutation(n, key * 77 + 5);
      std::vector<uint64_t> order;
      std::set<uint64_t> seen;
      for (uint64_t i = 0; i < n; ++i) {
        order.push_back(permutation(i));
        ASSERT_LT(order.back(), n);
        seen.insert(order.back());
      }
      ASSERT_EQ(seen.size(), n);
      orders.insert(order);
    }
    if (n >= 64) {
      EXPECT_EQ(orders.size(), 4u);
    }
  }
}

// Where a number lands is spread evenly: neighbours do not stay together.
TEST(PermutationTest, ScattersNeighbours) {
  constexpr uint64_t kN = 1000;
  double distance = 0;
  for (uint64_t key = 0; key < 20; ++key) {
    const Permutation permutation(kN, key);
    for (uint64_t i = 1; i < kN; ++i) {
      distance +=
          std::fabs(static_cast<double>(permutation(i)) - static_cast<double>(permutation(i - 1)));
    }
  }
  EXPECT_NEAR(distance / (20 * (kN - 1)), kN / 3.0, 10);
}

TEST(AliasTableTest, DrawsByWeight) {
  const std::vector<double> weights = {1, 0, 5, 0.5, 3.5, 0};
  const AliasTable table(weights);
  RandomStream random(3, Purpose::kNegatives, {});
  std::vector<int> drawn(weights.size(), 0);
  constexpr int kDraws = 200'000;
  for (int i = 0; i < kDraws; ++i) {
    ++drawn[table.Draw(&random)];
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    EXPECT_DOUBLE_EQ(table.probability(i), weights[i] / 10);
    EXPECT_NEAR(drawn[i], kDraws * weights[i] / 10, weights[i] == 0 ? 0 : 800);
  }
}

// What Expected says is what Draw does, in the mean, also in a mixture (models.md L4).
TEST(NegativeSamplerTest, ExpectedIsTheMeanOfWhatIsDrawn) {
  NegativeSampler::Spec spec;
  spec.Add()->mutable_uniform()->set_count(30);
  auto* unigram = spec.Add()->mutable_unigram();
  unigram->set_count(20);
  unigram->set_power(0.5f);
  const NegativeSampler sampler(spec, {16, 0, 1, 4, 100});
  EXPECT_DOUBLE_EQ(sampler.expected_total(), 50);
  EXPECT_FALSE(sampler.in_batch());
  EXPECT_NEAR(sampler.Expected(1), 6, 1e-9);
  EXPECT_NEAR(sampler.Expected(4), 6 + 20 * 10.0 / 17, 1e-9);
  std::vector<double> drawn(5, 0);
  constexpr int kRounds = 4'000;
  for (uint64_t round = 0; round < kRounds; ++round) {
    RandomStream random(1, Purpose::kNegatives, {round});
    std::vector<int32_t> items;
    sampler.Draw(&random, &items);
    ASSERT_EQ(items.size(), 50u);
    for (const int32_t item : items) {
      drawn[static_cast<size_t>(item)] += 1.0 / kRounds;
    }
  }
  for (int32_t item = 0; item < 5; ++item) {
    EXPECT_NEAR(drawn[static_cast<size_t>(item)], sampler.Expected(item), 0.15) << item;
  }
}

TEST(NegativeSamplerTest, KnowsAllAndInBatch) {
  NegativeSampler::Spec spec;
  spec.Add()->mutable_all();
  const NegativeSampler all(spec, {1, 2});
  EXPECT_TRUE(all.all() && all.draws());
  EXPECT_DOUBLE_EQ(all.Expected(0), 1);
  spec.Clear();
  spec.Add()->mutable_in_batch();
  const NegativeSampler in_batch(spec, {1, 2});
  EXPECT_TRUE(in_batch.in_batch());
  EXPECT_FALSE(in_batch.draws());
  // Unigram over nothing is uniform.
  spec.Clear();
  spec.Add()->mutable_unigram()->set_count(4);
  EXPECT_DOUBLE_EQ(NegativeSampler(spec, {0, 0}).Expected(1), 2);
}

}  // namespace
}  // namespace emporium::worker
