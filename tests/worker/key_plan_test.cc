#include "worker/key_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "worker/key_hash.h"

namespace emporium::worker {
namespace {

using ::testing::ElementsAre;

const std::vector<bool> kNone = {false, false, false, false};

TEST(InternerTest, NumbersLikeAMap) {
  std::mt19937_64 random(1);
  for (const uint64_t range : {uint64_t{3}, uint64_t{5'000}, UINT64_MAX}) {
    Interner interner;
    std::map<uint64_t, int32_t> model;
    std::vector<uint64_t> values(20'000);
    for (uint64_t& value : values) {
      value = range == UINT64_MAX ? random() : random() % range;
    }
    std::vector<int32_t> indices(values.size());
    interner.IndexAll(values, indices.data());
    for (size_t i = 0; i < values.size(); ++i) {
      const auto it = model.emplace(values[i], static_cast<int32_t>(model.size())).first;
      ASSERT_EQ(indices[i], it->second);
      ASSERT_EQ(interner.Index(values[i]), it->second);
    }
    EXPECT_EQ(interner.size(), model.size());
    for (uint64_t probe = 0; probe < 6'000; ++probe) {
      const auto it = model.find(probe);
      ASSERT_EQ(interner.Find(probe), it == model.end() ? -1 : it->second);
    }
  }
}

TEST(KeyPlanTest, KeysAreUniqueInOrderOfAppearance) {
  KeyPlan plan(kNone);
  const std::vector<uint64_t> first = {7, 8, 7};
  const std::vector<uint64_t> second = {9, 8};
  const auto a = plan.Single(TableId(2), first);
  const auto b = plan.Lists(TableId(2), second, {0, 0, 2});
  const auto c = plan.Single(TableId(0), second);
  EXPECT_THAT(a.index, ElementsAre(0, 1, 0));
  EXPECT_THAT(a.offset, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(b.index, ElementsAre(2, 1));
  EXPECT_THAT(c.index, ElementsAre(0, 1));
  const auto tables = std::move(plan).Finish({false, false, true, false});
  ASSERT_EQ(tables.size(), 2u);
  EXPECT_EQ(tables[0].table, TableId(0));
  EXPECT_THAT(tables[0].keys, ElementsAre(9, 8));
  EXPECT_THAT(tables[1].keys, ElementsAre(7, 8, 9));
  EXPECT_TRUE(tables[1].want_popularity);
  EXPECT_TRUE(tables[1].counts.empty());
}

// A mirrored table names the same keys as its source, whatever happens in between.
TEST(KeyPlanTest, MirrorsNameTheSameKeys) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 50; ++round) {
    KeyPlan plan(kNone);
    std::vector<std::pair<models::RowLists, std::vector<uint64_t>>> all;
    for (int i = 0; i < 12; ++i) {
      std::vector<uint64_t> keys(1 + random() % 5);
      for (uint64_t& key : keys) {
        key = random() % 12;
      }
      const auto lists = plan.Single(TableId(static_cast<uint16_t>(random() % 3)), keys);
      all.emplace_back(lists, keys);
      if (random() % 2 == 0) {
        all.emplace_back(plan.Mirror(TableId(3), lists), keys);
      }
      if (random() % 8 == 0) {
        all.emplace_back(plan.Single(TableId(3), keys), keys);
      }
    }
    std::map<uint16_t, std::vector<uint64_t>> keys_of;
    for (const TableKeys& table : std::move(plan).Finish(kNone)) {
      keys_of[table.table.value()] = table.keys;
      auto sorted = table.keys;
      std::sort(sorted.begin(), sorted.end());
      EXPECT_TRUE(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end());
    }
    for (const auto& [lists, keys] : all) {
      for (size_t i = 0; i < keys.size(); ++i) {
        ASSERT_EQ(keys_of[lists.table.value()].at(static_cast<size_t>(lists.index[i])), keys[i]);
      }
    }
  }
}

TEST(KeyPlanTest, CountsPositiveSightingsOfTablesThatKeepThem) {
  const std::vector<bool> keeps = {true, false, true};
  KeyPlan plan(keeps);
  const std::vector<uint64_t> keys = {5, 6, 5};
  const auto seen = plan.Single(TableId(0), keys);
  plan.Single(TableId(0), std::vector<uint64_t>{9});  // looked up, not sighted
  plan.Sighted(seen, 3);
  plan.SightedOnce(TableId(0), 1);
  plan.Sighted(plan.Single(TableId(1), keys), 3);
  plan.Sighted(plan.Mirror(TableId(2), seen), 2);  // the first two
  const auto tables = std::move(plan).Finish(kNone);
  EXPECT_THAT(tables[0].counts, ElementsAre(2, 2, 0));
  EXPECT_TRUE(tables[1].counts.empty());
  EXPECT_THAT(tables[2].counts, ElementsAre(1, 1, 0));
}

// Keys are part of a checkpoint's meaning: these numbers may never change.
TEST(KeyHashTest, StaysWhatItWas) {
  EXPECT_EQ(KeyOfText("85123A", 0), XXH3_64bits("85123A", 6));
  EXPECT_EQ(KeyOfText("", 0), 0x2D06800538D394C2ull);
  EXPECT_NE(KeyOfText("85123A", 0), KeyOfText("85123A", 1));
  EXPECT_EQ(KeyOfInteger(-42, 3), KeyOfText("-42", 3));
}

}  // namespace
}  // namespace emporium::worker
