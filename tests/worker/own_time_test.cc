// Under leave-one-out every sample is ranked with the counters of its own time.

#include <gmock/gmock.h>

#include <cmath>
#include <map>
#include <set>

#include "tests/worker/data_fixture.h"
#include "tests/worker/eval_fakes.h"
#include "worker/eval_blob.h"
#include "worker/evaluator.h"
#include "worker/sampler.h"

namespace emporium::worker {
namespace {

constexpr double kDay = 86400;
constexpr int32_t kDim = 3;

class OwnTimeTest : public DataTest {
 protected:
  spec::Job Job(const std::string& split) {
    return ParseJob(R"(
      name: "j" seed: 3
      table { name: "items" dim: 3 optimizer { sgd {} } }
      feature { name: "item" column: "i" table: "items" }
      data { events { file: "e.csv" column { name: "t" type: FLOAT } column { name: "u" }
                      column { name: "i" } }
             user_column: "u" item_column: "i" time_column: "t" )" +
                    split + R"( }
      model { two_tower { item_feature: "item" popularity {
        counter { window_days: 4 } counter { window_days: 300 first_of_user: true } } } }
      stage { name: "e" evaluate { k: 3 floors: false } }
      stage { name: "v" evaluate { k: 3 floors: false on: VALIDATION } })");
  }
  // All metrics, and the chunks that they came of.
  std::map<std::string, double> Evaluate(const spec::Job& job, const BatchSource& source,
                                         StageId stage, EvalSplit split, int first_chunk = 0) {
    FakeModel model(kDim + 1, 2);
    Evaluator evaluator(job, source, model);
    std::vector<std::string> blobs(static_cast<size_t>(source.EvalChunks(stage, split)));
    for (size_t n = 0; n < blobs.size(); ++n) {
      const size_t c = (n + static_cast<size_t>(first_chunk)) % blobs.size();
      auto blob = evaluator.Chunk(stage, false, static_cast<int64_t>(c), rows_);
      EXPECT_TRUE(blob.ok()) << blob.status().ToString();
      blobs[c] = *blob;
    }
    chunks_ = static_cast<int>(blobs.size());
    auto metrics =
        evaluator.Combine(stage, false, [&](int64_t c) -> Result<std::string> { return blobs[c]; });
    std::map<std::string, double> by_name;
    for (const control::Metric& m : *metrics) by_name.emplace(m.name, m.value);
    return by_name;
  }

  FakeRows rows_{kDim};
  int chunks_ = 0;
};

// Everything of one user again from the events: what he had, what was popular when he came.
struct Slow {
  const Dataset& data;
  const FakeRows& rows;
  std::vector<uint64_t> keys;  // by item

