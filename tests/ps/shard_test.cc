// The shard as a state machine: the step protocol, and what it does with everything else that a
// peer may send.
#include "ps/shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

#include "tests/ps/shard_fixture.h"

namespace emporium::ps {
namespace {

using namespace ps::testing;  // NOLINT: the fixture's names
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

Payload Keys(std::vector<uint64_t> items) {
  Payload payload(1);
  payload[0].keys = std::move(items);
  return payload;
}

Payload Gradients(std::vector<uint64_t> items, float value) {
  Payload payload = Keys(std::move(items));
  payload[0].values.assign(payload[0].keys.size() * 3, value);
  return payload;
}

std::vector<float> ValuesOf(const Answer& answer, size_t section = 0) {
  const std::span<const float> values = answer.frame.sections()[section].values;
  return {values.begin(), values.end()};
}
std::vector<float> CountsOf(const Answer& answer) {
  const std::span<const float> counts = answer.frame.sections()[0].counts;
  return {counts.begin(), counts.end()};
}

std::vector<float> PullVersion(Cluster& cluster, uint64_t step, const Payload& keys) {
  const Answer answer = cluster.Ask(0, Header(FrameType::kPull, 0, step), keys);
  EXPECT_EQ(answer.type(), FrameType::kPullReply) << answer.frame.error_message();
  return ValuesOf(answer);
}

TEST(Shard, NoScheduleChangesAFixedRate) {
  std::vector<TableSettings> tables = TwoTables();
  tables[0].optimizer.mutable_sgd()->set_learning_rate(0.5f);
  tables[0].fixed_rate = true;
  Cluster cluster(1, tables);
  Payload payload(2);
  payload[0] = {{1}, {1, 1, 1}, {}, 0};
  payload[1] = {{1}, {1}, {}, 0};
  Payload keys(2);
  keys[0].keys = keys[1].keys = {1};
  const auto pull = [&](uint64_t step) {
    const Answer answer = cluster.Ask(0, Header(FrameType::kPull, 0, step), keys);
    return std::pair(ValuesOf(answer, 0), ValuesOf(answer, 1));
  };
  const auto [fixed, scheduled] = pull(0);
  FrameHeader header = PushHeader(0, 0, 0, 1);
  header.learning_rate_factor = 0.25f;
  EXPECT_EQ(cluster.Ask(0, header, payload).type(), FrameType::kAck);
  const auto [fixed_after, scheduled_after] = pull(1);
  EXPECT_FLOAT_EQ(fixed_after[0], fixed[0] - 0.5f);
  EXPECT_FLOAT_EQ(scheduled_after[0], scheduled[0] - 0.25f * 0.5f);
}

TEST(Shard, PullsOfTheNextVersionWaitForTheStep) {
  Cluster cluster(1);
  const Payload keys = Keys({1, 2, 3});
  const std::vector<float> before = PullVersion(cluster, 0, keys);
  cluster.Deliver(0, "early", Encode(Header(FrameType::kPull, 0, 1), keys));
  EXPECT_THAT(cluster.Take("early"), SizeIs(0));
  EXPECT_EQ(cluster.shard(0).counters().parked_pulls, 1u);

  EXPECT_EQ(cluster.Ask(0, PushHeader(0, 0, 1, 2), Gradients({1}, 1)).type(), FrameType::kAck);
  EXPECT_THAT(cluster.Take("early"), SizeIs(0));
  EXPECT_EQ(cluster.Ask(0, PushHeader(0, 0, 0, 2), Gradients({1, 3}, 1)).type(), FrameType::kAck);

  const std::vector<Answer> late = cluster.Take("early");
  ASSERT_THAT(late, SizeIs(1));
  EXPECT_EQ(late[0].type(), FrameType::kPullReply);
  EXPECT_EQ(late[0].frame.header().step, Step(1));
  const std::vector<float> after = ValuesOf(late[0]);
  for (size_t d = 0; d < 3; ++d) {
    EXPECT_LT(after[d], before[d]);
    EXPECT_EQ(after[3 + d], before[3 + d]);  // nothing touched key 2
    EXPECT_LT(after[6 + d], before[6 + d]);
  }
  EXPECT_EQ(cluster.shard(0).counters().parked_pulls, 0u);
}

TEST(Shard, AVersionTooFarAheadOrBehindIsStale) {
  Cluster cluster(1);
  Train(cluster, 0, 0, 3, 1);
  for (uint64_t step : {0u, 1u, 5u, 99u}) {
    const Answer answer = cluster.Ask(0, Header(FrameType::kPull, 0, step), Keys({1}));
    EXPECT_EQ(answer.error(), StatusCode::kStale) << step;
    EXPECT_EQ(answer.frame.header().step, Step(3));
  }
  EXPECT_EQ(cluster.Ask(0, PushHeader(0, 5, 0, 1), Gradients({1}, 1)).error(), StatusCode::kStale);
}

// A worker dies after its push reached one shard and not the other: another computes the same
// micro-batch from the same version, and nothing is applied twice.
TEST(Shard, TheVersionBeforeIsAnsweredAfterTheStep) {
  Cluster cluster(2);
  Train(cluster, 0, 0, 4, 2);
  Payload keys(2);
  for (uint64_t k = 0; k < 60; ++k) {
    keys[0].keys.push_back(k);
    keys[1].keys.push_back(1000 + k);
  }
  keys[0].keys.push_back(7);  // asked twice
  auto pull = [&](size_t s) {
    return cluster.Ask(s, Header(FrameType::kPull, 0, 4), cluster.PartOf(s, keys));
  };
  const Answer at_4[] = {pull(0), pull(1)};

  cluster.SendAll("worker", PushHeader(0, 4, 0, 2), MicroBatchOf(4, 0));
  const Payload second = MicroBatchOf(4, 1);
  cluster.Deliver(0, "dies", Encode(PushHeader(0, 4, 1, 2), cluster.PartOf(0, second)));
  EXPECT_EQ(cluster.shard(0).position().version, Step(5));
  EXPECT_EQ(cluster.shard(1).position().version, Step(4));

  for (size_t s = 0; s < 2; ++s) {
    const Answer again = pull(s);
    ASSERT_EQ(again.type(), FrameType::kPullReply) << again.frame.error_message();
    EXPECT_EQ(ValuesOf(again, 0), ValuesOf(at_4[s], 0)) << s;
    EXPECT_EQ(ValuesOf(again, 1), ValuesOf(at_4[s], 1)) << s;
    EXPECT_EQ(CountsOf(again), CountsOf(at_4[s])) << s;
    EXPECT_EQ(again.frame.sections()[0].total, at_4[s].frame.sections()[0].total) << s;
  }
  cluster.SendAll("heir", PushHeader(0, 4, 1, 2), second);
  for (const Answer& answer : cluster.Take("heir")) EXPECT_EQ(answer.type(), FrameType::kAck);
  EXPECT_EQ(cluster.shard(0).position().version, Step(5));
  EXPECT_EQ(cluster.shard(1).position().version, Step(5));
  EXPECT_EQ(cluster.shard(0).counters().duplicate_pushes, 1u);
}

TEST(Shard, AnyVersionIsAnsweredAtOnceAndBeginsNoStage) {
  Cluster cluster(1);
  FrameHeader probe = Header(FrameType::kPull, 9, 1234);
  probe.any_version = true;
  EXPECT_EQ(cluster.Ask(0, probe, {}).frame.header().step, Step(0));
  EXPECT_FALSE(cluster.shard(0).position().stage.has_value());
  Train(cluster, 2, 0, 3, 1);
  const Answer answer = cluster.Ask(0, probe, Keys({1, 2}));
  EXPECT_EQ(answer.type(), FrameType::kPullReply);
  EXPECT_EQ(answer.frame.header().step, Step(3));
  EXPECT_EQ(answer.frame.header().stage, StageId(2));
  EXPECT_EQ(answer.frame.header().route_version, kRoute);
}

TEST(Shard, ALaterStageBeginsAtStepZeroWhenNothingIsStaged) {
  Cluster cluster(1);
  Train(cluster, 0, 0, 3, 2);
  EXPECT_EQ(cluster.Ask(0, PushHeader(0, 3, 0, 2), Gradients({1}, 1)).type(), FrameType::kAck);
  EXPECT_EQ(cluster.Ask(0, Header(FrameType::kPull, 1, 0), Keys({1})).error(), StatusCode::kStale);
  EXPECT_EQ(cluster.Ask(0, PushHeader(0, 3, 1, 2), Gradients({1}, 1)).type(), FrameType::kAck);
  EXPECT_EQ(cluster.Ask(0, Header(FrameType::kPull, 1, 1), Keys({1})).error(), StatusCode::kStale);
  cluster.Deliver(0, "parked", Encode(Header(FrameType::kPull, 0, 5), Keys({1})));

  EXPECT_EQ(cluster.Ask(0, Header(FrameType::kPull, 1, 0), Keys({1})).type(),
            FrameType::kPullReply);
  const Position position = cluster.shard(0).position();
  EXPECT_EQ(position.stage, StageId(1));
  EXPECT_EQ(position.version, Step(0));
  EXPECT_EQ(position.global_step, 4u);
  const std::vector<Answer> parked = cluster.Take("parked");
  ASSERT_THAT(parked, SizeIs(1));
  EXPECT_EQ(parked[0].error(), StatusCode::kStale);
  // The stage before is over.
  EXPECT_EQ(cluster.Ask(0, Header(FrameType::kPull, 0, 4), Keys({1})).error(), StatusCode::kStale);
  EXPECT_EQ(cluster.Ask(0, PushHeader(0, 0, 0, 1), Gradients({1}, 1)).error(), StatusCode::kStale);
}

TEST(Shard, AssignSetsOnlyRowsThatAreNotThere) {
  Cluster cluster(1);
  const FrameHeader assign = Header(FrameType::kAssign, 0, 0);
  EXPECT_EQ(cluster.Ask(0, assign, Gradients({1, 2}, 4)).type(), FrameType::kAck);
  EXPECT_EQ(cluster.Ask(0, assign, Gradients({2, 3}, 5)).type(), FrameType::kAck);
  EXPECT_THAT(PullVersion(cluster, 0, Keys({1, 2, 3})), ElementsAre(4, 4, 4, 4, 4, 4, 5, 5, 5));
  EXPECT_EQ(cluster.shard(0).table(0).rows(), 3u);
}

TEST(Shard, PopularityCountsFadeAndTotalsTravel) {
  Cluster cluster(1);
  Payload push = Gradients({1, 2}, 0);
  push[0].counts = {2, 0};
  push[0].total = 10;  // most of the micro-batch lies on other shards
  for (uint64_t t = 0; t < 8; ++t) {
    cluster.Ask(0, PushHeader(0, t, 0, 1), t == 0 ? push : Payload(1));
    const Answer answer = cluster.Ask(0, Header(FrameType::kPull, 0, t + 1), Keys({1, 2, 3}));
    const double left = std::exp2(-static_cast<double>(t) / 7);
    EXPECT_NEAR(answer.frame.sections()[0].counts[0], 2 * left, 1e-5);
    EXPECT_EQ(answer.frame.sections()[0].counts[1], 0);
    EXPECT_EQ(answer.frame.sections()[0].counts[2], 0);
    EXPECT_NEAR(answer.frame.sections()[0].total, 10 * left, 1e-9);
  }
}

// Everything that the tables of all shards hold.
std::map<std::pair<size_t, uint64_t>, std::vector<float>> RowsOf(Cluster& cluster) {
  std::map<std::pair<size_t, uint64_t>, std::vector<float>> rows;
  for (size_t s = 0; s < cluster.size(); ++s) {
    for (size_t t = 0; t < 2; ++t) {
      for (PartitionId p : cluster.shard(s).config().owned) {
        cluster.shard(s).table(t).ForEachRow(p, [&](const RowView& row) {
          std::vector<float>& all = rows[{t, row.key}];
          all.assign(row.weights.begin(), row.weights.end());
          all.insert(all.end(), row.state.begin(), row.state.end());
          all.push_back(row.popularity);
          all.push_back(static_cast<float>(row.last_step));
          all.push_back(static_cast<float>(row.updates));
        });
      }
      const Table::Total total = cluster.shard(s).table(t).total();
      rows[{100 + t, 0}] = {static_cast<float>(total.value), static_cast<float>(total.step)};
    }
  }
  return rows;
}

// The same micro-batches in any order, with any of them sent again, with keys or after pulls of the
// same keys without them, on one shard or on four: every row of every table is the same bits.
TEST(Shard, OrderDuplicatesKeysAndShardsDoNotShow) {
  constexpr uint32_t kOf = 5;
  constexpr uint64_t kSteps = 12;
  Cluster plain(1);
  Train(plain, 0, 0, kSteps, kOf);
  const auto expected = RowsOf(plain);
  EXPECT_GT(expected.size(), 50u);
  std::mt19937_64 random(7);
  for (uint32_t shards : {1u, 2u, 3u, 4u}) {
    Cluster cluster(shards);
    for (uint64_t t = 0; t < kSteps; ++t) {
      std::vector<uint32_t> order = {0, 1, 2, 3, 4, 2, 0};
      std::shuffle(order.begin(), order.end(), random);
      std::vector<bool> pulled(kOf);
      for (uint32_t m : order) {
        const bool known = random() % 3 != 0;
        if (known && !pulled[m]) {
          cluster.SendAll("puller", PullHeader(0, t, m, kOf), MicroBatchOf(t, m));
          pulled[m] = true;
        }
        cluster.SendAll("worker", PushHeader(0, t, m, kOf), MicroBatchOf(t, m), known);
      }
    }
    for (const Answer& answer : cluster.Take("worker")) EXPECT_EQ(answer.type(), FrameType::kAck);
    for (const Answer& a : cluster.Take("puller")) EXPECT_EQ(a.type(), FrameType::kPullReply);
    EXPECT_EQ(RowsOf(cluster), expected) << shards;
  }
}

TEST(Shard, KeysThatAreNotKnownAreAskedForAndChangeNothing) {
  Cluster cluster(1);
  const Payload push = Gradients({1, 2}, 1);
  const auto ask = [&](uint64_t step, uint32_t m, const Payload& payload) {
    return cluster.Ask(0, PushHeader(3, step, m, 2), payload, true).error();
  };
  // No pull at all; it does not even begin the stage.
  EXPECT_EQ(ask(0, 0, push), StatusCode::kNotFound);
  EXPECT_FALSE(cluster.shard(0).position().stage.has_value());
  // A pull of another micro-batch, of none, and of other keys.
  cluster.Ask(0, PullHeader(3, 0, 1, 2), Keys({1, 2}));
  cluster.Ask(0, Header(FrameType::kPull, 3, 0), Keys({1, 2}));
  EXPECT_EQ(ask(0, 0, push), StatusCode::kNotFound);
  EXPECT_EQ(ask(0, 1, Gradients({2, 1}, 1)), StatusCode::kNotFound);
  EXPECT_EQ(ask(0, 1, Gradients({1, 2, 3}, 1)), StatusCode::kNotFound);
  EXPECT_EQ(ask(1, 1, push), StatusCode::kNotFound);
  Payload other_table(2);
  other_table[1] = {{1, 2}, {1, 1}, {}, 0};
  EXPECT_EQ(ask(0, 1, other_table), StatusCode::kNotFound);
  EXPECT_EQ(cluster.shard(0).counters().staged_bytes, 0u);
  // The refused ones have not made the shard forget; a duplicate needs no keys.
  EXPECT_EQ(ask(0, 1, push), StatusCode::kOk);
  EXPECT_EQ(ask(0, 1, push), StatusCode::kOk);
  EXPECT_EQ(cluster.Ask(0, PushHeader(3, 0, 0, 2), push).type(), FrameType::kAck);
  EXPECT_EQ(cluster.shard(0).position().version, Step(1));
  EXPECT_EQ(cluster.shard(0).counters().duplicate_pushes, 1u);
  EXPECT_EQ(ask(0, 0, push), StatusCode::kOk);
  // What was pulled for the step before is forgotten; a pull that waited for this one is not.
  EXPECT_EQ(ask(1, 1, push), StatusCode::kNotFound);
  cluster.Deliver(0, "early", Encode(PullHeader(3, 2, 0, 1), Keys({1, 2})));
  EXPECT_EQ(cluster.Ask(0, PushHeader(3, 1, 0, 1), push).type(), FrameType::kAck);
  EXPECT_THAT(cluster.Take("early"), SizeIs(1));
  EXPECT_EQ(cluster.Ask(0, PushHeader(3, 2, 0, 1), push, true).type(), FrameType::kAck);
  EXPECT_EQ(cluster.shard(0).position().version, Step(3));
}

// A push of the step after may come first; the pulls between are answered with their version.
TEST(Shard, PullsThatAreDueComeBeforeAStepThatIsComplete) {
  Cluster cluster(1);
  const std::vector<float> initial = PullVersion(cluster, 0, Keys({1}));
  EXPECT_EQ(cluster.Ask(0, PushHeader(0, 1, 0, 1), Gradients({1}, 1)).type(), FrameType::kAck);
  cluster.Deliver(0, "early", Encode(Header(FrameType::kPull, 0, 1), Keys({1})));
  EXPECT_EQ(cluster.Ask(0, PushHeader(0, 0, 0, 1), Gradients({1}, 1)).type(), FrameType::kAck);
  EXPECT_EQ(cluster.shard(0).position().version, Step(2));
  const std::vector<Answer> early = cluster.Take("early");
  ASSERT_THAT(early, SizeIs(1));
  EXPECT_EQ(early[0].frame.header().step, Step(1));
  const std::vector<float> last = PullVersion(cluster, 2, Keys({1}));
  EXPECT_LT(ValuesOf(early[0])[0], initial[0]);
  EXPECT_LT(last[0], ValuesOf(early[0])[0]);
  EXPECT_EQ(PullVersion(cluster, 1, Keys({1})), ValuesOf(early[0]));
}

// A row is made with the step that needs it; until then its initial value is what it is.
TEST(Shard, RowsAreMadeWhenTheStepIsComplete) {
  Cluster cluster(1);
  const std::vector<float> initial = PullVersion(cluster, 0, Keys({1}));
  cluster.Ask(0, PushHeader(0, 0, 0, 2), Gradients({1}, 1));
  EXPECT_EQ(cluster.shard(0).table(0).rows(), 0u);
  EXPECT_EQ(PullVersion(cluster, 0, Keys({1})), initial);
  // An assignment that comes meanwhile finds the row taken.
  cluster.Ask(0, Header(FrameType::kAssign, 0, 0), Gradients({1, 2}, 4));
  EXPECT_EQ(PullVersion(cluster, 0, Keys({1})), initial);
  cluster.Ask(0, PushHeader(0, 0, 1, 2), Gradients({1, 2}, 1));
  EXPECT_EQ(cluster.shard(0).table(0).rows(), 2u);
  EXPECT_EQ(PullVersion(cluster, 0, Keys({1})), initial);  // the version before
}

TEST(Shard, BoundsAnswerBusyAndThenGoOn) {
  Cluster cluster(1, TwoTables(), 4000, 2);
  std::vector<uint64_t> many(200);
  for (size_t i = 0; i < many.size(); ++i) many[i] = i;
  EXPECT_EQ(cluster.Ask(0, PushHeader(0, 0, 0, 2), Gradients(many, 1)).error(), StatusCode::kBusy);
  EXPECT_EQ(cluster.Ask(0, PushHeader(0, 0, 0, 2), Gradients({1}, 1)).type(), FrameType::kAck);
  for (int i = 0; i < 2; ++i) {
    cluster.Deliver(0, "waits", Encode(Header(FrameType::kPull, 0, 1), Keys({1})));
  }
  EXPECT_THAT(cluster.Take("waits"), SizeIs(0));
  EXPECT_EQ(cluster.Ask(0, Header(FrameType::kPull, 0, 1), Keys({1})).error(), StatusCode::kBusy);
  EXPECT_EQ(cluster.shard(0).counters().busy_frames, 2u);
  EXPECT_EQ(cluster.Ask(0, PushHeader(0, 0, 1, 2), Gradients({1}, 1)).type(), FrameType::kAck);
  EXPECT_THAT(cluster.Take("waits"), SizeIs(2));
}

TEST(Shard, RoutesOfAnotherVersionAreNotServed) {
  Cluster cluster(1);
  FrameHeader old = Header(FrameType::kPull, 0, 0);
  old.route_version = RouteVersion(4);
  const Answer stale = cluster.Ask(0, old, Keys({1}));
  EXPECT_EQ(stale.error(), StatusCode::kStale);
  EXPECT_EQ(stale.frame.header().route_version, kRoute);
  FrameHeader newer = old;
  newer.route_version = RouteVersion(6);
  EXPECT_EQ(cluster.Ask(0, newer, Keys({1})).error(), StatusCode::kBusy);
}

TEST(Shard, WhatDoesNotFitTheJobIsRefusedAndChangesNothing) {
  Cluster cluster(2);
  const uint64_t foreign = [&] {
    uint64_t key = 0;
    while (!cluster.PartOf(0, Keys({key}))[0].keys.empty()) ++key;
    return key;
  }();
  const uint64_t own = [&] {
    uint64_t key = 0;
    while (cluster.PartOf(0, Keys({key}))[0].keys.empty()) ++key;
    return key;
  }();
  const FrameHeader push = PushHeader(7, 0, 0, 1);
  std::vector<std::pair<Payload, std::string>> wrong;
  wrong.emplace_back(Gradients({foreign}, 1), "does not live on shard 0");
  wrong.emplace_back(Gradients({own}, std::numeric_limits<float>::quiet_NaN()), "not finite");
  wrong.emplace_back(Gradients({own}, -std::numeric_limits<float>::infinity()), "not finite");
  Payload width = Gradients({own}, 1);
  width[0].values.resize(2);
  wrong.emplace_back(width, "width 2");
  Payload counts = Gradients({own}, 1);
  counts[0].counts = {-1};
  wrong.emplace_back(counts, "below zero");
  counts[0].counts = {2e12f};
  wrong.emplace_back(counts, "a count of more than 1000000000000 sightings");
  Payload total = Gradients({own}, 1);
  total[0].total = 1e300;
  wrong.emplace_back(total, "a total of more than 1000000000000 sightings");
  Payload table(3);
  wrong.emplace_back(table, "no table 2");
  Payload popularity(2);
  popularity[1] = {{own}, {1}, {1}, 1};
  wrong.emplace_back(popularity, "keeps no popularity");
  for (const auto& [payload, message] : wrong) {
    const Answer answer = cluster.Ask(0, push, payload);
    EXPECT_EQ(answer.error(), StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(answer.frame.error_message()), HasSubstr(message));
  }
  EXPECT_EQ(cluster.shard(0).counters().refused_frames, wrong.size());
  EXPECT_FALSE(cluster.shard(0).position().stage.has_value());
  EXPECT_EQ(cluster.shard(0).table(0).rows(), 0u);
  EXPECT_EQ(cluster.Ask(0, push, Gradients({own}, 1)).type(), FrameType::kAck);
}

TEST(Shard, GarbageIsCountedAndServiceGoesOn) {
  Cluster cluster(1);
  Bytes sound = Encode(PushHeader(0, 0, 0, 2), Gradients({1, 2}, 1));
  std::mt19937_64 random(3);
  for (int i = 0; i < 20'000; ++i) {
    Bytes bytes = sound;
    for (int e = 0; e < 3; ++e) bytes[random() % bytes.size()] = std::byte(random());
    bytes.resize(random() % (bytes.size() + 1));
    cluster.Deliver(0, "noise", std::move(bytes));
  }
  EXPECT_EQ(cluster.shard(0).counters().refused_frames, 20'000u);
  // A sound header with a body cut short is told so; an answer is never answered.
  cluster.Take("noise");
  sound.resize(sound.size() - 8);
  cluster.Deliver(0, "noise", sound);
  EXPECT_THAT(cluster.Take("noise"), SizeIs(1));
  cluster.Deliver(0, "noise", EncodeAck(Header(FrameType::kPull, 0, 0), kRoute, Step(0)));
  EXPECT_THAT(cluster.Take("noise"), SizeIs(0));
  EXPECT_EQ(cluster.Ask(0, PushHeader(0, 0, 0, 1), Gradients({1}, 1)).type(), FrameType::kAck);
}

TEST(Shard, AnAnswerThatNoFrameCouldHoldIsRefused) {
  std::vector<TableSettings> tables = TwoTables();
  tables[0].dim = limits::kMaxDim;
  Cluster cluster(1, tables);
  const Answer answer =
      cluster.Ask(0, Header(FrameType::kPull, 0, 0), Keys(std::vector<uint64_t>(70'000, 1)));
  EXPECT_EQ(answer.error(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(answer.frame.error_message()), HasSubstr("fewer keys"));
}

}  // namespace
}  // namespace emporium::ps
