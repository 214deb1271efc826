// Random operations on a table and on its plain twin, a std::unordered_map of rows: what is found,
// inserted, updated, observed, assigned, erased, compacted, let go and saved to a checkpoint's file
// and loaded again is the same, bit for bit, while the table grows and shrinks. The long form, 10^7
// row operations and more than half a million rows, is a command of its own (README):
//   ./run_tests --preset asan --only random --filter '*TenMillion*' --long
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "ps/checkpoint.h"
#include "ps/page_ahead.h"
#include "ps/shard.h"
#include "tests/ps/shard_fixture.h"
#include "tests/ps/table_parts.h"
#include "tests/random/plain_table.h"
#include "tests/random/table_twins.h"

namespace emporium::ps {
namespace {

namespace fs = std::filesystem;

// Both tables, and what is done to both. The fast one is a shard's, so that it is saved and loaded
// as checkpoints are.
class Pair {
 public:
  Pair(const TableSettings& settings, uint64_t key_range, uint64_t seed)
      : settings_(settings),
        key_range_(key_range),
        random_(seed),
        shard_(NewShard()),
        plain_(settings, kPartitions, Range(0, kPartitions)) {}

  // Row operations until there are at least `operations`.
  void Run(uint64_t operations, size_t largest_batch) {
    uint64_t done = 0;
    while (done < operations && !::testing::Test::HasFatalFailure()) {
      BeginStep();
      const bool growing = done * 6 / operations % 3 != 2;
      const uint64_t choice = random_() % 100;
      std::vector<uint64_t> keys(BatchSize(largest_batch));
      for (uint64_t& key : keys) key = Key();
      done += keys.size();
      if (choice < 40) {
        Update(keys);
      } else if (choice < 75) {
        Compare(keys);
      } else if (choice < (growing ? 78u : 95u)) {
        ASSERT_EQ(fast().Erase(keys), plain_.Erase(keys));
      } else if (choice < 97) {
        const std::vector<float> weights = RandomFloats(settings_.dim, random_);
        fast().Assign(keys[0], weights);
        plain_.Assign(keys[0], weights);
        fast().CompactPartition(PartitionId(static_cast<uint16_t>(random_() % kPartitions)));
      } else if (choice < 99) {
        Expire();
      } else if (random_() % 4 == 0) {
        SaveAndLoad();
      }
      ASSERT_EQ(fast().rows(), plain_.rows());
      largest_ = std::max(largest_, plain_.rows());
    }
    SaveAndLoad();
  }
  uint64_t largest() const { return largest_; }
  uint64_t expired() const { return expired_; }

 private:
  Table& fast() { return shard_->table(0); }
  std::unique_ptr<Shard> NewShard() {
    Shard::Config config;
    config.partitions = kPartitions;
    config.owned = Range(0, kPartitions);
    config.page_ahead = &page_ahead_;
    config.tables = {settings_};
    return std::make_unique<Shard>(std::move(config));
  }
  size_t BatchSize(size_t largest) {
    const int bits = std::bit_width(largest);
    return 1 + random_() % (size_t{1} << (random_() % static_cast<uint64_t>(bits)));
  }
  uint64_t Key() {  // both ends of the key space
    const uint64_t r = random_() % key_range_;
    return r % 2 == 0 ? r / 2 : ~(r / 2);
  }

  void BeginStep() {
    ++step_;
    if (settings_.half_life_seconds > 0) {
      time_ += static_cast<uint32_t>(random_() % 60);
      fast().SetTime(step_, time_);
      plain_.SetTime(step_, time_);
    }
    fast().AddToTotals({1, std::vector<double>(fast().counters().size(), 2)}, step_);
  }

  void Update(std::vector<uint64_t>& keys) {
    std::vector<Slot> slots(keys.size());
    std::vector<Slot> plain_slots(keys.size());
    fast().FindOrCreate(keys, slots);  // with duplicates
    plain_.FindOrCreate(keys, plain_slots);
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    std::shuffle(keys.begin(), keys.end(), random_);
    slots.resize(keys.size());
    plain_slots.resize(keys.size());
    fast().Find(keys, slots);
    plain_.Find(keys, plain_slots);
    const std::vector<float> gradients = RandomFloats(keys.size() * settings_.dim, random_);
    std::vector<float> counts(keys.size());
    for (float& count : counts) count = static_cast<float>(random_() % 3);
    const size_t bytes = WeightBytes(settings_.element_type, settings_.dim);
    std::vector<std::byte> kept(keys.size() * bytes);
    std::vector<std::byte> plain_kept(keys.size() * bytes);
    std::vector<float> kept_counts(settings_.popularity ? keys.size() : 0);
    std::vector<float> plain_kept_counts(kept_counts.size());
    Table::UpdateBatch batch{.keys = keys,
                             .slots = slots,
                             .gradients = gradients,
                             .counts = counts,
                             .step = step_,
                             .learning_rate_factor = 0.5f,
                             .kept_rows = kept,
                             .kept_popularity = kept_counts};
    // Wherever gradients lie, the rows come out the same.
    std::vector<const float*> gradient_rows;
    for (size_t i = 0; i < keys.size(); ++i) {
      gradient_rows.push_back(gradients.data() + i * settings_.dim);
    }
    if (random_() % 2 == 0) {
      batch.gradients = {};
      batch.gradient_rows = gradient_rows;
    }
    fast().Apply(batch);
    batch.gradients = gradients;
    batch.gradient_rows = {};
    batch.slots = plain_slots;
    batch.kept_rows = plain_kept;
    batch.kept_popularity = plain_kept_counts;
    plain_.Apply(batch);
    ASSERT_EQ(kept, plain_kept);
    ASSERT_EQ(kept_counts, plain_kept_counts);
    if (settings_.slots.empty()) return;
    const Observations observed = RandomObservations(settings_, keys.size(), random_);
    fast().Observe(keys, slots, observed.rows);
    plain_.Observe(keys, plain_slots, observed.rows);
  }

