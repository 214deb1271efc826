// Steps whose gradients are clipped by the norm of all of them: shards tell its squares and apply
// when they are told how much.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "tests/ps/shard_fixture.h"

namespace emporium::ps {
namespace {

using namespace ps::testing;  // NOLINT: the fixture's names
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr uint32_t kOf = 3;

FrameHeader ScaledPush(uint64_t step, uint32_t m, uint32_t of = kOf) {
  FrameHeader header = PushHeader(0, step, m, of);
  header.awaits_scale = true;
  return header;
}
FrameHeader Apply(uint64_t step, float scale) {
  FrameHeader header = Header(FrameType::kApply, 0, step);
  header.gradient_scale = scale;
  return header;
}
FrameHeader Squares(uint64_t step) { return Header(FrameType::kSquares, 0, step); }

void PushAll(Cluster& cluster, uint64_t step) {
  for (uint32_t m = 0; m < kOf; ++m) {
    cluster.SendAll("worker", ScaledPush(step, m), MicroBatchOf(step, m));
  }
  for (const Answer& answer : cluster.Take("worker")) EXPECT_EQ(answer.type(), FrameType::kAck);
}

// What all shards together say of a step that is complete.
ExactSum SquaresOf(Cluster& cluster, uint64_t step) {
  ExactSum sum;
  for (size_t s = 0; s < cluster.size(); ++s) {
    const Answer answer = cluster.Ask(s, Squares(step), {});
    EXPECT_EQ(answer.type(), FrameType::kSquaresReply) << answer.frame.error_message();
    sum.Add(answer.frame.squares());
  }
  return sum;
}

using Rows = std::map<std::pair<size_t, uint64_t>, std::vector<float>>;

Rows RowsOf(Cluster& cluster) {
  Rows rows;
  for (size_t s = 0; s < cluster.size(); ++s) {
    for (size_t t = 0; t < 2; ++t) {
      for (PartitionId p : cluster.shard(s).config().owned) {
        cluster.shard(s).table(t).ForEachRow(p, [&](const RowView& row) {
          std::vector<float>& all = rows[{t, row.key}];
          all.assign(row.weights.begin(), row.weights.end());
          all.insert(all.end(), row.state.begin(), row.state.end());
          all.push_back(row.popularity);
        });
      }
    }
  }
  return rows;
}

// Gradients of a step, added up in the order of micro-batches.
Rows GradientsOf(uint64_t step) {
  Rows sums;
  for (uint32_t m = 0; m < kOf; ++m) {
    const Payload payload = MicroBatchOf(step, m);
    for (size_t t = 0; t < 2; ++t) {
      const size_t dim = t == 0 ? 3 : 1;
      for (size_t i = 0; i < payload[t].keys.size(); ++i) {
        std::vector<float>& sum = sums[{t, payload[t].keys[i]}];
        sum.resize(dim);
        for (size_t d = 0; d < dim; ++d) sum[d] += payload[t].values[i * dim + d];
      }
    }
  }
  return sums;
}

double PlainSquares(const Rows& gradients, size_t tables = 2) {
  long double squares = 0;
  for (const auto& [row, gradient] : gradients) {
    for (const float g : gradient) {
      if (row.first < tables) squares += static_cast<long double>(g) * g;
    }
  }
  return static_cast<double>(squares);
}

// Against one plain loop, from a state of several steps: Adagrad and SGD.
TEST(ShardScale, AStepIsAppliedScaled) {
  constexpr float kScale = 0.37f;
  Cluster cluster(2);
  Train(cluster, 0, 0, 4, 2);
  Rows rows = RowsOf(cluster);
  PushAll(cluster, 4);
  EXPECT_EQ(cluster.shard(0).position().version, Step(4));
  const Rows gradients = GradientsOf(4);
  EXPECT_NEAR(SquaresOf(cluster, 4).Rounded() / PlainSquares(gradients), 1, 1e-14);
  cluster.SendAll("worker", Apply(4, kScale), {});
  EXPECT_THAT(cluster.Take("worker"), SizeIs(2));
  const Rows after = RowsOf(cluster);
  for (const auto& [row, gradient] : gradients) {
    const auto found = rows.find(row);
    if (found == rows.end()) continue;  // a new row: its initial value is not known here
    const std::vector<float>& before = found->second;
    for (size_t d = 0; d < gradient.size(); ++d) {
      const double slope = static_cast<double>(kScale) * gradient[d];
      double expected = before[d] - 0.5 * slope;
      if (row.first == 0) {
        const double sum = before[3 + d] + slope * slope;
        EXPECT_NEAR(after.at(row)[3 + d], sum, 1e-6 * sum);
        expected = before[d] - 0.1 * slope / std::sqrt(sum);
      }
      EXPECT_NEAR(after.at(row)[d], expected, 1e-5) << row.first << " " << row.second;
    }
  }
  EXPECT_GT(after.size(), rows.size());
}

TEST(ShardScale, AScaleOfOneIsTheStepWithoutClipping) {
  Cluster plain(2), scaled(2);
  Train(plain, 0, 0, 3, kOf);
  for (uint64_t t = 0; t < 3; ++t) {
    PushAll(scaled, t);
    scaled.SendAll("worker", Apply(t, 1), {});
  }
  EXPECT_EQ(RowsOf(scaled), RowsOf(plain));
  EXPECT_EQ(scaled.shard(0).position(), plain.shard(0).position());
}

TEST(ShardScale, OrderDuplicatesAndShardsDoNotShow) {
  std::optional<ExactSum::Digits> squares;
  std::optional<Rows> rows;
  std::mt19937_64 random(5);
  for (const uint32_t shards : {1u, 2u, 3u, 4u}) {
    Cluster cluster(shards);
    for (uint64_t t = 0; t < 6; ++t) {
      std::vector<uint32_t> order = {0, 1, 2, 1};
      std::shuffle(order.begin(), order.end(), random);
      for (const uint32_t m : order) cluster.SendAll("w", ScaledPush(t, m), MicroBatchOf(t, m));
      const ExactSum sum = SquaresOf(cluster, t);
      cluster.SendAll("w", Apply(t, static_cast<float>(3 / std::sqrt(sum.Rounded()))), {});
      if (t < 5) continue;
      if (!squares.has_value()) squares = sum.digits();
      EXPECT_EQ(sum.digits(), *squares) << shards;
    }
    if (!rows.has_value()) rows = RowsOf(cluster);
    EXPECT_EQ(RowsOf(cluster), *rows) << shards;
  }
}

TEST(ShardScale, QuestionsWaitForTheStepAndPullsForItsScale) {
  Cluster cluster(1);
  cluster.Deliver(0, "early", Encode(Squares(0), {}));
  EXPECT_EQ(cluster.Take("early")[0].error(), StatusCode::kStale);  // nobody has pushed
  cluster.SendAll("worker", ScaledPush(0, 0), MicroBatchOf(0, 0));
  cluster.Deliver(0, "asks", Encode(Squares(0), {}));
  cluster.Deliver(0, "asks", Encode(Squares(0), {}));  // sent again
  cluster.Deliver(0, "pulls", Encode(Header(FrameType::kPull, 0, 1), {}));
  EXPECT_EQ(cluster.Ask(0, Apply(0, 1), {}).error(), StatusCode::kStale);  // not complete
  cluster.SendAll("worker", ScaledPush(0, 2), MicroBatchOf(0, 2));
  EXPECT_THAT(cluster.Take("asks"), SizeIs(0));
  cluster.SendAll("worker", ScaledPush(0, 1), MicroBatchOf(0, 1));
  const std::vector<Answer> answers = cluster.Take("asks");
  ASSERT_THAT(answers, SizeIs(2));
  EXPECT_EQ(answers[0].frame.header().step, Step(0));
  EXPECT_EQ(answers[0].frame.squares().digits(), answers[1].frame.squares().digits());
  EXPECT_GT(answers[0].frame.squares().Rounded(), 0);
  EXPECT_THAT(cluster.Take("pulls"), SizeIs(0));
  // The present version is still answered, and no checkpoint is taken.
  EXPECT_EQ(cluster.Ask(0, Header(FrameType::kPull, 0, 0), {}).type(), FrameType::kPullReply);
  std::vector<Send> out;
  EXPECT_EQ(cluster.shard(0).ReadyForCheckpoint(StageId(0), Step(0), &out).code(),
            StatusCode::kFailedPrecondition);
  EXPECT_EQ(cluster.Ask(0, Apply(0, 0.5f), {}).frame.header().step, Step(1));
  EXPECT_THAT(cluster.Take("pulls"), SizeIs(1));
  EXPECT_EQ(cluster.Ask(0, Apply(1, 1), {}).error(), StatusCode::kStale);
  EXPECT_EQ(cluster.shard(0).counters().steps_applied, 1u);
}

// The first Apply counts; another, and one that comes late, is acknowledged and dropped.
TEST(ShardScale, AStepIsAppliedOnce) {
  Cluster cluster(1);
  PushAll(cluster, 0);
  EXPECT_EQ(cluster.Ask(0, Apply(0, 0.5f), {}).type(), FrameType::kAck);
  const Rows rows = RowsOf(cluster);
  EXPECT_EQ(cluster.Ask(0, Apply(0, 0.5f), {}).type(), FrameType::kAck);
  PushAll(cluster, 0);  // acknowledged, and known
  EXPECT_EQ(RowsOf(cluster), rows);
  PushAll(cluster, 1);
  EXPECT_EQ(cluster.Ask(0, Apply(0, 0.5f), {}).type(), FrameType::kAck);
  EXPECT_EQ(cluster.shard(0).position().version, Step(1));
  EXPECT_EQ(RowsOf(cluster), rows);
}

// A worker dies when one of two shards has been told: another hears the same squares from both,
// and brings the other one on.
TEST(ShardScale, AWorkerDiesBetweenTheNormAndTheApply) {
  Cluster cluster(2), undisturbed(2);
  for (Cluster* c : {&cluster, &undisturbed}) PushAll(*c, 0);
  const ExactSum squares = SquaresOf(cluster, 0);
  cluster.Deliver(0, "dies", Encode(Apply(0, 0.25f), {}));
  undisturbed.SendAll("worker", Apply(0, 0.25f), {});

  PushAll(cluster, 0);  // the heir computes the step again
  const ExactSum again = SquaresOf(cluster, 0);
  EXPECT_EQ(again.digits(), squares.digits());
  cluster.SendAll("heir", Apply(0, 0.25f), {});
  for (const Answer& answer : cluster.Take("heir")) EXPECT_EQ(answer.type(), FrameType::kAck);
  EXPECT_EQ(cluster.shard(1).position().version, Step(1));
  EXPECT_EQ(RowsOf(cluster), RowsOf(undisturbed));
  // Two steps later nobody needs to know.
  for (uint64_t t = 1; t < 3; ++t) {
    PushAll(cluster, t);
    cluster.SendAll("heir", Apply(t, 1), {});
  }
  const Answer late = cluster.Ask(0, Squares(0), {});
  EXPECT_EQ(late.type(), FrameType::kSquaresReply);
  EXPECT_EQ(late.frame.header().step, Step(3));
  EXPECT_EQ(late.frame.squares().Rounded(), 0);
}

// All gradients of a step were in when the shards died: it is done again from the checkpoint, on
// another number of them.
TEST(ShardScale, ShardsThatStartAgainComeToTheSame) {
  Cluster died(2), again(3);
  for (uint64_t t = 0; t < 2; ++t) {
    PushAll(died, t);
    died.SendAll("worker", Apply(t, 0.5f), {});
  }
  const std::string dir = ScratchDir("shard-scale");
  std::filesystem::create_directories(dir);
  ASSERT_TRUE(died.Checkpoint(dir, "job").ok());
  PushAll(died, 2);
  const ExactSum squares = SquaresOf(died, 2);

  const auto manifest = runtime::ReadManifest(dir);
  ASSERT_TRUE(manifest.ok());
  for (size_t s = 0; s < 3; ++s) {
    ASSERT_TRUE(RestoreShard(dir, *manifest, "job", &again.shard(s)).ok());
    // What was applied before is not known; nobody asks, because all shards stand there.
    EXPECT_EQ(again.Ask(s, Squares(1), {}).error(), StatusCode::kStale);
    EXPECT_EQ(again.Ask(s, Apply(2, 1), {}).error(), StatusCode::kStale);
  }
  std::filesystem::remove_all(dir);
  PushAll(again, 2);
  EXPECT_EQ(SquaresOf(again, 2).digits(), squares.digits());
  for (Cluster* cluster : {&died, &again}) cluster->SendAll("worker", Apply(2, 0.1f), {});
  EXPECT_EQ(RowsOf(again), RowsOf(died));
}

TEST(ShardScale, WhatIsNotAppliedDoesNotCount) {
  std::vector<TableSettings> tables = TwoTables();
  tables[1].fixed_rate = true;  // running statistics
  Cluster cluster(1, tables);
  PushAll(cluster, 0);
  EXPECT_NEAR(SquaresOf(cluster, 0).Rounded() / PlainSquares(GradientsOf(0), 1), 1, 1e-14);
  // They are not scaled either.
  const Answer before = cluster.Ask(0, Header(FrameType::kPull, 0, 0), MicroBatchOf(0, 0));
  cluster.Ask(0, Apply(0, 0), {});
  const Answer after = cluster.Ask(0, Header(FrameType::kPull, 0, 1), MicroBatchOf(0, 0));
  const auto values = [](const Answer& answer, size_t t) {
    const std::span<const float> all = answer.frame.sections()[t].values;
    return std::vector<float>(all.begin(), all.end());
  };
  EXPECT_EQ(values(after, 0), values(before, 0));
  EXPECT_NE(values(after, 1), values(before, 1));
}

// A key that is not admitted has no part in the norm.
TEST(ShardScale, KeysThatAreNotAdmittedDoNotCount) {
  std::vector<TableSettings> tables = TwoTables();
  tables[0].admission_sightings = 2;
  tables[0].sketch_bytes = 4096;
  Cluster cluster(1, tables);
  Payload payload(2);
  payload[0] = {{1, 2, 3}, {1, 0, 0, 10, 0, 0, 100, 0, 0}, {2, 1, 2}, 5};
  EXPECT_EQ(cluster.Ask(0, ScaledPush(0, 0, 1), payload).type(), FrameType::kAck);
  EXPECT_EQ(SquaresOf(cluster, 0).Rounded(), 1 + 10'000);
  EXPECT_EQ(cluster.shard(0).table(0).rows(), 0u);
  cluster.Ask(0, Apply(0, 0.5f), {});
  EXPECT_EQ(cluster.shard(0).table(0).rows(), 2u);
  EXPECT_EQ(cluster.shard(0).retention(0).keys_refused, 1u);
}

TEST(ShardScale, SumsBeyondFloatsAreRefused) {
  Cluster cluster(1);
  Payload payload(1);
  payload[0] = {{1}, {3e38f, 0, 0}, {}, 0};
  for (uint32_t m = 0; m < kOf; ++m) cluster.SendAll("worker", ScaledPush(0, m), payload);
  for (const FrameHeader& header : {Squares(0), Apply(0, 1)}) {
    const Answer answer = cluster.Ask(0, header, {});
    EXPECT_EQ(answer.error(), StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(answer.frame.error_message()), HasSubstr("is the learning rate"));
  }
  EXPECT_EQ(cluster.shard(0).position().version, Step(0));
}

TEST(ShardScale, PushesOfAStepAgreeOnIt) {
  Cluster cluster(1);
  EXPECT_EQ(cluster.Ask(0, ScaledPush(0, 0), MicroBatchOf(0, 0)).type(), FrameType::kAck);
  const Answer answer = cluster.Ask(0, PushHeader(0, 0, 1, kOf), MicroBatchOf(0, 1));
  EXPECT_EQ(answer.error(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(answer.frame.error_message()), HasSubstr("clipped by their norm"));
}

TEST(ShardScale, AnotherStageIsNotBegunByAQuestion) {
  Cluster cluster(1);
  PushAll(cluster, 0);
  cluster.SendAll("worker", Apply(0, 1), {});
  for (FrameHeader header : {Squares(0), Apply(0, 1)}) {
    header.stage = StageId(1);
    EXPECT_EQ(cluster.Ask(0, header, {}).error(), StatusCode::kStale);
  }
  // Who asks when the shard goes away is told to look again.
  cluster.SendAll("worker", ScaledPush(1, 0), MicroBatchOf(1, 0));
  cluster.Deliver(0, "asks", Encode(Squares(1), {}));
  std::vector<Send> out;
  cluster.shard(0).RefuseParked("the shard is restored", &out);
  ASSERT_THAT(out, SizeIs(1));
  EXPECT_EQ(Decode(std::move(out[0].bytes)).error(), StatusCode::kStale);
}

}  // namespace
}  // namespace emporium::ps
