#include "ps/index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <unordered_map>
#include <vector>

#include "proto/mix.h"
#include "proto/simd.h"
#include "runtime/route.h"
#include "tests/ps/table_parts.h"

namespace emporium::ps {
namespace {

std::vector<IndexFind*> Finders() {
  std::vector<IndexFind*> finders = {IndexFindPlain, IndexFindSse2};
  if (HasSimd(SimdLevel::kAvx2)) finders.push_back(IndexFindAvx2);
  if (HasSimd(SimdLevel::kAvx512)) finders.push_back(IndexFindAvx512);
  return finders;
}

// An index with the slots that a table would give.
struct Fixture {
  Fixture(uint32_t partitions, const std::vector<PartitionId>& owned, uint64_t seed)
      : index(partitions, owned, seed, BestIndexFind()), next(index.bins()), free(index.bins()) {}

  Slot Add(uint64_t key) {
    const uint32_t bin = index.Bin(key);
    uint32_t number = next[bin];
    if (free[bin].empty()) {
      ++next[bin];
    } else {
      number = free[bin].back();
      free[bin].pop_back();
    }
    const Slot slot = (bin << index.number_bits()) | number;
    index.Insert(key, slot);
    return slot;
  }
  Slot Remove(uint64_t key) {
    const Slot slot = index.Erase(key);
    if (slot != kNoSlot) {
      free[slot >> index.number_bits()].push_back(slot & ((1u << index.number_bits()) - 1));
    }
    return slot;
  }
  uint64_t Entries() const {
    uint64_t entries = 0;
    for (uint32_t bin = 0; bin < index.bins(); ++bin) entries += index.List(bin).size();
    return entries;
  }