  void Compare(const std::vector<uint64_t>& keys) {
    std::vector<Slot> slots(keys.size());
    std::vector<Slot> plain_slots(keys.size());
    fast().Find(keys, slots);
    plain_.Find(keys, plain_slots);
    std::vector<float> weights(keys.size() * settings_.dim);
    std::vector<float> plain_weights(weights.size());
    std::vector<float> counts(keys.size());
    std::vector<float> plain_counts(keys.size());
    fast().Read(keys, slots, step_, weights, counts);
    plain_.Read(keys, plain_slots, step_, plain_weights, plain_counts);
    ASSERT_EQ(weights, plain_weights);
    ASSERT_EQ(counts, plain_counts);
    for (size_t i = 0; i < keys.size(); ++i) {
      ASSERT_EQ(slots[i] == kNoSlot, plain_slots[i] == kNoSlot);
    }
    std::vector<float> values(keys.size() * settings_.slots.size());
    std::vector<float> plain_values(values.size());
    fast().ReadSlots(slots, step_, values);
    plain_.ReadSlots(plain_slots, step_, plain_values);
    ASSERT_EQ(values, plain_values);
  }

  void Expire() {
    if (settings_.expiry.every_steps == 0) return;
    const uint64_t gone = fast().Expire(step_);
    ASSERT_EQ(gone, plain_.Expire(step_));
    expired_ += gone;
  }

  // Goes on with a shard that was restored from the file of the one before.
  void SaveAndLoad() {
    const std::string dir = ps::testing::ScratchDir("table");
    fs::create_directories(dir);
    std::vector<Send> out;
    ASSERT_EQ(shard_->ReadyForCheckpoint(StageId(0), Step(0), &out).ToString(), "ok");
    const Result<ShardFileInfo> info = WriteShardFile(*shard_, dir, "job", 1);
    ASSERT_EQ(info.status().ToString(), "ok");
    spec::CheckpointManifest manifest;
    manifest.set_job_fingerprint("job");
    manifest.add_file()->set_path(info->path);
    const Table::Totals totals = fast().totals(step_);
    std::unique_ptr<Shard> loaded = NewShard();
    ASSERT_EQ(RestoreShard(dir, manifest, "job", loaded.get()).ToString(), "ok");
    shard_ = std::move(loaded);
    fs::remove_all(dir);
    ASSERT_EQ(fast().totals(step_).popularity, totals.popularity);
    ASSERT_EQ(fast().totals(step_).slots, totals.slots);
    ASSERT_EQ(TextOf(fast()), TextOf(plain_));
  }

  const TableSettings settings_;
  const uint64_t key_range_;
  std::mt19937_64 random_;
  PageAhead page_ahead_;
  std::unique_ptr<Shard> shard_;
  PlainTable plain_;
  uint32_t step_ = 0;
  uint32_t time_ = 1'700'000'000;
  uint64_t largest_ = 0;
  uint64_t expired_ = 0;
};

TEST(TableOperationsTest, EveryElementTypeAndOptimizer) {
  struct Case {
    const char* optimizer;
    uint32_t dim;
    spec::ElementType element;
    uint32_t popularity_bytes;
    Extras extras;
    ExpiryRules expiry;
  };
  const Case cases[] = {
      {"rowwise_adagrad {}", 16, spec::FP32, 4, Extras::kNone, {}},
      {"sgd {}", 3, spec::FP16, 1, Extras::kSlotsByEventTime, {1, 60, 0, 0}},
      {"adam { l2: 0.1 decay_untouched: true }",
       7,
       spec::BF16,
       2,
       Extras::kSlots,
       {1, 0, 0, 1'000}},
      {"rowwise_adagrad {}", 33, spec::INT8, 3, Extras::kNone, {1, 0, 0.02f, 0}},
      {"ftrl { l1: 0.01 }", 8, spec::FP32, 1, Extras::kSlotsByEventTime, {1, 90, 0.01f, 1'500}},
      {"momentum {}", 64, spec::FP32, 0, Extras::kSlots, {1, 80, 0, 0}},
      {"adamw {}", 20, spec::INT8, 4, Extras::kSlots, {}},
      {"adagrad {}", 1, spec::FP16, 2, Extras::kNone, {1, 100, 0, 800}}};
  for (const Case& c : cases) {
    TableSettings settings = Settings(c.optimizer, c.dim);
    settings.element_type = c.element;
    Keep(c.popularity_bytes, c.extras, &settings);
    settings.expiry = c.expiry;
    Pair pair(settings, 3'000, c.dim);
    pair.Run(40'000, 512);
    EXPECT_EQ(pair.expired() > 0, c.expiry.every_steps > 0) << c.optimizer << " " << c.dim;
  }
}

TEST(TableOperationsTest, LargeBatches) {
  Pair pair(Settings("rowwise_adagrad {}", 8), 40'000, 9);
  pair.Run(200'000, 65'536);
  EXPECT_GT(pair.largest(), 10'000u);
}

TEST(TableOperationsTest, DISABLED_TenMillionOperations) {
  TableSettings settings = Settings("rowwise_adagrad {}", 8);
  Keep(2, Extras::kSlots, &settings);
  settings.expiry = {.every_steps = 1, .untouched_steps = 1'000, .rows = 800'000};
  Pair pair(settings, 2'000'000, 10);
  pair.Run(10'000'000, 65'536);
  EXPECT_GT(pair.largest(), 500'000u);
  EXPECT_GT(pair.expired(), 0u);
}

}  // namespace
}  // namespace emporium::ps
