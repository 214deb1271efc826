// The parts that retention is made of, each against what its header promises.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <random>
#include <vector>

#include "proto/exact_math.h"
#include "ps/admission.h"
#include "ps/expiry.h"
#include "ps/popularity_stats.h"
#include "ps/row_slots.h"
#include "runtime/route.h"

namespace emporium::ps {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint32_t kPartitions = 16;

std::vector<PartitionId> Partitions(uint32_t begin, uint32_t end) {
  std::vector<PartitionId> partitions;
  for (uint32_t p = begin; p < end; ++p) partitions.emplace_back(static_cast<uint16_t>(p));
  return partitions;
}

// ---- Admission
// -----------------------------------------------------------------------------------

TEST(AdmissionTest, AKeyIsAdmittedAtItsSightings) {
  Admission admission(3, 4096, 1, kPartitions, Partitions(0, kPartitions));
  EXPECT_FALSE(admission.Admits(5));
  admission.Count(5, 1);
  admission.Count(5, 1);
  EXPECT_FALSE(admission.Admits(5));
  admission.Count(5, 0);
  EXPECT_FALSE(admission.Admits(5));
  admission.Count(5, 1);
  EXPECT_TRUE(admission.Admits(5));
  admission.Count(6, 300);  // saturates
  EXPECT_TRUE(admission.Admits(6));
  admission.Clear();
  EXPECT_FALSE(admission.Admits(5));
}

// The cells do not depend on the order of a step, nor on which partitions lie together.
TEST(AdmissionTest, CellsAreAFunctionOfTheStep) {
  Admission whole(2, 64, 7, kPartitions, Partitions(0, kPartitions));
  Admission low(2, 64, 7, kPartitions, Partitions(0, 5));
  Admission high(2, 64, 7, kPartitions, Partitions(5, kPartitions));
  std::mt19937_64 random(3);
  for (int step = 0; step < 50; ++step) {
    std::vector<std::pair<uint64_t, float>> sightings;
    for (int i = 0; i < 400; ++i) {
      sightings.emplace_back(random() % 5000, static_cast<float>(random() % 90));
    }
    for (const auto& [key, n] : sightings) whole.Count(key, n);
    std::shuffle(sightings.begin(), sightings.end(), random);
    for (const auto& [key, n] : sightings) {
      (runtime::PartitionOf(key, kPartitions).value() < 5 ? low : high).Count(key, n);
    }
    whole.EndStep();
    low.EndStep();
    high.EndStep();
    for (const PartitionId p : Partitions(0, kPartitions)) {
      const Admission& part = p.value() < 5 ? low : high;
      ASSERT_TRUE(std::ranges::equal(whole.cells(p), part.cells(p))) << step;
      ASSERT_EQ(whole.held(p), part.held(p));
    }
  }
  Admission restored(2, 64, 7, kPartitions, Partitions(3, 4));
  restored.Restore(PartitionId(3), whole.cells(PartitionId(3)), whole.held(PartitionId(3)));
  EXPECT_TRUE(std::ranges::equal(restored.cells(PartitionId(3)), whole.cells(PartitionId(3))));
}

TEST(AdmissionTest, ErrorStaysBelowTheStatedBound) {
  const std::vector<PartitionId> one = Partitions(0, 1);
  constexpr uint32_t kWidth = 4096;
  Admission admission(1, kWidth, 11, 1, one);
  std::mt19937_64 random(8);
  for (uint32_t i = 0; i < kWidth / 2; ++i) admission.Count(random(), 1);
  admission.EndStep();
  EXPECT_EQ(admission.held(PartitionId(0)), kWidth / 2) << "not aged yet";
  int wrong = 0;
  constexpr int kAsked = 100'000;
  for (int i = 0; i < kAsked; ++i) wrong += admission.Admits(random()) ? 1 : 0;
  EXPECT_LT(wrong, 0.026 * kAsked);
  EXPECT_GT(wrong, 0.020 * kAsked) << "the bound is what happens when the sketch is full";
  admission.Count(random(), 1);
  admission.EndStep();
  EXPECT_EQ(admission.held(PartitionId(0)), (kWidth / 2 + 1) / 2);
}

TEST(AdmissionTest, WidthFillsTheMemory) {
  EXPECT_EQ(SketchWidth(16 << 20, 1024), 4096u);
  EXPECT_EQ(SketchWidth((16 << 20) + 4095, 1024), 4096u);
  EXPECT_EQ(SketchWidth(0, 1024), kMinSketchWidth);
}

// ---- Expiry
// --------------------------------------------------------------------------------------

TEST(ExpiryTest, SharesAddUpToTheBudget) {
  for (const uint64_t rows : {uint64_t{16}, uint64_t{1000}, ~uint64_t{0}}) {
    uint64_t sum = 0;
    for (const PartitionId p : Partitions(0, kPartitions)) sum += ShareOf(p, kPartitions, rows);
    EXPECT_EQ(sum, rows);
  }
}

TEST(ExpiryTest, EachRuleTakesItsOwn) {
  const std::vector<RowAge> rows = {{1, 10, 5}, {2, 4, 5}, {3, 10, 0.5f}, {4, 9, 1}, {5, 12, 0}};
  EXPECT_THAT(Expired(rows, {.every_steps = 1}, 0, 12), IsEmpty());
  EXPECT_THAT(Expired(rows, {.every_steps = 1, .untouched_steps = 8}, 0, 12), ElementsAre(2));
  EXPECT_THAT(Expired(rows, {.every_steps = 1, .popularity_below = 1}, 0, 12), ElementsAre(3))
      << "row 5 was touched in this step";
  EXPECT_THAT(Expired(rows, {.every_steps = 1, .rows = 99}, 3, 12), ElementsAre(3, 4));
  EXPECT_THAT(Expired(rows, {.every_steps = 1, .rows = 99}, 2, 12), ElementsAre(2, 3, 4))
      << "of equally popular rows the larger key goes";
  EXPECT_THAT(Expired(rows, {.every_steps = 1, .rows = 99}, 0, 12), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(Expired(rows, {.every_steps = 1, .untouched_steps = 8, .rows = 99}, 3, 12),
              ElementsAre(2, 3));
}

TEST(ExpiryTest, IsItsOwnFixedPoint) {
  std::mt19937_64 random(12);
  for (int round = 0; round < 200; ++round) {
    std::vector<RowAge> rows;
    for (uint64_t key = 0; key < random() % 60; ++key) {
      rows.push_back({key, static_cast<uint32_t>(random() % 20), (random() % 8) * 0.5f});
    }
    const ExpiryRules rules{1, random() % 20, (random() % 3) * 0.5f, random() % 2 * 100};
    const uint64_t share = random() % 40;
    std::vector<uint64_t> gone = Expired(rows, rules, share, 19);
    ASSERT_TRUE(std::ranges::is_sorted(gone));
    std::ranges::shuffle(rows, random);
    ASSERT_EQ(Expired(rows, rules, share, 19), gone) << "the order of rows does not matter";
    std::erase_if(rows,
                  [&](const RowAge& row) { return std::ranges::binary_search(gone, row.key); });
    ASSERT_THAT(Expired(rows, rules, share, 19), IsEmpty());
  }
}

// ---- Slots
// ---------------------------------------------------------------------------------------

TEST(LogSpaceTest, IsLibmToTheLastBits) {
  std::mt19937_64 random(5);
  std::uniform_real_distribution<double> uniform(-700, 700);
  for (int i = 0; i < 100'000; ++i) {
    const double a = uniform(random), b = uniform(random);
    EXPECT_NEAR(NaturalLog(std::exp(a)), a, 1e-13 * std::max(1.0, std::abs(a)));
    const double expected = std::max(a, b) + std::log1p(std::exp(-std::abs(a - b)));
    EXPECT_NEAR(LogAddExp(a, b), expected, 4e-16 * std::max(1.0, std::abs(expected)));
  }
  EXPECT_EQ(NaturalLog(1), 0);
  EXPECT_EQ(LogAddExp(NaturalLog(0), 3), 3);
}

// A row's slots with a byte before them, so that nothing lies aligned.
class SlotRow {
 public:
  explicit SlotRow(const RowSlots& slots) : slots_(slots), bytes_(slots.words() * 4 + 1) {
    slots_.Init(at());
  }
  std::byte* at() { return bytes_.data() + 1; }
  std::vector<float> Read(uint32_t ticks = 0) {
    std::vector<float> values(slots_.slots());
    slots_.Read(at(), 0, ticks, values);
    return values;
  }

 private:
  const RowSlots& slots_;
  std::vector<std::byte> bytes_;
};

TEST(RowSlotsTest, EachRuleDoesWhatItSays) {
  const RowSlots slots({{spec::Slot::SET, 0, 0, 9},
                        {spec::Slot::ADD, 10, 0, 0},
                        {spec::Slot::MAX, 0, 0, -4},
                        {spec::Slot::EMA, 0, 0.25f, 7},
                        {spec::Slot::LOG_EMA, 0, 0, -1}},
                       true);
  EXPECT_EQ(slots.words(), 1u + 3u + 4u);
  SlotRow row(slots);
  EXPECT_THAT(row.Read(), ElementsAre(9, 0, -4, 7, -1));
  RowSlots::SetTime(row.at(), 123456789);
  slots.Observe(row.at(), {});
  EXPECT_THAT(row.Read(), ElementsAre(9, 0, -4, 7, -1));
  std::vector<float> xs, logs;
  double ema = 0;
  std::mt19937_64 random(6);
  std::uniform_real_distribution<float> uniform(-2, 2);
  for (int k = 0; k < 40; ++k) {
    xs.push_back(uniform(random));
    logs.push_back(xs.back());
    const float seen[] = {xs.back(), 1, xs.back(), xs.back(), xs.back()};
    slots.Observe(row.at(), {0b11111, seen});
    const double rho = std::max(0.25, 1.0 / (k + 1));
    ema += rho * (xs.back() - ema);
    double sum = 0;
    for (const float x : xs) sum += std::exp(x);
    const std::vector<float> values = row.Read();
    EXPECT_EQ(values[0], xs.back());
    EXPECT_EQ(values[1], static_cast<float>(k + 1));
    EXPECT_EQ(values[2], *std::ranges::max_element(xs));
    EXPECT_NEAR(values[3], ema, 1e-5);
    // With no least rho LOG_EMA is the log of the plain mean.
    EXPECT_NEAR(values[4], std::log(sum / (k + 1)), 1e-5);
  }
  EXPECT_EQ(row.Read(10)[1], 20) << "a fading slot is read as it is now";
  EXPECT_EQ(row.Read(10)[0], xs.back());
  slots.Fade(row.at(), 0, 10);
  EXPECT_EQ(row.Read()[1], 20);
  EXPECT_EQ(row.Read()[0], xs.back());
  EXPECT_EQ(RowSlots::Time(row.at()), 123456789u);
}

// Half lives of a slot's own, times as bits, and what is observed of some slots only.
TEST(RowSlotsTest, CountersFadeEachInItsTimeAndTimesAreExact) {
  const RowSlots slots({{spec::Slot::ADD, 10, 0, 0},
                        {spec::Slot::ADD, 40, 0, 0},
                        {spec::Slot::ADD, 0, 0, 2},
                        {spec::Slot::MIN, 0, 0, 0, true},
                        {spec::Slot::MAX, 0, 0, 0, true},
                        {spec::Slot::MIN, 0, 0, 5}},
                       false);
  EXPECT_THAT(slots.counters(), ElementsAre(0, 1, 2));
  SlotRow row(slots);
  const auto time = [&row](size_t slot) { return std::bit_cast<uint32_t>(row.Read()[slot]); };
  EXPECT_EQ(time(3), 0u);
  // The last one is no finite float, but a time.
  for (const uint32_t seconds : {1'700'000'001u, 1'700'000'000u, 1'700'000'003u, 0x7fffffffu}) {
    const float seen[] = {8, 8, std::bit_cast<float>(seconds), std::bit_cast<float>(seconds)};
    slots.Observe(row.at(), {0b011011, seen});
  }
  const float low[] = {3};
  slots.Observe(row.at(), {0b100000, low});
  slots.Fade(row.at(), 100, 120);
  EXPECT_EQ(row.Read()[0], 8);
  EXPECT_NEAR(row.Read()[1], 32 / std::sqrt(2), 1e-5);
  EXPECT_EQ(row.Read()[2], 2);
  EXPECT_EQ(time(3), 1'700'000'000u);
  EXPECT_EQ(time(4), 0x7fffffffu);
  EXPECT_EQ(row.Read()[5], 3);
}

// ---- Popularity of a table
// -----------------------------------------------------------------------

TEST(PopularityStatsTest, FollowsEveryRow) {
  struct Row {
    float count = 0;
    uint32_t tick = 0;
  };
  constexpr double kHalfLife = 20;
  PopularityStats stats(kHalfLife);
  std::map<uint64_t, Row> rows;
  std::mt19937_64 random(15);
  for (uint32_t tick = 1; tick < 6000; ++tick) {
    for (int i = 0; i < 10; ++i) {
      const uint64_t key = random() % 300;
      const auto found = rows.find(key);
      if (found == rows.end()) {
        stats.Add(key, 0, tick);
        rows[key] = {0, tick};
      } else if (random() % 50 == 0) {
        stats.Remove(key, found->second.count, found->second.tick);
        rows.erase(found);
      } else {
        const Row before = found->second;
        Row& row = found->second;
        row.count = static_cast<float>(
            row.count * std::exp2((row.tick - double(tick)) / kHalfLife) + random() % 4);
        row.tick = tick;
        stats.Change(key, before.count, before.tick, row.count, row.tick);
      }
    }
    if (tick % 500 != 0) continue;
    const PopularitySummary summary = stats.Summary(tick);
    uint64_t counted = summary.zeros;
    for (const auto& [bucket, n] : summary.buckets) counted += n;
    EXPECT_EQ(counted, rows.size());
    std::vector<double> now;
    for (const auto& [key, row] : rows) {
      now.push_back(row.count * std::exp2((row.tick - double(tick)) / kHalfLife));
    }
    std::ranges::sort(now, std::greater<>());
    // The row in the middle of the histogram has the middle count, within a bucket and a bit.
    uint64_t above = 0;
    for (auto it = summary.buckets.rbegin(); it != summary.buckets.rend(); ++it) {
      above += it->second;
      if (above <= rows.size() / 2) continue;
      const double median = now[rows.size() / 2];
      EXPECT_GE(median * 1.35, std::exp2(it->first / 4.0));
      EXPECT_LE(median / 1.35, std::exp2((it->first + 1) / 4.0));
      break;
    }
    ASSERT_EQ(summary.top.size(), PopularityStats::kTop);
    EXPECT_NEAR(summary.top[0].count, now[0], now[0] * 1e-5);
    for (const KeyCount& top : summary.top) EXPECT_TRUE(rows.contains(top.key));
  }
  stats.Clear();
  EXPECT_THAT(stats.Summary(9).buckets, IsEmpty());
}

}  // namespace
}  // namespace emporium::ps
