// What every table does, run on the fast one and on its plain twin, and random operations on both
// at once, compared bit for bit. The long form of the latter, 10^7 row operations and millions of
// rows, is a command of its own:
//   test_ps --gtest_also_run_disabled_tests --gtest_filter='*TenMillionOperations'
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "proto/element.h"
#include "ps/table.h"
#include "tests/ps/plain_table.h"
#include "tests/ps/table_parts.h"

namespace emporium::ps {
namespace {

constexpr uint32_t kPartitions = 64;

TableSettings Settings(const std::string& optimizer, uint32_t dim) {
  TableSettings settings;
  settings.name = "items";
  settings.dim = dim;
  settings.seed = 5;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(optimizer, &settings.optimizer));
  settings.initializer.mutable_normal()->set_stddev(0.1f);
  settings.popularity = true;
  settings.half_life_steps = 20;
  return settings;
}

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

// Both tables, and what is done to both.
class Pair {
 public:
  Pair(const TableSettings& settings, uint64_t key_range, uint64_t seed)
      : settings_(settings),
        key_range_(key_range),
        random_(seed),
        fast_(std::make_unique<Table>(settings, kPartitions, Range(0, kPartitions))),
        plain_(settings, kPartitions, Range(0, kPartitions)) {}

  // Row operations until there are at least `operations`.
  void Run(uint64_t operations, size_t largest_batch) {
    uint64_t done = 0;
    while (done < operations && !::testing::Test::HasFatalFailure()) {
      ++step_;
      const bool growing = done * 6 / operations % 3 != 2;
      const uint64_t choice = random_() % 100;
      std::vector<uint64_t> keys(BatchSize(largest_batch));
      for (uint64_t& key : keys) key = Key();
      done += keys.size();
      if (choice < 40) {
        Update(keys);
      } else if (choice < 75) {
        Compare(keys);
      } else if (choice < (growing ? 78u : 97u)) {
        ASSERT_EQ(fast_->Erase(keys), plain_.Erase(keys));
      } else if (choice < 99) {
        const std::vector<float> weights = Floats(settings_.dim);
        fast_->Assign(keys[0], weights);
        plain_.Assign(keys[0], weights);
        fast_->CompactPartition(PartitionId(static_cast<uint16_t>(random_() % kPartitions)));
      } else if (random_() % 4 == 0) {
        SaveAndLoad();
      }
      ASSERT_EQ(fast_->rows(), plain_.rows());
    }
    SaveAndLoad();
    largest_ = std::max(largest_, fast_->rows());
  }
  uint64_t largest() const { return largest_; }

 private:
  size_t BatchSize(size_t largest) {
    const int bits = std::bit_width(largest);
    return 1 + random_() % (size_t{1} << (random_() % static_cast<uint64_t>(bits)));
  }
  uint64_t Key() {  // both ends of the key space
    const uint64_t r = random_() % key_range_;
    return r % 2 == 0 ? r / 2 : ~(r / 2);
  }
  std::vector<float> Floats(size_t n) {
    std::uniform_real_distribution<float> values(-1, 1);
    std::vector<float> floats(n);
    for (float& value : floats) value = values(random_);
    return floats;
  }

  void Update(std::vector<uint64_t>& keys) {
    std::vector<Slot> slots(keys.size());
    std::vector<Slot> plain_slots(keys.size());
    fast_->FindOrCreate(keys, slots);  // with duplicates
    plain_.FindOrCreate(keys, plain_slots);
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    std::shuffle(keys.begin(), keys.end(), random_);
    slots.resize(keys.size());
    plain_slots.resize(keys.size());
    fast_->Find(keys, slots);
    plain_.Find(keys, plain_slots);
    const std::vector<float> gradients = Floats(keys.size() * settings_.dim);
    std::vector<float> counts(keys.size());
    for (float& count : counts) count = static_cast<float>(random_() % 3);
    const size_t bytes = WeightBytes(settings_.element_type, settings_.dim);
    std::vector<std::byte> kept(keys.size() * bytes);
    std::vector<std::byte> plain_kept(keys.size() * bytes);
    Table::UpdateBatch batch{.keys = keys,
                             .slots = slots,
                             .gradients = gradients,
                             .counts = counts,
                             .step = step_,
                             .learning_rate_factor = 0.5f,
                             .kept_rows = kept,
                             .kept_popularity = {}};
    fast_->Apply(batch);
    batch.slots = plain_slots;
    batch.kept_rows = plain_kept;
    plain_.Apply(batch);
    ASSERT_EQ(kept, plain_kept);
    largest_ = std::max(largest_, fast_->rows());
  }

