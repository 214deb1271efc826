// What every table does, run on the fast one and on its plain twin.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "tests/ps/table_parts.h"
#include "tests/random/plain_table.h"
#include "tests/random/table_twins.h"

namespace emporium::ps {
namespace {

template <class T>
class AnyTableTest : public ::testing::Test {};
using Tables = ::testing::Types<Table, PlainTable>;
TYPED_TEST_SUITE(AnyTableTest, Tables);

TYPED_TEST(AnyTableTest, DuplicatesInABatchMakeOneRow) {
  TypeParam table(Settings("adagrad {}", 3), kPartitions, Range(0, kPartitions));
  const std::vector<uint64_t> keys = {0, ~0ull, 0, 7, ~0ull, 7, 7};
  std::vector<Slot> slots(keys.size());
  std::vector<Slot> again(keys.size());
  table.FindOrCreate(keys, slots);
  table.Find(keys, again);
  EXPECT_EQ(table.rows(), 3u);
  EXPECT_EQ(slots, again);
  for (size_t i = 0; i < keys.size(); ++i) {
    for (size_t j = 0; j < i; ++j) EXPECT_EQ(slots[i] == slots[j], keys[i] == keys[j]);
  }
}

TYPED_TEST(AnyTableTest, ReadingMakesNoRowAndGivesWhatARowStartsFrom) {
  TypeParam table(Settings("ftrl {}", 3), kPartitions, Range(0, kPartitions));
  const std::vector<uint64_t> keys = {4, ~0ull};
  std::vector<Slot> slots(2);
  std::vector<float> before(6);
  std::vector<float> after(6);
  std::vector<float> counts(2, 1.0f);
  table.Find(keys, slots);
  EXPECT_EQ(slots, std::vector<Slot>(2, kNoSlot));
  table.Read(keys, slots, 3, before, counts);
  EXPECT_EQ(counts, std::vector<float>(2));
  EXPECT_EQ(table.rows(), 0u);
  table.FindOrCreate(keys, slots);
  table.Read(keys, slots, 3, after, {});
  EXPECT_EQ(before, after);
}

TYPED_TEST(AnyTableTest, ErasedKeysStartAgain) {
  TypeParam table(Settings("momentum {}", 2), kPartitions, Range(0, kPartitions));
  const std::vector<uint64_t> keys = {1, 2, 3};
  std::vector<Slot> slots(3);
  std::vector<float> initial(6);
  std::vector<float> weights(6);
  std::vector<float> counts(3, 2.0f);
  table.FindOrCreate(keys, slots);
  table.Read(keys, slots, 1, initial, {});
  const std::vector<float> gradients(6, 1.0f);
  table.Apply({.keys = keys,
               .slots = slots,
               .gradients = gradients,
               .counts = counts,
               .step = 1,
               .learning_rate_factor = 1,
               .kept_rows = {},
               .kept_popularity = {}});
  const std::vector<uint64_t> gone = {2, 9, 2};
  EXPECT_EQ(table.Erase(gone), 1u);
  EXPECT_EQ(table.rows(), 2u);
  table.Find(keys, slots);
  EXPECT_EQ(slots[1], kNoSlot);
  table.FindOrCreate(keys, slots);
  table.Read(keys, slots, 1, weights, counts);
  EXPECT_EQ(counts, (std::vector<float>{2, 0, 2}));
  EXPECT_TRUE(std::equal(&weights[2], &weights[4], &initial[2]));
  EXPECT_NE(weights[0], initial[0]);
  table.Clear();
  EXPECT_EQ(table.rows(), 0u);
}

TYPED_TEST(AnyTableTest, WhatIsKeptIsWhatWasThere) {
  TypeParam table(Settings("adam {}", 4), kPartitions, Range(0, kPartitions));
  const std::vector<uint64_t> keys = {11, 12};
  std::vector<Slot> slots(2);
  table.FindOrCreate(keys, slots);
  const std::vector<float> gradients = {1, -1, 2, -2, 3, -3, 4, -4};
  const std::vector<float> added = {1, 0};
  std::vector<float> before(8);
  std::vector<float> kept(8);
  std::vector<float> counts(2);
  std::vector<float> kept_counts(2);
  for (uint32_t step = 1; step < 5; ++step) {
    table.Read(keys, slots, step - 1, before, counts);
    table.Apply({.keys = keys,
                 .slots = slots,
                 .gradients = gradients,
                 .counts = added,
                 .step = step,
                 .learning_rate_factor = 1,
                 .kept_rows = std::as_writable_bytes(std::span(kept)),
                 .kept_popularity = kept_counts});
    EXPECT_EQ(kept, before);
    EXPECT_EQ(kept_counts, counts);
  }
}

// One step, a function of its number: some old rows, some new ones. What the rows were before.
template <class AnyTable>
std::vector<std::byte> Train(AnyTable& table, const TableSettings& settings, uint32_t step) {
  std::mt19937_64 random(step);
  std::vector<uint64_t> keys;
  for (uint64_t key = 0; key < 60; ++key) {
    if (random() % 2 == 0) keys.push_back(key % 2 == 0 ? key : ~key);
  }
  std::shuffle(keys.begin(), keys.end(), random);
  std::vector<Slot> slots(keys.size());
  table.FindOrCreate(keys, slots);
  const std::vector<float> gradients = RandomFloats(keys.size() * settings.dim, random);
  std::vector<float> counts(keys.size());
  for (float& count : counts) count = static_cast<float>(random() % 3);
  std::vector<std::byte> kept(keys.size() * WeightBytes(settings.element_type, settings.dim));
  if (settings.half_life_seconds > 0) table.SetTime(step, 1000 + 100 * step);
  table.Apply({.keys = keys,
               .slots = slots,
               .gradients = gradients,
               .counts = counts,
               .step = step,
               .learning_rate_factor = 0.5f,
               .kept_rows = kept,
               .kept_popularity = {}});
  if (settings.slots.empty()) return kept;
  table.Observe(keys, slots, RandomObservations(settings, keys.size(), random).rows);
  return kept;
}

// Every optimizer, element type, width of popularity and kind of slots: all that a row's layout
// depends on.
TYPED_TEST(AnyTableTest, ARestoredTableTakesTheNextStepWithTheSameBits) {
  const char* const optimizers[] = {"sgd { l2: 0.01 } clip_norm: 1",
                                    "momentum {}",
                                    "adagrad {}",
                                    "rowwise_adagrad {}",
                                    "adam {}",
                                    "adam { l2: 0.1 decay_untouched: true }",
                                    "adamw {}",
                                    "ftrl { l1: 0.01 }"};
  uint32_t layouts = 0;
  for (const char* optimizer : optimizers) {
    for (const auto element : {spec::FP32, spec::FP16, spec::BF16, spec::INT8}) {
      for (uint32_t bytes = 0; bytes <= 4; ++bytes) {
        for (const Extras extras : {Extras::kNone, Extras::kSlots, Extras::kSlotsByEventTime}) {
          TableSettings settings = Settings(optimizer, ++layouts % 2 == 0 ? 16 : 5);
          settings.element_type = element;
          Keep(bytes, extras, &settings);
          TypeParam table(settings, kPartitions, Range(0, kPartitions));
          for (uint32_t step = 1; step < 5; ++step) Train(table, settings, step);
          TypeParam restored(settings, kPartitions, Range(0, kPartitions));
          for (const PartitionId partition : Range(0, kPartitions)) {
            table.ForEachRow(partition, [&](const RowView& row) {
              ASSERT_EQ(restored.Restore(row).ToString(), "ok");
            });
          }
          const std::vector<std::string> before = TextOf(table);
          ASSERT_EQ(TextOf(restored), before);
          const std::string what = std::string(optimizer) + ", " + spec::ElementType_Name(element) +
                                   ", " + std::to_string(bytes) + " bytes, extras " +
                                   std::to_string(static_cast<int>(extras));
          ASSERT_EQ(Train(restored, settings, 5), Train(table, settings, 5)) << what;
          ASSERT_EQ(TextOf(restored), TextOf(table)) << what;
          ASSERT_NE(TextOf(table), before) << what;
        }
      }
    }
  }
  EXPECT_EQ(layouts, 8u * 4 * 5 * 3);
}

}  // namespace
}  // namespace emporium::ps
