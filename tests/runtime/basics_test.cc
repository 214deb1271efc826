// Queue, gate, log, metrics, clock, route.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <numeric>
#include <random>
#include <thread>

#include "runtime/clock.h"
#include "runtime/file.h"
#include "runtime/gate.h"
#include "runtime/log.h"
#include "runtime/metrics.h"
#include "runtime/queue.h"
#include "runtime/route.h"

namespace emporium::runtime {
namespace {

TEST(Queue, DeliversEachElementOnceAcrossThreads) {
  Queue<int> queue(3);
  constexpr int kProducers = 3, kConsumers = 4, kEach = 2000;
  std::atomic<int64_t> sum = 0, count = 0;
  std::vector<std::thread> consumers, producers;
  for (int c = 0; c < kConsumers; ++c) {
    consumers.emplace_back([&] {
      while (auto element = queue.Pop()) {
        sum += *element;
        ++count;
      }
    });
  }
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&, p] {
      for (int i = 0; i < kEach; ++i) EXPECT_TRUE(queue.Push(p * kEach + i));
    });
  }
  for (auto& thread : producers) thread.join();
  queue.Close();
  for (auto& thread : consumers) thread.join();
  constexpr int64_t kAll = int64_t{kProducers} * kEach;
  EXPECT_EQ(count, kAll);
  EXPECT_EQ(sum, kAll * (kAll - 1) / 2);
}

TEST(Queue, CloseDrainsAndRefuses) {
  Queue<std::unique_ptr<int>> queue(2);
  EXPECT_TRUE(queue.Push(std::make_unique<int>(1)));
  EXPECT_TRUE(queue.Push(std::make_unique<int>(2)));
  auto third = std::make_unique<int>(3);
  EXPECT_FALSE(queue.TryPush(third));
  EXPECT_NE(third, nullptr);
  std::thread blocked([&] { EXPECT_FALSE(queue.Push(std::make_unique<int>(4))); });
  queue.Close();
  blocked.join();
  EXPECT_EQ(**queue.Pop(), 1);
  EXPECT_EQ(**queue.TryPop(), 2);
  EXPECT_FALSE(queue.Pop().has_value());
  EXPECT_FALSE(queue.TryPop().has_value());
  EXPECT_FALSE(queue.Push(nullptr));
  EXPECT_TRUE(queue.closed());
}

TEST(Gate, CloseWaitsForWhoIsInsideAndRefusesOthers) {
  Gate gate;
  std::atomic<bool> closed = false;
  std::thread closer;
  {
    Gate::Pass pass = gate.Enter();
    ASSERT_TRUE(pass);
    closer = std::thread([&] {
      gate.Close();
      closed = true;
    });
    while (gate.Enter()) std::this_thread::yield();  // until the closer is at it
    EXPECT_FALSE(closed);
  }
  closer.join();
  EXPECT_TRUE(closed);
  EXPECT_FALSE(gate.Enter());
}

TEST(Log, FormatsAndWritesToAFile) {
  EXPECT_EQ(internal::Format("{} of {}", {"1", "2"}), "1 of 2");
  EXPECT_EQ(internal::Format("{}", {}), "{}");
  EXPECT_EQ(internal::Format("all", {"1"}), "all 1");
  EXPECT_EQ(internal::Format("a{}", {"{}"}), "a{}");
  const std::string path = testing::TempDir() + "/emporium_log_test." + std::to_string(::getpid());
  ASSERT_TRUE(SetLogFile(path).ok());
  SetLogToStderr(false);
  Log(LogLevel::kInfo, "test", "shard {} of {} at {}", 3, uint64_t{4}, "here");
  Log(LogLevel::kDebug, "test", "not shown");
  SetLogToStderr(true);
  const std::string text = *ReadFile(path);
  EXPECT_NE(text.find(" I test: shard 3 of 4 at here\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("not shown"), std::string::npos);
  EXPECT_EQ(SetLogFile("/dev/null/x").code(), StatusCode::kUnavailable);
  std::filesystem::remove(path);
}

TEST(Metrics, PrometheusText) {
  Registry registry;
  registry.counter("b_total", "shard=\"1\"", "Things.").Add(2);
  registry.counter("b_total", "shard=\"1\"", "Things.").Add(3);
  registry.counter("b_total", "shard=\"0\"", "").Add(1);
  registry.gauge("a", "", "Level.").Set(0.5);
  EXPECT_EQ(registry.PrometheusText(),
            "# HELP b_total Things.\n# TYPE b_total counter\n"
            "b_total{shard=\"0\"} 1\nb_total{shard=\"1\"} 5\n"
            "# HELP a Level.\n# TYPE a gauge\na 0.5\n");
}

TEST(Clock, NeverGoesBack) {
  const SystemClock clock;
  const auto first = clock.now();
  EXPECT_LE(first, clock.now());
  Stopwatch watch;
  EXPECT_GE(watch.Seconds(), 0);
  EXPECT_GE(watch.Restart(), 0);
}

TEST(Route, MixKeyIsABijectionWithPinnedValues) {
  EXPECT_EQ(MixKey(0), 0u);
  EXPECT_EQ(MixKey(1), 0x5692161d100b05e5u);
  EXPECT_EQ(PartitionOf(12345, 1), PartitionId(0));
}

TEST(Route, EvenAssignmentIsTheStatedRanges) {
  for (uint32_t partitions : {1u, 2u, 16u, 1024u}) {
    for (uint32_t shards = 1; shards <= std::min(partitions, 37u); ++shards) {
      const auto owner = EvenAssignment(partitions, shards);
      for (uint64_t s = 0; s < shards; ++s) {
        for (uint64_t p = s * partitions / shards; p < (s + 1) * partitions / shards; ++p) {
          ASSERT_EQ(owner[p].value(), s) << p << " of " << partitions << ", " << shards;
        }
      }
    }
  }
}

TEST(Route, KeysSpreadEvenly) {
  constexpr uint32_t kPartitions = 64;
  std::vector<int> hits(kPartitions);
  for (uint64_t key = 0; key < 64'000; ++key) ++hits[PartitionOf(key, kPartitions).value()];
  for (int n : hits) EXPECT_NEAR(n, 1000, 200);
}

}  // namespace
}  // namespace emporium::runtime
