#include "worker/floors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "tests/worker/eval_fakes.h"
#include "worker/ranking.h"

namespace emporium::worker {
namespace {

constexpr double kDay = 86400;

std::vector<FakeEvent> RandomEvents(int users, int items, int events) {
  std::mt19937 random(5);
  std::vector<FakeEvent> out;
  for (int e = 0; e < events; ++e) {
    FakeEvent event;
    event.user = "u" + std::to_string(random() % users);
    const auto item = std::min(random() % items, random() % items);  // some items are popular
    if (random() % 20 != 0) event.item = "i" + std::to_string(item);
    event.time = 1000 + e * kDay / 20;
    out.push_back(event);
  }
  return out;
}

struct Slow {
  const FakeDataset& data;
  // Known events and the reference time of a user, straight from the definition.
  bool Known(size_t event, const spec::Split& split, EvalSplit on) const {
    if (split.has_leave_one_out()) {
      const auto of_user = data.events_of_user(data.event_user()[event]);
      const size_t held_out = on == EvalSplit::kTest ? 1 : 2;
      const size_t place = std::find(of_user.begin(), of_user.end(), event) - of_user.begin();
      return place + held_out < of_user.size();
    }
    return data.event_time()[event] < Reference(0, split, on);
  }
  double Reference(int32_t user, const spec::Split& split, EvalSplit on) const {
    if (split.has_leave_one_out()) {
      const auto of_user = data.events_of_user(user);
      const size_t held_out = std::min<size_t>(of_user.size(), on == EvalSplit::kTest ? 1 : 2);
      return data.event_time()[of_user[of_user.size() - held_out]];
    }
    return data.event_time().back() - split.last_days().test_days() * kDay -
           (on == EvalSplit::kValidation ? split.last_days().validation_days() * kDay : 0);
  }
  std::vector<float> Popularity(int32_t user, const spec::Split& split, EvalSplit on,
                                double days) const {
    std::vector<float> scores(data.items(), 0);
    const double reference = Reference(user, split, on);
    for (size_t e = 0; e < data.event_item().size(); ++e) {
      const double time = data.event_time()[e];
      if (!Known(e, split, on) || data.event_item()[e] < 0) continue;
      if (days > 0 && (time >= reference || time < reference - days * kDay)) continue;
      scores[data.event_item()[e]] += 1;
    }
    return scores;
  }
  std::vector<float> Neighbours(int32_t user, const spec::Split& split, EvalSplit on) const {
    std::vector<std::vector<double>> has(data.users(), std::vector<double>(data.items(), 0));
    for (size_t e = 0; e < data.event_item().size(); ++e) {
      if (!Known(e, split, on) || data.event_item()[e] < 0) continue;
      has[data.event_user()[e]][data.event_item()[e]] = 1;
    }
    auto shared = [&](int32_t i, int32_t j) {
      double sum = 0;
      for (const auto& row : has) sum += row[i] * row[j];
      return sum;
    };
    std::vector<float> scores(data.items(), 0);
    for (int32_t j = 0; j < data.items(); ++j) {
      double sum = 0;
      for (int32_t i = 0; i < data.items(); ++i) {
        if (i == j || has[user][i] == 0 || shared(j, j) == 0) continue;
        sum += shared(i, j) / std::sqrt(shared(i, i) * shared(j, j));
      }
      scores[j] = static_cast<float>(sum);
    }
    return scores;
  }
};

void ExpectDefinition(const spec::Split& split, EvalSplit on) {
  const FakeDataset data(RandomEvents(12, 15, 240));
  const FakeSource source(data, 100);
  const std::vector<double> windows = {0, 3, 30};
  auto floors = Floors::Create(data, split, on, windows);
  ASSERT_TRUE(floors.ok()) << floors.status().ToString();
  const EvalBatch batch = source.Eval(StageId(0), on, 0).value();
  // The fake's targets are those of leave-one-out; the ranking does not mind where they come from.
  EvalBatch clean = batch;
  for (int32_t& item : clean.target) item = std::max(item, 0);
  const auto ranks = floors->Rank(clean);
  ASSERT_EQ(ranks.size(), windows.size() + 1);
  const Slow slow{data};
  for (size_t row = 0; row < clean.user.size(); ++row) {
    const auto targets = std::span(clean.target)
                             .subspan(clean.target_offset[row],
                                      clean.target_offset[row + 1] - clean.target_offset[row]);
    const auto masked = std::span(clean.masked)
                            .subspan(clean.masked_offset[row],
                                     clean.masked_offset[row + 1] - clean.masked_offset[row]);
    for (size_t w = 0; w < windows.size(); ++w) {
      std::vector<int32_t> want;
      RankTargets(slow.Popularity(clean.user[row], split, on, windows[w]), targets, masked,
                  TieRule::kHigherNumberFirst, &want);
      EXPECT_EQ(ranks[w][row].all, want) << "window " << windows[w] << " row " << row;
    }
    // The fast sums run in another order: compare around ties by the rank's bounds.
    const auto scores = slow.Neighbours(clean.user[row], split, on);
    ASSERT_EQ(ranks.back()[row].all.size(), targets.size());
    for (const int32_t target : targets) {
      int32_t above = 0;
      int32_t at_least = 0;
      for (int32_t i = 0; i < data.items(); ++i) {
        if (i == target || std::count(masked.begin(), masked.end(), i) > 0) continue;
        above += scores[i] > scores[target] + 1e-5f;
        at_least += scores[i] > scores[target] - 1e-5f;
      }
      EXPECT_GT(ranks.back()[row].all[0], above) << row;
      EXPECT_LE(ranks.back()[row].all[0], at_least + 1) << row;
    }
  }
}

spec::Split LeaveOneOut() {
  spec::Split split;
  split.mutable_leave_one_out();
  return split;
}

spec::Split LastDays(double test, double validation) {
  spec::Split split;
  split.mutable_last_days()->set_test_days(test);
  split.mutable_last_days()->set_validation_days(validation);
  return split;
}

TEST(Floors, LeaveOneOutTest) { ExpectDefinition(LeaveOneOut(), EvalSplit::kTest); }
TEST(Floors, LeaveOneOutValidation) { ExpectDefinition(LeaveOneOut(), EvalSplit::kValidation); }
TEST(Floors, LastDaysTest) { ExpectDefinition(LastDays(4, 2), EvalSplit::kTest); }
TEST(Floors, LastDaysValidation) { ExpectDefinition(LastDays(4, 2), EvalSplit::kValidation); }

// The first user is to find the item; nothing is masked.
EvalBatch Finding(int32_t item) {
  EvalBatch batch;
  batch.user = {0};
  batch.target_offset = {0, 1};
  batch.masked_offset = {0, 0};
  batch.target = {item};
  return batch;
}

TEST(Floors, PopularityTiesGoToTheItemFirstSoldLatest) {
  const FakeDataset data({{"a", "old", 1}, {"b", "new", 2}, {"a", "x", 3}, {"a", "new", 4}});
  const FakeSource source(data, 10);
  auto floors = Floors::Create(data, LeaveOneOut(), EvalSplit::kTest, {0});
  ASSERT_TRUE(floors.ok());
  EvalBatch batch = Finding(data.FindItem("x"));
  // Known: a bought old and x; b's only event is held out.
  EXPECT_EQ(floors->Rank(batch)[0][0].all, (std::vector<int32_t>{1}));
  batch.target = {data.FindItem("old")};
  EXPECT_EQ(floors->Rank(batch)[0][0].all, (std::vector<int32_t>{2}));
}

TEST(Floors, AmongSampledItemsOnlyThoseCount) {
  const FakeDataset data({{"a", "once", 1},
                          {"b", "twice", 2},
                          {"c", "twice", 3},
                          {"b", "thrice", 4},
                          {"c", "thrice", 5},
                          {"d", "thrice", 6},
                          {"b", "x", 7},
                          {"c", "x", 8},
                          {"d", "x", 9},
                          {"a", "x", 10}});
  auto floors = Floors::Create(data, LeaveOneOut(), EvalSplit::kTest, {0});
  ASSERT_TRUE(floors.ok());
  EvalBatch batch = Finding(data.FindItem("once"));
  batch.ranked_offset = {0, 2};
  batch.ranked_item = {data.FindItem("twice"), data.FindItem("x")};
  // Known by number of events: thrice 3, twice 2, once 1; every x is held out.
  const UserRanks by_popularity = floors->Rank(batch)[0][0];
  EXPECT_EQ(by_popularity.all, (std::vector<int32_t>{3}));
  EXPECT_EQ(by_popularity.sampled, (std::vector<int32_t>{2}));
  batch.ranked_offset = {0, 0};
  batch.ranked_item.clear();
  EXPECT_TRUE(floors->Rank(batch)[0][0].sampled.empty());
}

TEST(Floors, NamesAndRefusals) {
  const FakeDataset data({{"a", "x", 1}, {"a", "y", 2}});
  auto floors = Floors::Create(data, LeaveOneOut(), EvalSplit::kTest, {30, 0, 0.5});
  ASSERT_TRUE(floors.ok());
  EXPECT_EQ(floors->names(), (std::vector<std::string>{"floor_pop30d_", "floor_popall_",
                                                       "floor_pop0.5d_", "floor_knn_"}));
  spec::Split nothing;
  nothing.mutable_train_only();
  EXPECT_EQ(Floors::Create(data, nothing, EvalSplit::kTest, {}).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(Floors::Create(data, LeaveOneOut(), EvalSplit::kTest, {-1}).status().code(),
            StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace emporium::worker
