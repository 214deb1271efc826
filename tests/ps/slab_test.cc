#include "ps/slab.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <unordered_map>
#include <vector>

#include "ps/row_pass.h"

namespace emporium::ps {
namespace {

RowLayout Layout(uint32_t dim, uint32_t state) {
  RowLayout layout;
  layout.dim = dim;
  layout.state = state;
  return layout;
}

void FillRow(Slabs& slabs, Slot slot, uint8_t value) {
  const RowRef row = slabs.At(slot);
  std::memset(row.weights, value, slabs.shape().stride());
  std::memset(row.tail, value + 1, slabs.shape().tail_bytes());
}

bool HasFill(const Slabs& slabs, Slot slot, uint8_t value) {
  const auto row = slabs.At(slot);
  const auto all = [](const std::byte* from, size_t bytes, uint8_t byte) {
    return std::all_of(from, from + bytes, [byte](std::byte b) { return b == std::byte{byte}; });
  };
  return all(row.weights, slabs.shape().stride(), value) &&
         all(row.tail, slabs.shape().tail_bytes(), static_cast<uint8_t>(value + 1));
}

TEST(RowShapeTest, RowsArePackedUnlessTheyFillLines) {
  EXPECT_EQ(RowShape(Layout(8, 1)).stride(), 32u);
  EXPECT_EQ(RowShape(Layout(5, 0)).stride(), 20u);
  EXPECT_EQ(RowShape(Layout(16, 1)).stride(), 64u);
  EXPECT_EQ(RowShape(Layout(16, 1)).tail_bytes(), 4u);
  EXPECT_EQ(RowShape(Layout(4096, 0)).tail_bytes(), 0u);
  EXPECT_EQ(RowShape(Layout(1024, 1)).tail_bytes(), 64u);
  RowLayout layout = Layout(16, 1);
  layout.last_step = true;
  layout.popularity_bytes = 1;
  const RowShape packed(layout);
  EXPECT_EQ(packed.tail_bytes(), 9u);
  EXPECT_FALSE(packed.state_in_place());
  layout.state = 16;
  EXPECT_EQ(RowShape(layout).tail_bytes(), 72u);
  EXPECT_TRUE(RowShape(layout).state_in_place());
  layout.element = spec::FP16;
  layout.dim = 3;
  EXPECT_EQ(RowShape(layout).stride(), 8u);
}

// Grows, shrinks and compacts bins of every size; every byte of every row is watched.
TEST(SlabsTest, RowsKeepTheirBytes) {
  for (const uint32_t dim : {1u, 8u, 16u, 64u, 100u, 1024u, 4096u}) {
    Slabs slabs(Layout(dim, dim == 16 ? 1 : 3), 4, 30);
    std::map<uint32_t, std::unordered_map<Slot, uint8_t>> live;  // by bin
    std::mt19937_64 random(dim);
    const int operations = dim > 500 ? 1'500 : 12'000;
    for (int i = 0; i < operations; ++i) {
      const auto bin = static_cast<uint32_t>(random() % 4);
      auto& rows = live[bin];
      const bool growing = i / (operations / 6) % 2 == 0;
      if (rows.empty() || random() % 10 < (growing ? 8 : 1)) {
        const Slot slot = slabs.Allocate(bin);
        ASSERT_EQ(slot >> 30, bin);
        const auto fill = static_cast<uint8_t>(random() % 250);
        if (dim % 16 == 0) {
          ASSERT_EQ(reinterpret_cast<uintptr_t>(slabs.At(slot).weights) % 64, 0u);
        }
        FillRow(slabs, slot, fill);
        ASSERT_TRUE(rows.emplace(slot, fill).second) << "handed out twice";
      } else {
        const auto victim = rows.begin();
        ASSERT_TRUE(HasFill(slabs, victim->first, victim->second));
        slabs.Free(victim->first);
        rows.erase(victim);
      }
      if (i % 1'000 != 999) continue;
      std::vector<Slot> slots;
      std::vector<uint8_t> fills;
      for (const auto& [slot, fill] : rows) {
        ASSERT_TRUE(HasFill(slabs, slot, fill));
        slots.push_back(slot);
        fills.push_back(fill);
      }
      slabs.Compact(bin, slots);
      rows.clear();
      for (size_t r = 0; r < slots.size(); ++r) {
        ASSERT_EQ(slots[r], (bin << 30) | r);
        ASSERT_TRUE(HasFill(slabs, slots[r], fills[r]));
        rows[slots[r]] = fills[r];
      }
    }
    uint64_t count = 0;
    for (const auto& [bin, rows] : live) {
      count += rows.size();
      for (const auto& [slot, fill] : rows) ASSERT_TRUE(HasFill(slabs, slot, fill));
    }
    EXPECT_EQ(slabs.live(), count);
  }
}

TEST(SlabsTest, AFewRowsAreSmallAndManyWasteLittle) {
  Slabs slabs(Layout(16, 1), 1024, 22);
  const uint64_t empty = slabs.bytes();
  for (uint32_t i = 0; i < 10; ++i) slabs.Allocate(i);
  EXPECT_LT(slabs.bytes() - empty, 20'000u);
  EXPECT_LT(slabs.resident(), 200'000u);
  for (uint32_t i = 10; i < 2'000'000; ++i) slabs.Allocate(i % 1024);
  EXPECT_LT(slabs.bytes(), uint64_t{2'000'000} * 68 * 115 / 100);
}

TEST(SlabsTest, EmptyChunksGoBackToTheKernel) {
  Slabs slabs(Layout(64, 1), 2, 31);
  std::vector<Slot> slots;
  for (int i = 0; i < 200'000; ++i) slots.push_back(slabs.Allocate(0));
  for (Slot slot : slots) FillRow(slabs, slot, 1);
  const uint64_t full = slabs.resident();
  EXPECT_GE(full, 200'000u * 260);
  // Number 0 stays, so no chunk goes by the end of the bin being cut off alone.
  for (size_t i = 1; i < slots.size(); ++i) slabs.Free(slots[i]);
  EXPECT_LT(slabs.resident(), full / 8);
  EXPECT_TRUE(HasFill(slabs, slots[0], 1));
  for (int i = 1; i < 200'000; ++i) FillRow(slabs, slabs.Allocate(0), 2);
  EXPECT_TRUE(HasFill(slabs, slots[0], 1));
  EXPECT_LE(slabs.resident(), full * 11 / 10);
  slabs.Clear();
  EXPECT_EQ(slabs.live(), 0u);
  EXPECT_EQ(slabs.Allocate(0), 0u);
}

TEST(SlabsTest, WeightsAreCopiedForEveryWidth) {
  for (const uint32_t dim : {1u, 3u, 8u, 16u, 32u, 33u, 64u, 130u}) {
    Slabs slabs(Layout(dim, 0), 8, 29);
    std::vector<Slot> slots;
    for (uint32_t i = 0; i < 300; ++i) {
      slots.push_back(i % 7 == 3 ? kNoSlot : slabs.Allocate(i % 8));
      if (slots.back() != kNoSlot) FillRow(slabs, slots.back(), static_cast<uint8_t>(i % 200));
    }
    const size_t bytes = slabs.shape().weight_bytes();
    std::vector<std::byte> out(slots.size() * bytes, std::byte{255});
    CopyWeights(slabs, slots, out.data());
    for (size_t i = 0; i < out.size(); ++i) {
      const size_t row = i / bytes;
      ASSERT_EQ(out[i], std::byte(slots[row] == kNoSlot ? 255 : row % 200));
    }
  }
}

TEST(SlabsDeathTest, OnlyWhatWasHandedOutCanBeFreed) {
  Slabs slabs(Layout(8, 0), 2, 31);
  EXPECT_DEATH(slabs.Free(0), "handed out");
}

TEST(ArenaTest, BlocksDoNotOverlapAndHolesMerge) {
  Arena arena;
  std::map<std::byte*, size_t> blocks;
  std::mt19937_64 random(4);
  size_t most = 0;
  for (int i = 0; i < 20'000; ++i) {
    most = std::max(most, arena.used());
    if (blocks.empty() || random() % 8 < (i < 10'000 ? 5 : 3)) {
      const size_t bytes = 1 + random() % (random() % 20 == 0 ? 3'000'000 : 20'000);
      std::byte* const block = arena.Allocate(bytes);
      ASSERT_EQ(reinterpret_cast<uintptr_t>(block) % 64, 0u);
      const Arena::Line line = arena.LineOf(block);
      ASSERT_NE(line, Arena::kNoLine);
      ASSERT_EQ(arena.lines()[line], block);
      const auto [at, inserted] = blocks.emplace(block, bytes);
      ASSERT_TRUE(inserted);
      if (at != blocks.begin()) {
        ASSERT_LE(std::prev(at)->first + std::prev(at)->second, block);
      }
      if (std::next(at) != blocks.end()) {
        ASSERT_LE(block + bytes, std::next(at)->first);
      }
    } else {
      auto at = blocks.begin();
      std::advance(at, random() % std::min<size_t>(blocks.size(), 50));
      arena.Free(at->first, at->second);
      blocks.erase(at);
    }
    ASSERT_GE(arena.resident(), arena.used());
  }
  for (const auto& [block, bytes] : blocks) arena.Free(block, bytes);
  EXPECT_EQ(arena.used(), 0u);
  // What was free and kept while more was in use stays until its place is used again.
  EXPECT_LE(arena.resident(), most / 16 + 3 * Arena::kHugePage);
}

}  // namespace
}  // namespace emporium::ps
