// The SQLite store against the one in memory, over restarts.
#include "scheduler/state_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>

#include "tests/scheduler/memory_store.h"

namespace emporium::scheduler::testing {
namespace {

class SqliteStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = ::testing::TempDir() + "/emporium-store-" + std::to_string(::getpid());
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
    path_ = dir_ + "/state.sqlite";
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string dir_, path_;
};

StateChange RandomChange(std::mt19937_64& random) {
  StateChange change;
  const auto below = [&random](uint64_t n) { return random() % n; };
  if (below(2)) change.generation = static_cast<int64_t>(below(1000));
  if (below(2)) change.next_node = static_cast<int64_t>(below(1000));
  if (below(9) == 0) change.fingerprint = "f" + std::to_string(below(10));
  if (below(9) == 0) change.rewind = Position{static_cast<uint32_t>(below(4)), below(20), false};
  for (uint64_t i = below(3); i > 0; --i) {
    change.finished[static_cast<uint32_t>(below(4))] = "d" + std::to_string(below(9));
  }
  for (uint64_t i = below(3); i > 0; --i) {
    StageMetrics m{static_cast<uint32_t>(below(4)), std::nullopt, {}};
    if (below(2)) m.step = below(20);
    for (uint64_t n = below(4); n > 0; --n) {
      m.metrics["ndcg@" + std::to_string(n)] = std::ldexp(static_cast<double>(random()), -64);
    }
    change.metrics.push_back(m);
  }
  if (below(3) == 0) {
    CheckpointRecord record{below(40), {1, below(20), below(2) == 0}, random() >> 2, 7, "c", "",
                            99};
    if (below(2)) record.error = "it's \"full\"\n";
    change.checkpoints.push_back(record);
  }
  if (below(3) == 0) {
    std::vector<CurvePoint>& curve = change.curves[static_cast<uint32_t>(below(4))];
    for (uint64_t i = below(5); i > 0; --i) {
      curve.push_back(
          {curve.size() * 2, 2, {{"bce", 0.1}, {"loss", 1.0 / static_cast<double>(i)}}});
    }
  }
  for (uint64_t i = below(3); i > 0; --i) {
    change.events.push_back({static_cast<int64_t>(below(99)), "info", "event\xc3\xa9"});
  }
  return change;
}

void ExpectEqual(const StoredState& a, const StoredState& b) {
  EXPECT_EQ(a.fingerprint, b.fingerprint);
  EXPECT_EQ(a.generation, b.generation);
  EXPECT_EQ(a.next_node, b.next_node);
  EXPECT_EQ(a.finished, b.finished);
  EXPECT_EQ(a.metrics, b.metrics);
  EXPECT_EQ(a.checkpoints, b.checkpoints);
  EXPECT_EQ(a.curves, b.curves);
  EXPECT_EQ(a.events, b.events);
}

TEST_F(SqliteStoreTest, HoldsWhatTheOneInMemoryHoldsOverRestarts) {
  std::mt19937_64 random(11);
  MemoryStore memory;
  auto store = std::move(OpenSqliteStore(path_)).value();
  ExpectEqual(store->Load().value(), memory.Load().value());
  for (int i = 0; i < 120; ++i) {
    const StateChange change = RandomChange(random);
    ASSERT_TRUE(memory.Apply(change).ok());
    const Status stored = store->Apply(change);
    ASSERT_TRUE(stored.ok()) << stored.ToString();
    if (i % 30 == 0) {
      store.reset();
      store = std::move(OpenSqliteStore(path_)).value();
      ExpectEqual(store->Load().value(), memory.Load().value());
    }
  }
  ExpectEqual(store->Load().value(), memory.Load().value());
}

TEST_F(SqliteStoreTest, KeepsNumbersThatAreNone) {
  auto store = std::move(OpenSqliteStore(path_)).value();
  StateChange change;
  change.metrics.push_back({0, std::nullopt, {{"nan", std::nan("")}, {"inf", HUGE_VAL}}});
  ASSERT_TRUE(store->Apply(change).ok());
  const Metrics metrics = store->Load()->metrics.at(0).metrics;
  EXPECT_TRUE(std::isnan(metrics.at("nan")));
  EXPECT_EQ(metrics.at("inf"), HUGE_VAL);
}

TEST_F(SqliteStoreTest, BoundsEvents) {
  auto store = std::move(OpenSqliteStore(path_)).value();
  StateChange change;
  for (int i = 0; i < 1500; ++i) change.events.push_back({i, "info", "e"});
  ASSERT_TRUE(store->Apply(change).ok());
  const std::vector<Event> events = store->Load()->events;
  ASSERT_EQ(events.size(), limits::kMaxEvents);
  EXPECT_EQ(events.front().unix_ms, 500);
}

TEST_F(SqliteStoreTest, OneSchedulerAtATime) {
  auto store = std::move(OpenSqliteStore(path_)).value();
  auto second = OpenSqliteStore(path_);
  EXPECT_EQ(second.status().code(), StatusCode::kBusy) << second.status().ToString();
  EXPECT_NE(second.status().message().find("another scheduler has this work_dir"),
            std::string::npos);
  store.reset();
  EXPECT_TRUE(OpenSqliteStore(path_).ok());
}

TEST_F(SqliteStoreTest, SaysWhatIsWrongWithAFile) {
  std::ofstream(path_) << std::string(5000, 'x');
  EXPECT_EQ(OpenSqliteStore(path_).status().code(), StatusCode::kDataLoss);
  EXPECT_FALSE(OpenSqliteStore(dir_ + "/none/state.sqlite").ok());
}

TEST(StateChange, AddsInOrder) {
  StateChange a, b;
  EXPECT_TRUE(a.empty());
  a.generation = 1;
  a.finished[1] = "x";
  a.events.push_back({1, "info", "a"});
  b.generation = 2;
  b.finished[1] = "y";
  b.events.push_back({2, "info", "b"});
  a.Add(b);
  EXPECT_EQ(a.generation, 2);
  EXPECT_EQ(a.finished[1], "y");
  EXPECT_EQ(a.events.size(), 2u);
  EXPECT_FALSE(a.empty());
}

TEST(StateChange, ARewindTakesBackWhatWasAddedBefore) {
  StateChange change, rewind;
  change.finished = {{0, "x"}, {1, "y"}};
  change.metrics = {{1, 4, {{"m", 1}}}, {1, 8, {{"m", 2}}}, {1, std::nullopt, {{"m", 3}}}};
  change.curves[1] = {{0, 1, {{"loss", 1}}}};
  change.rewind = Position{2, 0, false};
  rewind.rewind = Position{1, 4, false};
  rewind.curves[1] = {{0, 2, {{"loss", 2}}}};
  change.Add(rewind);
  EXPECT_EQ(change.finished, (std::map<uint32_t, std::string>{{0, "x"}}));
  ASSERT_EQ(change.metrics.size(), 1u);
  EXPECT_EQ(change.metrics[0].step, 4u);
  EXPECT_EQ(change.curves, rewind.curves);
  EXPECT_EQ(change.rewind, (Position{1, 4, false}));
  StateChange less;
  less.rewind = Position{1, 6, false};
  change.Add(less);
  EXPECT_EQ(change.rewind, (Position{1, 4, false}));  // the one that forgets more
}

}  // namespace
}  // namespace emporium::scheduler::testing
