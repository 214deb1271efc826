#include "worker/evaluator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "models/metrics.h"
#include "tests/worker/eval_fakes.h"
#include "worker/eval_blob.h"

namespace emporium::worker {
namespace {

constexpr int32_t kWidth = 4;

std::vector<FakeEvent> SomeEvents() {
  std::mt19937 random(9);
  std::vector<FakeEvent> events;
  for (int e = 0; e < 300; ++e) {
    events.push_back(
        {"u" + std::to_string(random() % 20), "i" + std::to_string(random() % 30), 1000.0 + e});
  }
  events.push_back({"once", "i3", 2000});  // one event: no history, all of it held out
  return events;
}

spec::Job RetrievalJob(bool floors) {
  spec::Job job;
  job.mutable_data()->mutable_split()->mutable_leave_one_out();
  spec::Evaluate* evaluate = job.add_stage()->mutable_evaluate();
  evaluate->add_k(1);
  evaluate->add_k(5);
  evaluate->set_floors(floors);
  spec::Stage* train = job.add_stage();
  train->mutable_train()->mutable_early_stop()->set_metric("ndcg@3");
  return job;
}

std::map<std::string, double> Evaluate(Evaluator& evaluator, const BatchSource& source,
                                       StageId stage, bool validation, RowSource& rows,
                                       EvalSplit split) {
  std::vector<std::string> blobs(source.EvalChunks(stage, split));
  // The order of computation must not matter.
  for (auto c = static_cast<int64_t>(blobs.size()) - 1; c >= 0; --c) {
    auto blob = evaluator.Chunk(stage, validation, c, rows);
    EXPECT_TRUE(blob.ok()) << blob.status().ToString();
    blobs[c] = *blob;
  }
  auto metrics = evaluator.Combine(stage, validation,
                                   [&](int64_t c) -> Result<std::string> { return blobs[c]; });
  EXPECT_TRUE(metrics.ok()) << metrics.status().ToString();
  std::map<std::string, double> by_name;
  for (const control::Metric& m : *metrics) {
    EXPECT_TRUE(by_name.emplace(m.name, m.value).second) << "twice: " << m.name;
  }
  return by_name;
}

// The whole evaluation in one loop, with inner products and sorting.
std::map<std::string, double> SlowRetrieval(const FakeDataset& data, const FakeRows& rows,
                                            size_t held_out, const std::vector<int>& only_slice,
                                            const std::vector<int32_t>& slice_of_user) {
  std::map<std::string, double> sum;
  for (int32_t u = 0; u < data.users(); ++u) {
    const auto events = data.events_of_user(u);
    if (events.size() <= held_out) continue;  // no past: not evaluated
    if (!only_slice.empty() && slice_of_user[u] != only_slice[0]) continue;
    const int32_t target = data.event_item()[events[events.size() - held_out]];
    std::set<int32_t> past;
    for (size_t e = 0; e + held_out < events.size(); ++e) past.insert(data.event_item()[events[e]]);
    std::vector<float> user(kWidth, 0);
    for (const int32_t item : past) {
      for (int d = 0; d < kWidth; ++d) user[d] += rows.Row(item)[d];
    }
    auto score = [&](int32_t item) {
      float s = 0;
      for (int d = 0; d < kWidth; ++d) s += user[d] * rows.Row(item)[d];
      return s;
    };
    int rank = 1;
    for (int32_t i = 0; i < data.items(); ++i) {
      if (i == target || past.count(i) > 0) continue;
      rank += score(i) > score(target) || (score(i) == score(target) && i < target);
    }
    sum["users"] += 1;
    sum["mrr"] += 1.0 / rank;
    for (const int k : {1, 5}) {
      sum["hr@" + std::to_string(k)] += rank <= k;
      sum["ndcg@" + std::to_string(k)] += rank <= k ? 1 / std::log2(rank + 1.0) : 0;
    }
  }
  for (auto& [name, value] : sum) {
    if (name != "users") value /= sum["users"];
  }
  return sum;
}

TEST(Evaluator, RetrievalAgreesWithOneLoopAndAnyChunking) {
  const FakeDataset data(SomeEvents());
  FakeRows rows(kWidth);
  FakeModel model(kWidth);
  const spec::Job job = RetrievalJob(true);
  const auto want = SlowRetrieval(data, rows, 1, {}, {});
  for (const int chunk : {1, 4, 1000}) {
    const FakeSource source(data, chunk);
    Evaluator evaluator(job, source, model);
    const auto got = Evaluate(evaluator, source, StageId(0), false, rows, EvalSplit::kTest);
    for (const auto& [name, value] : want) EXPECT_NEAR(got.at(name), value, 1e-12) << name;
    EXPECT_EQ(got.at("recall@5"), got.at("hr@5"));  // one target each
    for (const char* floor : {"floor_popall_", "floor_knn_"}) {
      for (const char* name : {"hr@1", "ndcg@5", "mrr"}) {
        EXPECT_EQ(got.count(std::string(floor) + name), 1u) << floor << name;
      }
    }
    EXPECT_EQ(got.count("floor_knn_users"), 0u);
  }
}

TEST(Evaluator, SlicesAreEvaluationsOfTheirUsers) {
  FakeDataset data(SomeEvents());
  data.texts["country"] = {"France", "Norway"};
  FakeSource source(data, 3);
  for (int32_t u = 0; u < data.users(); ++u) source.slice_of_user.push_back(u % 2);
  spec::Job job = RetrievalJob(false);
  job.mutable_stage(0)->mutable_evaluate()->add_slice_column("country");
  FakeRows rows(kWidth);
  FakeModel model(kWidth);
  Evaluator evaluator(job, source, model);
  const auto got = Evaluate(evaluator, source, StageId(0), false, rows, EvalSplit::kTest);
  for (const int slice : {0, 1}) {
    const auto want = SlowRetrieval(data, rows, 1, {slice}, source.slice_of_user);
    for (const auto& [name, value] : want) {
      EXPECT_NEAR(got.at(name + "[country=" + data.texts["country"][slice] + "]"), value, 1e-12);
    }
  }
  EXPECT_EQ(got.count("floor_popall_ndcg@5"), 0u) << "floors were not asked for";
}

TEST(Evaluator, TargetsAreAlsoRankedAmongSampledItems) {
  FakeDataset data(SomeEvents());
  data.texts["country"] = {"France", "Norway"};
  FakeSource source(data, 4);
  source.ranked = 7;
  for (int32_t u = 0; u < data.users(); ++u) source.slice_of_user.push_back(u % 2);
  spec::Job job = RetrievalJob(false);
  job.mutable_stage(0)->mutable_evaluate()->set_sampled_negatives(7);
  job.mutable_stage(0)->mutable_evaluate()->add_slice_column("country");
  FakeRows rows(kWidth);
  FakeModel model(kWidth);
  Evaluator evaluator(job, source, model);
  const auto got = Evaluate(evaluator, source, StageId(0), false, rows, EvalSplit::kTest);
  double hits[3] = {}, users[3] = {};
  for (int32_t u = 0; u < data.users(); ++u) {
    const auto events = data.events_of_user(u);
    if (events.size() < 2) continue;
    const int32_t target = data.event_item()[events.back()];
    std::set<int32_t> past;
    for (size_t e = 0; e + 1 < events.size(); ++e) past.insert(data.event_item()[events[e]]);
    const auto score = [&](int32_t item) {
      double sum = 0;
      for (const int32_t other : past) {
        for (int d = 0; d < kWidth; ++d) sum += double{rows.Row(item)[d]} * rows.Row(other)[d];
      }
      return sum;
    };
    int rank = 1;
    for (int32_t i = 0; i < 7; ++i) rank += score((u + i) % data.items()) > score(target) + 1e-4;
    for (const int slice : {u % 2, 2}) {
      users[slice] += 1;
      hits[slice] += rank <= 5;
    }
  }
  EXPECT_NEAR(got.at("sampled7_hr@5"), hits[2] / users[2], 1e-12);
  EXPECT_NEAR(got.at("sampled7_hr@5[country=France]"), hits[0] / users[0], 1e-12);
  EXPECT_NEAR(got.at("sampled7_hr@5[country=Norway]"), hits[1] / users[1], 1e-12);
  EXPECT_GT(hits[2], 0);
  EXPECT_EQ(got.count("sampled7_ndcg@1"), 1u);
  EXPECT_EQ(got.count("sampled7_recall@5"), 0u);
  EXPECT_EQ(got.at("users"), users[2]);
  const auto want = SlowRetrieval(data, rows, 1, {}, {});
  EXPECT_NEAR(got.at("hr@5"), want.at("hr@5"), 1e-12) << "the full ranking stays";
}

TEST(Evaluator, ValidationReportsTheEarlyStopsMetricAndSeesNewWeights) {
  const FakeDataset data(SomeEvents());
  const FakeSource source(data, 4);
  const spec::Job job = RetrievalJob(true);
  FakeRows rows(kWidth);
  FakeModel model(kWidth);
  Evaluator evaluator(job, source, model);
  const auto first = Evaluate(evaluator, source, StageId(1), true, rows, EvalSplit::kValidation);
  EXPECT_EQ(first.count("ndcg@3"), 1u);
  EXPECT_EQ(first.count("ndcg@10"), 1u);
  EXPECT_EQ(first.count("floor_knn_hr@3"), 0u);
  rows.shift = 5;
  evaluator.Begin();
  const auto second = Evaluate(evaluator, source, StageId(1), true, rows, EvalSplit::kValidation);
  EXPECT_NE(first.at("mrr"), second.at("mrr"));
  Evaluator fresh(job, source, model);
  EXPECT_EQ(Evaluate(fresh, source, StageId(1), true, rows, EvalSplit::kValidation), second);
}

TEST(Evaluator, PointwiseIsExactOverAllChunksAndSlices) {
  FakeDataset data(SomeEvents());
  data.texts["hour"] = {"day", "night"};
  FakeSource source(data, 7);
  FakeRows rows(kWidth);
  std::mt19937 random(4);
  std::vector<float> logits[3], labels[3];
  for (int r = 0; r < 100; ++r) {
    const uint64_t key = random() % 40;  // equal keys: tied logits
    const auto label = static_cast<float>(random() % 2);
    const auto slice = static_cast<int32_t>(random() % 2);
    source.rows.push_back({key, label, slice});
    for (const int s : {slice, 2}) {
      logits[s].push_back(rows.Row(key)[0]);
      labels[s].push_back(label);
    }
  }
  spec::Job job = RetrievalJob(true);  // floors do not apply to a pointwise model
  job.mutable_stage(0)->mutable_evaluate()->add_slice_column("hour");
  FakeModel model(0);
  Evaluator evaluator(job, source, model);
  const auto got = Evaluate(evaluator, source, StageId(0), false, rows, EvalSplit::kTest);
  const char* suffix[] = {"[hour=day]", "[hour=night]", ""};
  for (int s = 0; s < 3; ++s) {
    EXPECT_EQ(got.at(std::string("auc") + suffix[s]), models::Auc(logits[s], labels[s]).value());
    EXPECT_EQ(got.at(std::string("logloss") + suffix[s]),
              models::LogLoss(logits[s], labels[s]).value());
    EXPECT_EQ(got.at(std::string("pcoc") + suffix[s]), models::Pcoc(logits[s], labels[s]).value());
    EXPECT_EQ(got.at(std::string("rows") + suffix[s]), static_cast<double>(logits[s].size()));
  }
  EXPECT_EQ(got.size(), 12u);
}

TEST(Evaluator, RefusesWhatIsNotAnEvaluation) {
  const FakeDataset data(SomeEvents());
  const FakeSource source(data, 4);
  const spec::Job job = RetrievalJob(false);
  FakeRows rows(kWidth);
  FakeModel model(kWidth);
  Evaluator evaluator(job, source, model);
  for (const auto& [stage, validation] : {std::pair(0, true), {1, false}, {7, false}}) {
    EXPECT_EQ(evaluator.Chunk(StageId(stage), validation, 0, rows).status().code(),
              StatusCode::kInvalidArgument);
  }
}

TEST(Evaluator, CombineRefusesChunksOfAnotherJob) {
  const FakeDataset data(SomeEvents());
  const FakeSource source(data, 1000);
  const spec::Job job = RetrievalJob(false);
  FakeModel model(kWidth);
  const Evaluator evaluator(job, source, model);
  auto combine = [&](const std::string& blob) {
    return evaluator
        .Combine(StageId(0), false, [&](int64_t) -> Result<std::string> { return blob; })
        .status();
  };
  RankingChunk chunk;
  chunk.cutoffs = {10};
  EXPECT_EQ(combine(Encode(chunk)).code(), StatusCode::kDataLoss);
  chunk.cutoffs = {1, 5};
  chunk.groups = {{"", 3, "x", std::vector<double>(8, 1.0)}};
  EXPECT_EQ(combine(Encode(chunk)).code(), StatusCode::kDataLoss);
  EXPECT_EQ(combine("garbage").code(), StatusCode::kDataLoss);
  chunk.groups.clear();
  EXPECT_TRUE(combine(Encode(chunk)).ok());
}

TEST(EvalBlob, EveryTruncationAndManyFlipsAreRefusedOrReadSafely) {
  RankingChunk ranking;
  ranking.cutoffs = {10, 20};
  ranking.groups = {{"floor_knn_", 0, "Norway", std::vector<double>(8, 2.5)}};
  PointwiseChunk pointwise;
  pointwise.rows = 3;
  pointwise.logits = {1, 2, 3, 4, 5, 6};  // two tasks
  pointwise.labels = {0, 1, 0, 1, 1, 0};
  pointwise.group = {{7, 7, uint64_t{1} << 40}};
  pointwise.popularity_bucket = {0, 2, 1};
  pointwise.columns = {{{"a", "b"}, {0, 1, 1}}};
  EXPECT_EQ(DecodeRanking(Encode(ranking))->groups[0].value, "Norway");
  EXPECT_EQ(DecodePointwise(Encode(pointwise))->columns[0].values[1], "b");
  EXPECT_EQ(DecodePointwise(Encode(pointwise))->logits, pointwise.logits);
  EXPECT_EQ(DecodePointwise(Encode(pointwise))->group, pointwise.group);
  EXPECT_EQ(DecodePointwise(Encode(pointwise))->popularity_bucket, pointwise.popularity_bucket);
  for (const std::string& blob : {Encode(ranking), Encode(pointwise)}) {
    for (size_t bytes = 0; bytes < blob.size(); ++bytes) {
      EXPECT_FALSE(DecodeRanking(blob.substr(0, bytes)).ok());
      EXPECT_FALSE(DecodePointwise(blob.substr(0, bytes)).ok());
    }
    EXPECT_FALSE(DecodeRanking(blob + "x").ok());
    std::mt19937 random(1);
    for (int trial = 0; trial < 2000; ++trial) {
      std::string flipped = blob;
      flipped[random() % blob.size()] ^= static_cast<char>(1 << random() % 8);
      if (auto chunk = DecodePointwise(flipped); chunk.ok()) {
        for (const auto& column : chunk->columns) {
          for (const uint32_t value : column.value) ASSERT_LT(value, column.values.size());
        }
        for (const uint8_t bucket : chunk->popularity_bucket) ASSERT_LT(bucket, 3);
      }
      (void)DecodeRanking(flipped).ok();
    }
  }
}

}  // namespace
}  // namespace emporium::worker
