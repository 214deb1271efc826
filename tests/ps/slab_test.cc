#include "ps/slab.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <unordered_map>
#include <vector>

namespace emporium::ps {
namespace {

bool AllZero(const std::byte* cell, size_t bytes) {
  return std::all_of(cell, cell + bytes, [](std::byte b) { return b == std::byte{0}; });
}

TEST(SlabsTest, CellsAreZeroAlignedAndStayWhereTheyAre) {
  constexpr uint32_t kBytes = 1000;  // some 8,000 cells a slab: three slabs
  Slabs slabs(kBytes);
  std::vector<std::byte*> addresses;
  for (uint32_t i = 0; i < 20'000; ++i) {
    const Slot slot = slabs.Allocate();
    ASSERT_EQ(slot, i);
    addresses.push_back(slabs.At(slot));
    ASSERT_EQ(reinterpret_cast<uintptr_t>(addresses.back()) % 8, 0u);
    ASSERT_TRUE(AllZero(addresses.back(), kBytes));
    std::memset(addresses.back(), 0xff, kBytes);  // a neighbour would see it
  }
  for (Slot slot = 0; slot < addresses.size(); ++slot) EXPECT_EQ(slabs.At(slot), addresses[slot]);
  EXPECT_EQ(slabs.live(), 20'000u);
  EXPECT_EQ(slabs.bytes(), 20'000u * kBytes);
}

TEST(SlabsTest, FreedCellsAreUsedAgainAndZero) {
  Slabs slabs(64);
  std::unordered_map<Slot, uint8_t> live;  // slot -> what its bytes are filled with
  std::mt19937_64 random(1);
  for (int i = 0; i < 50'000; ++i) {
    if (live.empty() || random() % 5 < 3) {
      const Slot slot = slabs.Allocate();
      ASSERT_TRUE(AllZero(slabs.At(slot), 64));
      const auto fill = static_cast<uint8_t>(1 + random() % 255);
      std::memset(slabs.At(slot), fill, 64);
      ASSERT_TRUE(live.emplace(slot, fill).second) << "handed out twice";
    } else {
      const auto victim = live.begin();
      ASSERT_EQ(slabs.At(victim->first)[63], std::byte{victim->second});
      slabs.Free(victim->first);
      live.erase(victim);
    }
    ASSERT_EQ(slabs.live(), live.size());
  }
  EXPECT_LT(slabs.bytes(), 64u * 25'000);
}

TEST(SlabsTest, ClearStartsAgain) {
  Slabs slabs(48 << 10);  // wide rows: several slabs soon
  for (int i = 0; i < 300; ++i) std::memset(slabs.At(slabs.Allocate()), 1, 48 << 10);
  slabs.Clear();
  EXPECT_EQ(slabs.live(), 0u);
  EXPECT_EQ(slabs.bytes(), 0u);
  EXPECT_EQ(slabs.Allocate(), 0u);
  EXPECT_TRUE(AllZero(slabs.At(0), 48 << 10));
}

TEST(SlabsDeathTest, OnlyWhatWasHandedOutCanBeFreed) {
  Slabs slabs(8);
  EXPECT_DEATH(slabs.Free(0), "handed out");
}

}  // namespace
}  // namespace emporium::ps