  bool Counted(int32_t event) const {  // not among its user's last two
    const auto of_user = data.events_of_user(data.event_user()[event]);
    return of_user.size() >= 3 && event < of_user[of_user.size() - 2];
  }
  bool FirstOfKnown(int32_t event) const {
    const auto of_user = data.events_of_user(data.event_user()[event]);
    for (const int32_t other : of_user) {
      if (other < event && data.event_item()[other] == data.event_item()[event]) return false;
    }
    return data.event_time()[event] > data.event_time()[of_user[0]];
  }
  float Popularity(int32_t item, double time) const {
    int recent = 0;
    int first = 0;
    for (const int32_t event : data.events_of_item(item)) {
      const double at = data.event_time()[event];
      if (at >= time || !Counted(event)) continue;
      recent += at >= time - 4 * kDay ? 1 : 0;
      first += at >= time - 300 * kDay && FirstOfKnown(event) ? 1 : 0;
    }
    return static_cast<float>(std::log1p(recent)) + static_cast<float>(std::log1p(first));
  }
  // Rank of what the user took last (held_out 1) or last but one; 0: he takes no part.
  int Rank(int32_t user, size_t held_out) const {
    const auto events = data.events_of_user(user);
    if (events.size() <= held_out) return 0;
    const int32_t sample = events[events.size() - held_out];
    const int32_t target = data.event_item()[sample];
    std::set<int32_t> past;
    for (const int32_t e : events.first(events.size() - held_out)) {
      past.insert(data.event_item()[e]);
    }
    if (past.count(target) > 0) return 0;
    std::vector<float> vector(kDim, 0);
    for (const int32_t e : events.first(events.size() - held_out)) {
      for (int d = 0; d < kDim; ++d) vector[d] += rows.Row(keys[data.event_item()[e]])[d];
    }
    auto score = [&](int32_t item) {
      float sum = 0;
      for (int d = 0; d < kDim; ++d) sum += vector[d] * rows.Row(keys[item])[d];
      return sum + Popularity(item, data.event_time()[sample]);
    };
    const float bound = score(target);
    int rank = 1;
    for (int32_t i = 0; i < data.items(); ++i) {
      if (i == target || past.count(i) > 0) continue;
      rank += score(i) > bound || (score(i) == bound && i < target) ? 1 : 0;
    }
    return rank;
  }
};

std::vector<uint64_t> ItemKeysOf(const BatchSource& source) {
  std::vector<uint64_t> keys;
  for (int64_t c = 0; c < source.ItemChunks(); ++c) {
    const ItemBatch batch = source.Items(c, AsOf::kNow).value();
    for (const int32_t row : batch.planned.batch.items.id.index) {
      keys.push_back(batch.planned.tables[0].keys[row]);
    }
  }
  return keys;
}

TEST_F(OwnTimeTest, AgreesWithOneLoopOverTheEvents) {
  RandomStream random(8, Purpose::kSynthetic, {});
  std::string text = "t,u,i\n";
  for (int row = 0; row < 2400; ++row) {
    const uint64_t item = std::min(random.Below(25), random.Below(25));
    text += std::to_string(static_cast<double>(random.Below(60)) * kDay / 2) + ",u" +
            std::to_string(random.Below(400)) + ",i" + std::to_string(item) + "\n";
  }
  Write("e.csv", text);
  const spec::Job job = Job("split { leave_one_out {} }");
  const auto source = Source(job);
  const Slow slow{source->dataset(), rows_, ItemKeysOf(*source)};
  for (const uint32_t stage : {0, 1}) {
    const EvalSplit split = stage == 0 ? EvalSplit::kTest : EvalSplit::kValidation;
    double users = 0;
    double mrr = 0;
    double hits = 0;
    for (int32_t user = 0; user < source->dataset().users(); ++user) {
      const int rank = slow.Rank(user, stage + 1);
      users += rank > 0 ? 1 : 0;
      mrr += rank > 0 ? 1.0 / rank : 0;
      hits += rank > 0 && rank <= 3 ? 1 : 0;
    }
    const auto got = Evaluate(job, *source, StageId(stage), split);
    EXPECT_EQ(chunks_, 2);
    EXPECT_EQ(got.at("users"), users);
    EXPECT_NEAR(got.at("mrr"), mrr / users, 1e-12);
    EXPECT_NEAR(got.at("hr@3"), hits / users, 1e-12);
    EXPECT_EQ(Evaluate(job, *source, StageId(stage), split, 1), got) << "the order of chunks shows";
  }
}

// "later" is bought by everybody after ann's last event; bea comes when it is popular. All others
// end with an item that they had, so that they are not evaluated.
TEST_F(OwnTimeTest, WhatBecomesPopularLaterGainsNothing) {
  std::string text = "t,u,i\n";
  auto add = [&](double day, const std::string& user, const std::string& item) {
    text += std::to_string(day * kDay) + "," + user + "," + item + "\n";
  };
  add(0, "ann", "a");
  for (int u = 0; u < 3; ++u) add(2, "early" + std::to_string(u), "b");
  add(3, "ann", "b");
  for (int u = 0; u < 30; ++u) add(4, "late" + std::to_string(u), "later");
  add(5, "bea", "a");
  add(6, "bea", "later");
  for (const double day : {7, 8}) {
    for (int u = 0; u < 3; ++u) add(day, "early" + std::to_string(u), "b");
    for (int u = 0; u < 30; ++u) add(day, "late" + std::to_string(u), "later");
  }
  Write("e.csv", text);
  const spec::Job job = Job("split { leave_one_out {} }");
  const auto source = Source(job);
  const Dataset& data = source->dataset();
  const EvalBatch batch = source->Eval(StageId(0), EvalSplit::kTest, 0).value();
  ASSERT_EQ(batch.user, (std::vector<int32_t>{data.FindUser("ann"), data.FindUser("bea")}));
  ASSERT_EQ(batch.counter_time, (std::vector<double>{3 * kDay, 6 * kDay}));
  const auto cursor = source->Counters();
  const auto later = static_cast<size_t>(data.FindItem("later")) * 2;
  EXPECT_EQ(cursor->MoveTo(3 * kDay)[later], 0) << "what was bought later shows";
  EXPECT_EQ(cursor->MoveTo(6 * kDay)[later], static_cast<float>(std::log1p(30)));
  // With nothing but popularity, each finds what he took at the first rank.
  rows_.scale = 0;
  const auto got = Evaluate(job, *source, StageId(0), EvalSplit::kTest);
  EXPECT_EQ(got.at("users"), 2);
  EXPECT_EQ(got.at("mrr"), 1);
}

// A split by time has one moment for all: nothing to move, as of the cut.
TEST_F(OwnTimeTest, ASplitByTimeHasOneMoment) {
  Write("e.csv", "t,u,i\n1,a,x\n2,a,y\n100,a,z\n200000,a,w\n");
  const auto source = Source(Job("split { last_days { test_days: 1 validation_days: 0.5 } }"));
  EXPECT_TRUE(source->Eval(StageId(0), EvalSplit::kTest, 0)->counter_time.empty());
}

}  // namespace
}  // namespace emporium::worker