  Index index;
  std::vector<uint32_t> next;
  std::vector<std::vector<uint32_t>> free;
};

TEST(IndexTest, AnEmptyIndexFindsNothing) {
  for (uint32_t partitions : {1u, 2u, 1024u, 65536u}) {
    const Fixture f(partitions, Range(0, partitions), 3);
    EXPECT_EQ(f.index.Find(0), kNoSlot);
    EXPECT_EQ(f.index.Find(~0ull), kNoSlot);
    EXPECT_EQ(f.index.size(), 0u);
    EXPECT_EQ(f.Entries(), 0u);
    f.index.Find({}, {});
  }
}

TEST(IndexTest, TheFirstAndTheLastKeyAreOrdinary) {
  Fixture f(4, Range(0, 4), 1);
  const Slot zero = f.Add(0);
  EXPECT_EQ(f.index.Find(~0ull), kNoSlot);
  const Slot last = f.Add(~0ull);
  EXPECT_EQ(f.index.Find(0), zero);
  EXPECT_EQ(f.index.Find(~0ull), last);
  EXPECT_EQ(f.Remove(0), zero);
  EXPECT_EQ(f.Remove(0), kNoSlot);
  EXPECT_EQ(f.index.Find(0), kNoSlot);
  EXPECT_EQ(f.index.Find(~0ull), last);
}

// The key that this mixed value is of, for the seed below.
constexpr uint64_t kSeed = 99;
uint64_t KeyOf(uint64_t mixed) {
  const auto inverse = [](uint64_t odd) {
    uint64_t x = odd;
    for (int i = 0; i < 5; ++i) x *= 2 - odd * x;
    return x;
  };
  constexpr uint64_t kLow = (uint64_t{1} << 54) - 1;
  uint64_t h = (mixed & ~kLow) | ((mixed * inverse(MixBits(kSeed) | 1)) & kLow);
  h ^= h >> 31 ^ h >> 62;
  h *= inverse(0x94d049bb133111ebu);
  h ^= h >> 27 ^ h >> 54;
  h *= inverse(0xbf58476d1ce4e5b9u);
  return h ^ h >> 30 ^ h >> 60;
}

// Keys whose kept bits are all ones look like free lanes but for their number.
TEST(IndexTest, AKeyThatLooksLikeAFreeLaneIsOrdinary) {
  Fixture f(1024, Range(0, 1024), kSeed);
  std::vector<uint64_t> keys;
  for (uint64_t i = 0; i < 6; ++i) keys.push_back(KeyOf(~uint64_t{0} - (i << 60)));
  EXPECT_EQ(f.index.Find(keys[0]), kNoSlot);
  std::vector<Slot> slots(keys.size());
  for (IndexFind* find : Finders()) {
    Index index(1024, Range(0, 1024), kSeed, find);
    index.Find(keys, slots);
    EXPECT_EQ(std::count(slots.begin(), slots.end(), kNoSlot), 6);
    // A neighbour before it, which then leaves a free lane before it.
    const uint64_t neighbour = KeyOf(~uint64_t{0} - 1);
    const Slot base = index.Bin(keys[0]) << index.number_bits();
    index.Insert(neighbour, base);
    index.Insert(keys[0], base + 1);
    EXPECT_EQ(index.Erase(neighbour), base);
    index.Find(keys, slots);
    EXPECT_EQ(slots[0], base + 1);
    EXPECT_EQ(index.Find(keys[0]), base + 1);
    EXPECT_EQ(index.List(index.Bin(keys[0])).at(0).key, keys[0]);
  }
}

// Keys that share their home whatever the size, up to the reach of an entry and over it.
TEST(IndexTest, KeysWithOneHomeSpillAndCanBeErasedInAnyOrder) {
  std::mt19937_64 random(7);
  for (uint64_t count : {8u, 9u, 60u, 100u}) {
    Fixture f(1024, Range(0, 1024), kSeed);
    std::vector<uint64_t> keys;
    for (uint64_t i = 0; i < count; ++i) keys.push_back(KeyOf((5ull << 54) | (77ull << 22) | i));
    for (uint64_t key : keys) f.Add(key);
    EXPECT_EQ(f.index.List(5).size(), count);
    std::shuffle(keys.begin(), keys.end(), random);
    while (!keys.empty()) {
      std::vector<Slot> slots(keys.size());
      f.index.Find(keys, slots);
      ASSERT_EQ(std::count(slots.begin(), slots.end(), kNoSlot), 0);
      ASSERT_NE(f.Remove(keys.back()), kNoSlot);
      ASSERT_EQ(f.index.Find(keys.back()), kNoSlot);
      keys.pop_back();
    }
    EXPECT_EQ(f.Entries(), 0u);
  }
}

void RandomAgainstModel(uint32_t partitions, uint32_t owned_end, uint64_t key_range, int operations,
                        uint64_t seed) {
  Fixture f(partitions, Range(0, owned_end), seed);
  std::unordered_map<uint64_t, Slot> model;
  std::mt19937_64 random(seed);
  const auto any_key = [&] { return random() % key_range * 0x9e3779b97f4a7c15u - 1; };
  const std::vector<IndexFind*> finders = Finders();
  for (int i = 0; i < operations; ++i) {
    const uint64_t key = any_key();
    const bool growing = i / (operations / 4) % 2 == 0;  // grows and shrinks in turns
    switch (random() % 4) {
      case 0:
      case 1:
        if (!f.index.Owns(key)) break;
        if ((growing ? 0 : 1) == random() % 3) {
          const auto at = model.find(key);
          ASSERT_EQ(f.Remove(key), at == model.end() ? kNoSlot : at->second);
          if (at != model.end()) model.erase(at);
        } else if (!model.contains(key)) {
          model[key] = f.Add(key);
        }
        break;
      default: {
        std::vector<uint64_t> keys(random() % 600);
        for (uint64_t& k : keys) k = any_key();
        std::vector<Slot> slots(keys.size());
        finders[random() % finders.size()](f.index.view(), keys.data(), keys.size(), slots.data());
        for (size_t k = 0; k < keys.size(); ++k) {
          const auto at = model.find(keys[k]);
          ASSERT_EQ(slots[k], at == model.end() ? kNoSlot : at->second);
        }
      }
    }
    ASSERT_EQ(f.index.size(), model.size());
  }
  size_t listed = 0;
  for (PartitionId partition : Range(0, partitions)) {
    const Index::Bins bins = f.index.BinsOf(partition);
    EXPECT_EQ(bins.begin == bins.end, partition.value() >= owned_end);
    for (uint32_t bin = bins.begin; bin < bins.end; ++bin) {
      for (const Index::Entry& entry : f.index.List(bin)) {
        EXPECT_EQ(runtime::PartitionOf(entry.key, partitions), partition);
        ASSERT_EQ(model.at(entry.key), entry.slot);
        ++listed;
      }
    }
  }
  EXPECT_EQ(listed, model.size());
  f.index.Clear();
  EXPECT_EQ(f.index.size(), 0u);
  for (const auto& [key, slot] : model) ASSERT_EQ(f.index.Find(key), kNoSlot);
}

TEST(IndexTest, RandomOperationsAgainstAModel) {
  RandomAgainstModel(1, 1, 30'000, 20'000, 1);
  RandomAgainstModel(2, 1, 100, 2'000, 2);
  RandomAgainstModel(64, 48, 1'000'000, 20'000, 3);
  RandomAgainstModel(1024, 1024, 5'000, 10'000, 4);
  RandomAgainstModel(65536, 60'000, 5'000, 5'000, 5);
}

// One bin with many entries, where all but the lowest bits of a place come from the position.
TEST(IndexTest, ManyKeysOfOnePartitionGrowItAlone) {
  Fixture f(1024, Range(0, 1024), 8);
  std::unordered_map<uint64_t, Slot> model;
  const uint64_t empty = f.index.bytes();
  for (uint64_t i = 0; i < 100'000; ++i) {
    const uint64_t key = KeyOf((7ull << 54) | (MixBits(i) >> 10));
    if (!model.contains(key)) model[key] = f.Add(key);
  }
  EXPECT_LT(f.index.bytes() - empty, model.size() * 8 * 2);  // load above one half
  std::mt19937_64 random(1);
  for (auto at = model.begin(); at != model.end();) {
    if (random() % 3 == 0) {
      ASSERT_EQ(f.Remove(at->first), at->second);
      at = model.erase(at);
    } else {
      ++at;
    }
  }
  std::vector<Index::Entry> entries = f.index.List(7);
  ASSERT_EQ(entries.size(), model.size());
  for (const Index::Entry& entry : entries) ASSERT_EQ(model.at(entry.key), entry.slot);
  std::shuffle(entries.begin(), entries.end(), random);  // they are listed in the order of homes
  for (uint32_t i = 0; i < 1000; ++i) entries[i].slot = (7u << f.index.number_bits()) | i;
  f.index.Rebuild(7, std::span(entries).first(1000));
  EXPECT_EQ(f.index.size(), 1000u);
  EXPECT_LT(f.index.bytes() - empty, 1000u * 20);
  for (size_t i = 0; i < 1000; ++i) ASSERT_EQ(f.index.Find(entries[i].key), entries[i].slot);
}

}  // namespace
}  // namespace emporium::ps
