#include "ps/index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <unordered_map>
#include <vector>

#include "runtime/route.h"

namespace emporium::ps {
namespace {

Slot FindOne(const Index& index, uint64_t key) {
  Slot slot = 0;
  index.Find({&key, 1}, {&slot, 1});
  return slot;
}

TEST(IndexTest, AnEmptyIndexFindsNothing) {
  for (uint32_t partitions : {1u, 2u, 1024u, 65536u}) {
    const Index index(partitions);
    EXPECT_EQ(FindOne(index, 0), kNoSlot);
    EXPECT_EQ(FindOne(index, ~0ull), kNoSlot);
    EXPECT_EQ(index.size(), 0u);
    EXPECT_TRUE(index.List(PartitionId(0)).empty());
    index.Find({}, {});
  }
}

TEST(IndexTest, TheFirstAndTheLastKeyAreOrdinary) {
  Index index(4);
  EXPECT_EQ(index.FindOrInsert(0, 10), 10u);
  EXPECT_EQ(FindOne(index, ~0ull), kNoSlot);
  EXPECT_EQ(index.FindOrInsert(~0ull, 11), 11u);
  EXPECT_EQ(index.FindOrInsert(0, 12), 10u);
  EXPECT_EQ(FindOne(index, 0), 10u);
  EXPECT_EQ(FindOne(index, ~0ull), 11u);
  EXPECT_EQ(index.size(), 2u);
}

// Keys that share all hash bits which choose a bucket: one long run of spilled buckets.
TEST(IndexTest, SpilledBucketsWrapAround) {
  // Walks the inverse of MixKey to keys whose hashes are all ones in the upper 32 bits.
  const auto unmix = [](uint64_t h) {
    h ^= h >> 31 ^ h >> 62;
    h *= 0x319642b2d24d8ec3u;
    h ^= h >> 27 ^ h >> 54;
    h *= 0x96de1b173f119089u;
    h ^= h >> 30 ^ h >> 60;
    return h;
  };
  Index index(1);
  std::vector<uint64_t> keys;
  for (uint64_t i = 0; i < 500; ++i) {
    keys.push_back(unmix(0xffffffff00000000u | i));
    ASSERT_EQ(runtime::MixKey(keys.back()), 0xffffffff00000000u | i);
    index.FindOrInsert(keys.back(), static_cast<Slot>(i));
  }
  std::vector<Slot> slots(keys.size());
  index.Find(keys, slots);
  for (Slot i = 0; i < slots.size(); ++i) EXPECT_EQ(slots[i], i);
  EXPECT_EQ(FindOne(index, unmix(0xffffffff00000000u | 500)), kNoSlot);
}

void RandomAgainstModel(uint32_t partitions, uint64_t key_range, int operations, uint64_t seed) {
  Index index(partitions);
  std::unordered_map<uint64_t, Slot> model;
  std::mt19937_64 random(seed);
  const auto any_key = [&] { return random() % key_range * 0x9e3779b97f4a7c15u - 1; };
  Slot next = 0;
  for (int i = 0; i < operations; ++i) {
    if (random() % 2 == 0) {
      const uint64_t key = any_key();
      const Slot got = index.FindOrInsert(key, next);
      const auto [at, inserted] = model.emplace(key, next);
      ASSERT_EQ(got, at->second);
      if (inserted) ++next;
    } else {
      std::vector<uint64_t> keys(random() % 200);
      for (uint64_t& key : keys) key = any_key();
      std::vector<Slot> slots(keys.size());
      index.Find(keys, slots);
      for (size_t k = 0; k < keys.size(); ++k) {
        const auto at = model.find(keys[k]);
        ASSERT_EQ(slots[k], at == model.end() ? kNoSlot : at->second);
      }
    }
    ASSERT_EQ(index.size(), model.size());
  }
  size_t listed = 0;
  for (uint32_t p = 0; p < partitions; ++p) {
    for (const Index::Entry& entry : index.List(PartitionId(static_cast<uint16_t>(p)))) {
      EXPECT_EQ(runtime::PartitionOf(entry.key, partitions).value(), p);
      ASSERT_EQ(model.at(entry.key), entry.slot);
      ++listed;
    }
  }
  EXPECT_EQ(listed, model.size());
  // Load between 53 and 80 %: at most 24 bytes an entry, once partitions are not tiny.
  if (model.size() / partitions > 50) {
    EXPECT_LT(index.bytes(), model.size() * 25 + partitions * 100);
  }
  index.Clear();
  EXPECT_EQ(index.size(), 0u);
  for (const auto& [key, slot] : model) ASSERT_EQ(FindOne(index, key), kNoSlot);
}

TEST(IndexTest, RandomOperationsAgainstAModel) {
  RandomAgainstModel(1, 30'000, 20'000, 1);
  RandomAgainstModel(2, 100, 2'000, 2);
  RandomAgainstModel(64, 1'000'000, 20'000, 3);
  RandomAgainstModel(1024, 5'000, 10'000, 4);
  RandomAgainstModel(65536, 5'000, 5'000, 5);
}

TEST(IndexTest, PartitionsGrowAlone) {
  Index index(1024);
  const uint64_t empty = index.bytes();
  uint64_t key = 0;
  for (Slot slot = 0; slot < 1000; ++key) {
    if (runtime::PartitionOf(key, 1024).value() == 7) index.FindOrInsert(key, slot++);
  }
  EXPECT_EQ(index.List(PartitionId(7)).size(), 1000u);
  EXPECT_LT(index.bytes() - empty, 1000u * 25);  // the other 1023 still own no bucket
}

}  // namespace
}  // namespace emporium::ps
