#include "ps/table.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>
#include <random>
#include <unordered_map>
#include <vector>

#include "ps/initializer.h"
#include "ps/optimizer.h"
#include "runtime/route.h"
#include "tests/ps/table_parts.h"

namespace emporium::ps {
namespace {

constexpr uint32_t kPartitions = 64;

TableSettings Settings(const std::string& optimizer, uint32_t dim = 5, double half_life = 10) {
  TableSettings settings;
  settings.name = "items";
  settings.dim = dim;
  settings.seed = 77;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(optimizer, &settings.optimizer));
  settings.initializer.mutable_normal()->set_stddev(0.1f);
  settings.popularity = half_life >= 0;
  settings.half_life_steps = std::max(half_life, 0.0);
  return settings;
}

const char* const kOptimizers[] = {
    "sgd {}",  "momentum {}", "adagrad {}",        "rowwise_adagrad {}",
    "adam {}", "adamw {}",    "ftrl { l1: 0.01 }", "adam { l2: 0.1 decay_untouched: true }"};

// A row as plain values.
struct Row {
  std::vector<float> weights, state;
  float popularity = 0;
  uint32_t last_step = 0, updates = 0;
  bool operator==(const Row&) const = default;
  RowView View(uint64_t key) const { return {key, weights, state, popularity, last_step, updates}; }
};

Row Copy(const RowView& view) {
  return {{view.weights.begin(), view.weights.end()},
          {view.state.begin(), view.state.end()},
          view.popularity,
          view.last_step,
          view.updates};
}

using Rows = std::map<uint64_t, Row>;

// All rows, and that each partition lists its own ones in ascending order.
Rows Contents(const Table& table) {
  Rows rows;
  for (PartitionId partition : Range(0, kPartitions)) {
    uint64_t last = 0;
    bool first = true;
    table.ForEachRow(partition, [&](const RowView& view) {
      EXPECT_EQ(runtime::PartitionOf(view.key, kPartitions), partition);
      EXPECT_TRUE(first || view.key > last) << "ascending order";
      first = false;
      last = view.key;
      EXPECT_TRUE(rows.emplace(view.key, Copy(view)).second) << "listed twice";
    });
  }
  EXPECT_EQ(rows.size(), table.rows());
  return rows;
}

// What a table should do, said plainly.
class Model {
 public:
  explicit Model(const TableSettings& settings)
      : settings_(settings),
        optimizer_(MakeOptimizer(settings.optimizer).value()),
        initializer_(Initializer::Make(settings.initializer, settings.seed).value()) {}

  Row Fresh(uint64_t key) const {
    Row row;
    row.weights.resize(settings_.dim);
    initializer_.Fill(key, row.weights);
    return WithState(row);
  }
  Row WithState(Row row) const {
    row.state.resize(optimizer_->StateFloats(settings_.dim));
    optimizer_->InitState(row.weights, row.state);
    return row;
  }
  float PopularityAt(const Row& row, uint32_t step) const {
    if (!settings_.popularity) return 0;
    if (settings_.half_life_steps == 0) return row.popularity;
    const double age = step - row.last_step;
    return static_cast<float>(row.popularity * std::exp2(-age / settings_.half_life_steps));
  }
  void Update(uint64_t key, std::span<const float> gradient, float count, uint32_t step,
              float factor) {
    Row& row = rows.at(key);
    RowClock clock;
    if (row.last_step > 0) clock.missed = step - row.last_step - 1;
    // Rows carry these only where something needs them.
    if (settings_.popularity) row.popularity = PopularityAt(row, step) + count;
    if (settings_.popularity || optimizer_->CountsMissed()) row.last_step = step;
    if (optimizer_->CountsUpdates()) clock.updates = ++row.updates;
    optimizer_->Apply(row.weights, row.state, gradient, clock, factor);
  }

  Rows rows;

