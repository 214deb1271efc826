#include "worker/ranking.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

namespace emporium::worker {
namespace {

// Sorts the whole catalogue and looks the targets up.
std::vector<int32_t> SlowRanks(const std::vector<float>& scores,
                               const std::vector<int32_t>& targets,
                               const std::vector<int32_t>& masked, TieRule ties) {
  std::vector<int32_t> order;
  for (int32_t i = 0; i < static_cast<int32_t>(scores.size()); ++i) {
    const bool is_target = std::count(targets.begin(), targets.end(), i) > 0;
    if (is_target || std::count(masked.begin(), masked.end(), i) == 0) order.push_back(i);
  }
  if (ties == TieRule::kHigherNumberFirst) std::reverse(order.begin(), order.end());
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return scores[a] > scores[b]; });
  std::vector<int32_t> ranks;
  for (size_t r = 0; r < order.size(); ++r) {
    if (std::count(targets.begin(), targets.end(), order[r]) > 0) {
      ranks.push_back(static_cast<int32_t>(r + 1));
    }
  }
  return ranks;
}

std::vector<int32_t> Draw(std::mt19937& random, int32_t items, size_t count) {
  std::vector<int32_t> drawn;
  while (drawn.size() < count) {
    const auto item = static_cast<int32_t>(random() % items);
    if (std::count(drawn.begin(), drawn.end(), item) == 0) drawn.push_back(item);
  }
  return drawn;
}

TEST(RankTargets, AgreesWithSortingAroundBlockSizesAndTies) {
  std::mt19937 random(11);
  for (const int32_t items : {6, 127, 128, 129, 300, 1000}) {
    for (const int distinct : {1, 3, 1 << 30}) {
      for (const TieRule ties : {TieRule::kLowerNumberFirst, TieRule::kHigherNumberFirst}) {
        std::vector<float> scores(items);
        for (float& s : scores) s = static_cast<float>(static_cast<int>(random() % distinct)) - 1;
        const auto targets = Draw(random, items, 3);
        const auto masked = Draw(random, items, items / 2);  // may hold targets
        std::vector<int32_t> ranks = {77};
        RankTargets(scores, targets, masked, ties, &ranks);
        ASSERT_EQ(ranks.front(), 77) << "appends";
        ranks.erase(ranks.begin());
        EXPECT_EQ(ranks, SlowRanks(scores, targets, masked, ties)) << items << " " << distinct;
      }
    }
  }
}

TEST(ItemMatrix, ScoresAreInnerProductsSummedInOrder) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (const int32_t items : {1, 127, 128, 130, 400}) {
    const int32_t width = 17;
    std::vector<float> vectors(static_cast<size_t>(items) * width);
    for (float& v : vectors) v = normal(random);
    ItemMatrix matrix(items, width);
    // In two parts, as chunks of a catalogue come.
    const auto cut = static_cast<size_t>(items / 3) * width;
    matrix.Set(0, std::span(vectors).first(cut));
    matrix.Set(items / 3, std::span(vectors).subspan(cut));
    std::vector<float> user(width);
    for (float& v : user) v = normal(random);
    std::vector<float> scores(items);
    ASSERT_TRUE(matrix.Score(user, scores).ok());
    for (int32_t i = 0; i < items; ++i) {
      volatile float sum = 0;  // volatile: no reordering, no fused operations
      for (int32_t d = 0; d < width; ++d) {
        volatile float product = user[d] * vectors[static_cast<size_t>(i) * width + d];
        sum = sum + product;
      }
      EXPECT_EQ(scores[i], sum) << i;
    }
  }
}

TEST(ItemMatrix, RefusesScoresThatAreNotFinite) {
  ItemMatrix matrix(2, 1);
  matrix.Set(0, std::vector<float>{1e30f, 1});
  std::vector<float> scores(2);
  EXPECT_TRUE(matrix.Score(std::vector<float>{1}, scores).ok());
  const Status overflow = matrix.Score(std::vector<float>{1e30f}, scores);
  EXPECT_EQ(overflow.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(overflow.message().find("not a finite number"), std::string::npos);
  EXPECT_FALSE(
      matrix.Score(std::vector<float>{std::numeric_limits<float>::quiet_NaN()}, scores).ok());
}

TEST(TopItems, LeavesMaskedOutAndBreaksTiesByNumber) {
  const std::vector<float> scores = {1, 5, 5, 3, 9};
  const std::vector<int32_t> masked = {4};
  EXPECT_EQ(TopItems(scores, masked, 3), (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(TopItems(scores, masked, 99), (std::vector<int32_t>{1, 2, 3, 0}));
  EXPECT_TRUE(TopItems(scores, masked, 0).empty());
}

}  // namespace
}  // namespace emporium::worker