  void Compare(const std::vector<uint64_t>& keys) const {
    std::vector<Slot> slots(keys.size());
    std::vector<Slot> plain_slots(keys.size());
    fast_->Find(keys, slots);
    plain_.Find(keys, plain_slots);
    std::vector<float> weights(keys.size() * settings_.dim);
    std::vector<float> plain_weights(weights.size());
    std::vector<float> counts(keys.size());
    std::vector<float> plain_counts(keys.size());
    fast_->Read(keys, slots, step_, weights, counts);
    plain_.Read(keys, plain_slots, step_, plain_weights, plain_counts);
    ASSERT_EQ(weights, plain_weights);
    ASSERT_EQ(counts, plain_counts);
    for (size_t i = 0; i < keys.size(); ++i) {
      ASSERT_EQ(slots[i] == kNoSlot, plain_slots[i] == kNoSlot);
    }
  }

  // Lists every row of both, and goes on with a fast table made of what was listed.
  void SaveAndLoad() {
    auto loaded = std::make_unique<Table>(settings_, kPartitions, Range(0, kPartitions));
    for (PartitionId partition : Range(0, kPartitions)) {
      std::vector<std::string> rows;
      const auto text = [](const RowView& view) {
        std::string all(reinterpret_cast<const char*>(view.raw.data()), view.raw.size());
        all.append(reinterpret_cast<const char*>(view.state.data()), view.state.size_bytes());
        return all + " " + std::to_string(view.key) + " " + std::to_string(view.popularity) + " " +
               std::to_string(view.last_step) + " " + std::to_string(view.updates);
      };
      fast_->ForEachRow(partition, [&](const RowView& view) {
        rows.push_back(text(view));
        ASSERT_TRUE(loaded->Restore(view).ok());
      });
      size_t i = 0;
      plain_.ForEachRow(partition, [&](const RowView& view) {
        ASSERT_LT(i, rows.size());
        ASSERT_EQ(rows[i++], text(view));
      });
      ASSERT_EQ(i, rows.size());
    }
    fast_ = std::move(loaded);
  }

  const TableSettings settings_;
  const uint64_t key_range_;
  std::mt19937_64 random_;
  std::unique_ptr<Table> fast_;
  PlainTable plain_;
  uint32_t step_ = 0;
  uint64_t largest_ = 0;
};

TEST(TableTwinTest, RandomOperationsOnEveryElementType) {
  struct Case {
    const char* optimizer;
    uint32_t dim;
    spec::ElementType element;
    uint32_t popularity_bytes;
  };
  const Case cases[] = {{"rowwise_adagrad {}", 16, spec::FP32, 4},
                        {"sgd {}", 3, spec::FP16, 1},
                        {"adam {}", 7, spec::BF16, 2},
                        {"rowwise_adagrad {}", 33, spec::INT8, 3},
                        {"ftrl { l1: 0.01 }", 8, spec::FP32, 1}};
  for (const Case& c : cases) {
    TableSettings settings = Settings(c.optimizer, c.dim);
    settings.element_type = c.element;
    settings.popularity_bytes = c.popularity_bytes;
    Pair(settings, 3'000, c.dim).Run(40'000, 512);
  }
}

TEST(TableTwinTest, LargeBatches) {
  Pair pair(Settings("rowwise_adagrad {}", 8), 40'000, 9);
  pair.Run(200'000, 65'536);
  EXPECT_GT(pair.largest(), 10'000u);
}

TEST(TableTwinTest, DISABLED_TenMillionOperations) {
  Pair pair(Settings("rowwise_adagrad {}", 8), 2'000'000, 10);
  pair.Run(10'000'000, 65'536);
  EXPECT_GT(pair.largest(), 500'000u);
}

}  // namespace
}  // namespace emporium::ps