 private:
  TableSettings settings_;
  std::unique_ptr<Optimizer> optimizer_;
  Initializer initializer_;
};

// Equal in all but popularity, where libm may round otherwise than we do.
void ExpectSame(const Rows& got, const Rows& want) {
  ASSERT_EQ(got.size(), want.size());
  for (auto a = got.begin(), b = want.begin(); a != got.end(); ++a, ++b) {
    ASSERT_EQ(a->first, b->first);
    EXPECT_NEAR(a->second.popularity, b->second.popularity, 1e-5 * b->second.popularity);
    Row row = a->second;
    row.popularity = b->second.popularity;
    ASSERT_EQ(row, b->second) << a->first;
  }
}

std::vector<float> RandomFloats(size_t n, std::mt19937_64& random) {
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

uint64_t RandomKey(std::mt19937_64& random) {
  const uint64_t r = random() % 3000;
  return r < 1500 ? r : 0 - (r - 1499);  // both ends of the key space
}

void UpdateBoth(Table& table, Model& model, uint32_t step, std::mt19937_64& random) {
  std::vector<uint64_t> keys(random() % 300);
  for (uint64_t& key : keys) key = RandomKey(random);
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  std::shuffle(keys.begin(), keys.end(), random);
  std::vector<Slot> slots(keys.size());
  table.FindOrCreate(keys, slots);
  const size_t dim = table.layout().dim;
  const std::vector<float> gradients = RandomFloats(keys.size() * dim, random);
  std::vector<float> counts(random() % 4 == 0 ? 0 : keys.size());
  for (float& count : counts) count = static_cast<float>(random() % 3);
  const float factor = static_cast<float>(random() % 10) / 10;
  table.Update(slots, gradients, counts, step, factor);
  for (size_t i = 0; i < keys.size(); ++i) {
    model.rows.emplace(keys[i], model.Fresh(keys[i]));
    model.Update(keys[i], {&gradients[i * dim], dim}, counts.empty() ? 0 : counts[i], step, factor);
  }
}

void ReadBoth(const Table& table, const Model& model, uint32_t step, std::mt19937_64& random) {
  std::vector<uint64_t> keys(random() % 300);
  for (uint64_t& key : keys) key = RandomKey(random);  // duplicates and missing ones among them
  std::vector<Slot> slots(keys.size());
  table.Find(keys, slots);
  const size_t dim = table.layout().dim;
  std::vector<float> weights(keys.size() * dim), counts(random() % 2 == 0 ? keys.size() : 0);
  table.Read(keys, slots, step, weights, counts);
  for (size_t i = 0; i < keys.size(); ++i) {
    const auto at = model.rows.find(keys[i]);
    ASSERT_EQ(slots[i] == kNoSlot, at == model.rows.end());
    const Row row = at == model.rows.end() ? model.Fresh(keys[i]) : at->second;
    ASSERT_EQ(std::memcmp(&weights[i * dim], row.weights.data(), dim * sizeof(float)), 0);
    if (!counts.empty()) {
      EXPECT_NEAR(counts[i], model.PopularityAt(row, step), 1e-5 * counts[i]);
    }
    if (slots[i] != kNoSlot) {
      EXPECT_EQ(table.Weights(slots[i])[0], weights[i * dim]);
    }
  }
}

TEST(TableTest, RandomOperationsAgainstAModel) {
  std::mt19937_64 random(21);
  for (const char* optimizer : kOptimizers) {
    const double half_life = std::vector<double>{-1, 0, 25.5}[random() % 3];
    const auto dim = static_cast<uint32_t>(1 + random() % 20);
    const TableSettings settings = Settings(optimizer, dim, half_life);
    Table table(settings, kPartitions, Range(0, kPartitions));
    Model model(settings);
    for (uint32_t step = 0; step < 150; ++step) {
      switch (random() % 5) {
        case 0:
        case 1:
          UpdateBoth(table, model, step, random);
          break;
        case 2:
        case 3:
          ReadBoth(table, model, step, random);
          break;
        case 4: {
          const uint64_t key = RandomKey(random);
          Row row;
          row.weights = RandomFloats(dim, random);
          table.Assign(key, row.weights);
          model.rows.emplace(key, model.WithState(row));
        }
      }
      ASSERT_EQ(table.rows(), model.rows.size());
    }
    ExpectSame(Contents(table), model.rows);
  }
}

TEST(TableTest, FindOrCreateWithDuplicatesMakesOneRowEach) {
  Table table(Settings("adagrad {}"), kPartitions, Range(0, kPartitions));
  const std::vector<uint64_t> keys = {5, 0, 5, ~0ull, 0, 5, ~0ull};
  std::vector<Slot> slots(keys.size());
  table.FindOrCreate(keys, slots);
  EXPECT_EQ(table.rows(), 3u);
  EXPECT_EQ(slots[0], slots[2]);
  EXPECT_EQ(slots[0], slots[5]);
  EXPECT_EQ(slots[1], slots[4]);
  EXPECT_EQ(slots[3], slots[6]);
  std::vector<Slot> again(keys.size());
  table.Find(keys, again);
  EXPECT_EQ(again, slots);
  const std::vector<uint64_t> one = {9};
  std::vector<Slot> next(1);
  table.FindOrCreate(one, next);
  again.resize(1);
  table.Find(one, again);
  EXPECT_EQ(again[0], next[0]);
  EXPECT_EQ(table.rows(), 4u);
}

TEST(TableTest, AnEmptyTableAnswersWithInitialValuesAndStaysEmpty) {
  const TableSettings settings = Settings("adam {}");
  const Table table(settings, kPartitions, Range(0, kPartitions));
  const std::vector<uint64_t> keys = {3, ~0ull, 3};
  std::vector<Slot> slots(3);
  std::vector<float> weights(15), counts(3, -1.0f);
  table.Find(keys, slots);
  table.Read(keys, slots, 4, weights, counts);
  const Model model(settings);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(slots[i], kNoSlot);
    EXPECT_EQ(std::memcmp(&weights[i * 5], model.Fresh(keys[i]).weights.data(), 20), 0);
    EXPECT_EQ(counts[i], 0);
  }
  EXPECT_EQ(table.rows(), 0u);
  table.Read({}, {}, 4, {}, {});
}

// Invariant 3, and the promise that the number of shards cannot show: the same updates, in any
// order within a step and cut among four tables, give the same bits.
TEST(TableTest, NeitherOrderNorShardsShow) {
  for (const char* optimizer : kOptimizers) {
    const TableSettings settings = Settings(optimizer);
    Table whole(settings, kPartitions, Range(0, kPartitions));
    std::vector<std::unique_ptr<Table>> parts;
    for (uint32_t s = 0; s < 4; ++s) {
      parts.push_back(std::make_unique<Table>(settings, kPartitions, Range(16 * s, 16 * s + 16)));
    }
    std::mt19937_64 random(31);
    for (uint32_t step = 0; step < 40; ++step) {
      std::map<uint64_t, std::vector<float>> gradients;
      for (int i = 0; i < 100; ++i) gradients[RandomKey(random)] = RandomFloats(5, random);
      const auto apply = [&](Table& table, bool backwards) {
        std::vector<uint64_t> keys;
        for (const auto& [key, gradient] : gradients) {
          if (table.Owns(key)) keys.push_back(key);
        }
        if (backwards) std::reverse(keys.begin(), keys.end());
        std::vector<Slot> slots(keys.size());
        std::vector<float> flat, counts;
        for (uint64_t key : keys) {
          flat.insert(flat.end(), gradients[key].begin(), gradients[key].end());
          counts.push_back(static_cast<float>(key % 4));
        }
        table.FindOrCreate(keys, slots);
        table.Update(slots, flat, counts, step, 0.5f);
      };
      apply(whole, false);
      for (auto& part : parts) apply(*part, true);
    }
    Rows together;
    for (const auto& part : parts) together.merge(Contents(*part));
    EXPECT_EQ(together, Contents(whole)) << optimizer;
  }
}

// Restore -> the same rows -> the same next step.
TEST(TableTest, RestoredTablesGoOnWithTheSameBits) {
  std::mt19937_64 random(41);
  for (const char* optimizer : kOptimizers) {
    const TableSettings settings = Settings(optimizer);
    Table table(settings, kPartitions, Range(0, kPartitions));
    Model unused(settings);
    for (uint32_t step = 0; step < 20; ++step) UpdateBoth(table, unused, step, random);
    table.AddToTotals({8, {}}, 15);
    Table restored(settings, kPartitions, Range(0, kPartitions));
    const Rows before = Contents(table);
    for (const auto& [key, row] : before) ASSERT_TRUE(restored.Restore(row.View(key)).ok());
    restored.RestoreTotal(table.total());
    EXPECT_EQ(Contents(restored), before);
    EXPECT_EQ(restored.totals(30).popularity, table.totals(30).popularity);
    std::mt19937_64 again = random;
    UpdateBoth(table, unused, 20, random);
    Model other(settings);
    other.rows = before;
    UpdateBoth(restored, other, 20, again);
    EXPECT_EQ(Contents(restored), Contents(table)) << optimizer;
  }
}

TEST(TableTest, RestoreRefusesRowsOfAnotherShape) {
  Table table(Settings("adagrad {}"), kPartitions, Range(0, 32));
  std::vector<float> five(5), four(4);
  uint64_t own = 0, foreign = 0;
  while (!table.Owns(own)) ++own;
  while (table.Owns(foreign)) ++foreign;
  for (const RowView& row : {RowView{own, four, five, 0, 0, 0}, RowView{own, five, four, 0, 0, 0},
                             RowView{foreign, five, five, 0, 0, 0}}) {
    const Status status = table.Restore(row);
    EXPECT_EQ(status.code(), StatusCode::kDataLoss);
    EXPECT_NE(status.message().find("table items"), std::string::npos);
  }
  EXPECT_EQ(table.rows(), 0u);
  EXPECT_TRUE(table.Restore({own, five, five, 1.5f, 3, 2}).ok());
  EXPECT_EQ(Contents(table).at(own), (Row{five, five, 1.5f, 3, 0}));  // Adagrad counts no updates
}

TEST(TableTest, AssignSetsOnlyRowsThatDoNotExist) {
  Table table(Settings("adamw {}", 2), kPartitions, Range(0, kPartitions));
  table.Assign(1, std::vector<float>{1, 2});
  table.Assign(1, std::vector<float>{3, 4});
  EXPECT_EQ(Contents(table).at(1).weights, (std::vector<float>{1, 2}));
  EXPECT_EQ(Contents(table).at(1).updates, 0u);
}

TEST(TableTest, PopularityFadesAndComesBack) {
  Table table(Settings("sgd {}", 1, 10), kPartitions, Range(0, kPartitions));
  const std::vector<uint64_t> key = {4};
  std::vector<Slot> slot(1);
  std::vector<float> weights(1), count(1);
  table.FindOrCreate(key, slot);
  const std::vector<float> gradient = {0}, four = {4}, one = {1};
  table.Update(slot, gradient, four, 100, 1);
  table.Read(key, slot, 100, weights, count);
  EXPECT_EQ(count[0], 4);
  table.Read(key, slot, 99, weights, count);  // the version before is answered with what is known
  EXPECT_EQ(count[0], 4);
  table.Read(key, slot, 120, weights, count);
  EXPECT_NEAR(count[0], 1, 1e-6);
  table.Update(slot, gradient, one, 110, 1);
  table.Update(slot, gradient, {}, 120, 1);  // a negative sample: touched, not counted
  table.Read(key, slot, 130, weights, count);
  EXPECT_NEAR(count[0], 3.0 / 4, 1e-6);

  table.AddToTotals({4, {}}, 100);
  table.AddToTotals({1, {}}, 110);
  EXPECT_NEAR(table.totals(130).popularity, 3.0 / 4, 1e-12);
}

TEST(TableTest, ClearForgetsEverything) {
  Table table(Settings("adam {}"), kPartitions, Range(0, kPartitions));
  std::vector<uint64_t> keys(10'000);
  std::iota(keys.begin(), keys.end(), 0);
  std::vector<Slot> slots(keys.size());
  const uint64_t empty = table.bytes();
  table.FindOrCreate(keys, slots);
  table.AddToTotals({5, {}}, 1);
  EXPECT_GT(table.bytes(), empty + 10'000 * (16 + 4 * 16));
  table.Clear();
  EXPECT_EQ(table.rows(), 0u);
  EXPECT_LE(table.bytes(), empty);
  EXPECT_EQ(table.totals(1).popularity, 0);
  table.Find(keys, slots);
  EXPECT_EQ(std::count(slots.begin(), slots.end(), kNoSlot), 10'000);
  table.FindOrCreate(keys, slots);
  EXPECT_EQ(Contents(table).size(), 10'000u);
}

TEST(TableTest, AShardKnowsItsKeys) {
  const Table table(Settings("sgd {}"), kPartitions, Range(0, 32));
  for (uint64_t key = 0; key < 1000; ++key) {
    EXPECT_EQ(table.Owns(key), runtime::PartitionOf(key, kPartitions).value() < 32);
  }
}

TEST(TableDeathTest, AForeignKeyGetsNoRow) {
  Table table(Settings("sgd {}"), kPartitions, Range(0, 32));
  std::vector<uint64_t> key = {0};
  while (table.Owns(key[0])) ++key[0];
  std::vector<Slot> slot(1);
  EXPECT_DEATH(table.FindOrCreate(key, slot), "owns");
}

// ---- TablesOf
// ------------------------------------------------------------------------------------

spec::Job JobOf(const std::string& text) {
  spec::Job job;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &job));
  return job;
}

TEST(TablesOfTest, TablesThenGroupsInOrder) {
  const auto tables = TablesOf(JobOf(R"(
      seed: 9
      table { name: "users" dim: 8 optimizer { sgd {} } popularity { half_life_steps: 30 } }
      table { name: "items" dim: 16 optimizer { adagrad {} } initializer { uniform {} } }
      dense { name: "towers" parameter: "tower." optimizer { adam {} } chunk_floats: 256 }
      dense { name: "rest" optimizer { momentum {} } })"));
  ASSERT_EQ(tables.size(), 4u);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(tables[i].id.value(), i);
  EXPECT_EQ(tables[0].name, "users");
  EXPECT_EQ(tables[0].dim, 8u);
  EXPECT_TRUE(tables[0].popularity);
  EXPECT_EQ(tables[0].half_life_steps, 30);
  EXPECT_TRUE(tables[0].optimizer.has_sgd());
  EXPECT_FALSE(tables[1].popularity);
  EXPECT_TRUE(tables[1].initializer.has_uniform());
  EXPECT_EQ(tables[2].name, "towers");
  EXPECT_EQ(tables[2].dim, 256u);
  EXPECT_TRUE(tables[2].optimizer.has_adam());
  EXPECT_TRUE(tables[2].initializer.has_zeros());
  EXPECT_EQ(tables[3].dim, 1024u);
}

TEST(TablesOfTest, WithoutGroupsThereIsOneWithAdamW) {
  const auto tables = TablesOf(JobOf(R"(table { name: "a" dim: 4 optimizer { sgd {} } })"));
  ASSERT_EQ(tables.size(), 2u);
  EXPECT_EQ(tables[1].name, "dense");
  EXPECT_EQ(tables[1].dim, 1024u);
  EXPECT_TRUE(tables[1].optimizer.has_adamw());
  EXPECT_NEAR(tables[1].optimizer.adamw().learning_rate(), 0.001, 1e-9);
}

TEST(TablesOfTest, SeedsComeFromTheJobsSeedAndTheNameAlone) {
  const auto one =
      TablesOf(JobOf(R"(seed: 3 table { name: "a" dim: 4 } table { name: "b" dim: 4 })"));
  const auto two = TablesOf(JobOf(R"(seed: 3 table { name: "b" dim: 9 })"));
  const auto three = TablesOf(JobOf(R"(seed: 4 table { name: "b" dim: 4 })"));
  EXPECT_NE(one[0].seed, one[1].seed);
  EXPECT_EQ(one[1].seed, two[0].seed);
  EXPECT_NE(one[1].seed, three[0].seed);
}

}  // namespace
}  // namespace emporium::ps
