// Retention as a whole: shards with admission, expiry, compressed popularity and slots against a
// plain twin that keeps its rows in a map, for one shard and four, across a checkpoint.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "ps/initializer.h"
#include "ps/optimizer.h"
#include "ps/popularity.h"
#include "ps/popularity_code.h"
#include "ps/slot_stats.h"
#include "tests/ps/shard_fixture.h"
#include "tests/ps/table_parts.h"

namespace emporium::ps {
namespace {

using namespace ps::testing;  // NOLINT: the fixture's names
using ::testing::HasSubstr;

constexpr float kNone = std::numeric_limits<float>::quiet_NaN();
constexpr uint32_t kMicroBatches = 3;
constexpr size_t kSlots = 7;  // of Tables; 0 and 5 are counters, 4 and 6 are times

struct Shape {
  uint32_t bytes = 1;
  bool event_time = false;
  uint32_t sightings = 0;
  ExpiryRules expiry;
};

std::vector<TableSettings> Tables(const Shape& shape) {
  std::vector<TableSettings> tables = TwoTables();
  TableSettings& item = tables[0];
  item.popularity_bytes = shape.bytes;
  if (shape.event_time) {
    item.half_life_steps = 0;
    item.half_life_seconds = 500;
  }
  const double half_life = shape.event_time ? 500 : 7;
  item.slots = {{spec::Slot::ADD, half_life, 0, 0}, {spec::Slot::LOG_EMA, 0, 0.1f, -1},
                {spec::Slot::SET, 0, 0, 3},         {spec::Slot::MAX, 0, 0, -9},
                {spec::Slot::MIN, 0, 0, 0, true},   {spec::Slot::ADD, 3 * half_life, 0, 0},
                {spec::Slot::MAX, 0, 0, 0, true}};
  item.admission_sightings = shape.sightings;
  item.sketch_bytes = 16 * 4 * 32;
  item.expiry = shape.expiry;
  return tables;
}

// ---- Micro-batches: functions of (step, micro-batch)
// ---------------------------------------------

uint32_t EventTime(uint64_t t, uint32_t m) {
  return static_cast<uint32_t>(1'700'000'000 + 40 * t + (m * 7919 + t * 31) % 100);
}

Payload RandomMicroBatch(uint64_t t, uint32_t m) {
  std::mt19937_64 random(1000 * t + m);
  Payload payload(2);
  std::map<uint64_t, bool> used;
  // A few keys are common, many are rare, and which are common changes slowly.
  for (int i = 0; i < 25; ++i) used[random() % 12 + t / 9] = true;
  for (int i = 0; i < 25; ++i) used[100 + random() % 700] = true;
  Columns& columns = payload[0];
  for (const auto& [key, unused] : used) {
    columns.keys.push_back(key);
    for (int d = 0; d < 3; ++d) {
      columns.values.push_back(static_cast<float>(random() % 2001) / 1000.0f - 1);
    }
    columns.counts.push_back(static_cast<float>(random() % 3));
    columns.total += columns.counts.back();
    for (size_t s = 0; s < kSlots; ++s) {
      const bool time = s == 4 || s == 6;
      float value = static_cast<float>(random() % 101) / 50.0f - 1;
      if (time) value = std::bit_cast<float>(EventTime(t, m) - static_cast<uint32_t>(random() % 9));
      columns.slots.push_back(random() % 3 == 0 ? kNone : value);
    }
  }
  columns.slot_totals.resize(2);
  for (size_t i = 0; i < columns.slots.size(); ++i) {
    const size_t s = i % kSlots;
    if ((s == 0 || s == 5) && !std::isnan(columns.slots[i])) {
      columns.slot_totals[s / 5] += columns.slots[i];
    }
  }
  return payload;
}

// ---- The twin
// ------------------------------------------------------------------------------------

struct TwinRow {
  std::vector<float> weights, state;
  std::vector<std::byte> extra;
  std::array<std::byte, 4> popularity{};
  uint32_t last_step = 0, time = 0;
};

class Twin {
 public:
  explicit Twin(const TableSettings& settings)
      : settings_(settings),
        optimizer_(MakeOptimizer(settings.optimizer).value()),
        initializer_(Initializer::Make(settings.initializer, settings.seed).value()),
        decay_(Seconds() ? settings.half_life_seconds : settings.half_life_steps),
        code_(settings.popularity_bytes),
        slots_(settings.slots, Seconds()) {
    std::vector<PartitionId> all;
    for (uint16_t p = 0; p < kPartitions; ++p) all.emplace_back(p);
    if (settings.admission_sightings > 0) {
      admission_ = std::make_unique<Admission>(settings.admission_sightings,
                                               SketchWidth(settings.sketch_bytes, kPartitions),
                                               settings.seed, kPartitions, all);
    }
  }

  void Expire() {
    std::map<uint16_t, std::vector<RowAge>> parts;
    for (const auto& [key, row] : rows) {
      parts[runtime::PartitionOf(key, kPartitions).value()].push_back(
          {key, row.last_step, Popularity(row)});
    }
    for (auto& [p, ages] : parts) {
      const uint64_t share = ShareOf(PartitionId(p), kPartitions, settings_.expiry.rows);
      for (const uint64_t key : Expired(ages, settings_.expiry, share, step_)) {
        rows.erase(key);
        ++expired;
      }
    }
  }

  void Step(const std::vector<Columns>& pushes, uint32_t newest) {
    ++step_;
    time_ = std::max(time_, newest);
    std::map<uint64_t, std::pair<std::vector<float>, float>> sums;
    for (const Columns& push : pushes) {
      for (size_t i = 0; i < push.keys.size(); ++i) {
        auto& [sum, count] = sums[push.keys[i]];
        sum.resize(3);
        for (size_t d = 0; d < 3; ++d) sum[d] += push.values[3 * i + d];
        count += push.counts[i];
      }
    }
    if (admission_ != nullptr) {
      for (const auto& [key, sum] : sums) {
        if (!rows.contains(key)) admission_->Count(key, sum.second);
      }
      for (auto it = sums.begin(); it != sums.end();) {
        const bool drop = !rows.contains(it->first) && !admission_->Admits(it->first);
        refused += drop ? 1 : 0;
        it = drop ? sums.erase(it) : std::next(it);
      }
      admission_->EndStep();
    }
    for (const auto& [key, sum] : sums) Update(key, sum.first, sum.second);
    const uint32_t tick = Seconds() ? time_ : step_;
    std::array<double, 2> added{};
    for (size_t c = 0; c < 2; ++c) {
      for (const Columns& push : pushes) added[c] += push.slot_totals[c];
      const Decay decay(settings_.slots[5 * c].half_life);
      totals_[c] = totals_[c] * decay.Factor(total_tick_, tick) + added[c];
    }
    total_tick_ = tick;
    for (const Columns& push : pushes) {
      for (size_t i = 0; i < push.keys.size(); ++i) {
        if (!sums.contains(push.keys[i])) continue;
        Observation observed;
        std::vector<float> values;
        for (size_t s = 0; s < kSlots; ++s) {
          const float value = push.slots[kSlots * i + s];
          if (std::isnan(value)) continue;
          observed.mask |= 1u << s;
          values.push_back(value);
        }
        observed.values = values;
        slots_.Observe(rows[push.keys[i]].extra.data(), observed);
      }
    }
  }

  float Popularity(const TwinRow& row) const {
    const double factor =
        Seconds() ? decay_.Factor(row.time, time_) : decay_.Factor(row.last_step, step_);
    return static_cast<float>(code_.Decode(row.popularity.data()) * factor);
  }
  std::vector<float> Slots(uint64_t key) const {
    std::vector<float> values(kSlots);
    const auto found = rows.find(key);
    if (found == rows.end()) {
      slots_.ReadInitial(values);
    } else {
      const TwinRow& row = found->second;
      slots_.Read(row.extra.data(), Seconds() ? row.time : row.last_step, Seconds() ? time_ : step_,
                  values);
    }
    return values;
  }
  // Of the counters, whether or not their keys have rows.
  const std::array<double, 2>& Totals() const { return totals_; }
  float Stored(const TwinRow& row) const { return code_.Decode(row.popularity.data()); }

  std::map<uint64_t, TwinRow> rows;
  uint64_t refused = 0, expired = 0;

 private:
  bool Seconds() const { return settings_.half_life_seconds > 0; }
  void Update(uint64_t key, std::span<const float> gradient, float count) {
    const auto [it, made] = rows.try_emplace(key);
    TwinRow& row = it->second;
    if (made) {
      row.weights.resize(3);
      initializer_.Fill(key, row.weights);
      row.state.resize(optimizer_->StateFloats(3));
      optimizer_->InitState(row.weights, row.state);
      row.extra.resize(slots_.words() * 4);
      slots_.Init(row.extra.data());
    }
    const double factor =
        Seconds() ? decay_.Factor(row.time, time_) : decay_.Factor(row.last_step, step_);
    const float now = static_cast<float>(Stored(row) * factor) + count;
    code_.Encode(now, PopularityBits(settings_.seed, key, step_), row.popularity.data());
    slots_.Fade(row.extra.data(), Seconds() ? row.time : row.last_step, Seconds() ? time_ : step_);
    row.last_step = step_;
    if (Seconds()) {
      row.time = std::max(row.time, time_);
      RowSlots::SetTime(row.extra.data(), row.time);
    }
    optimizer_->Apply(row.weights, row.state, gradient, {1}, 1);
  }

  const TableSettings settings_;
  const std::unique_ptr<Optimizer> optimizer_;
  const Initializer initializer_;
  const Decay decay_;
  const PopularityCode code_;
  const RowSlots slots_;
  std::unique_ptr<Admission> admission_;
  uint32_t step_ = 0, time_ = 0;
  std::array<double, 2> totals_{};
  uint32_t total_tick_ = 0;
};

// ---- Driving
// -------------------------------------------------------------------------------------

// One step on a cluster: pulls, then pushes in an order of its own, some of them twice.
void StepOf(Cluster& cluster, uint64_t t, std::mt19937_64& random) {
  for (uint32_t m = 0; m < kMicroBatches; ++m) {
    cluster.SendAll("puller", PullHeader(0, t, m, kMicroBatches), RandomMicroBatch(t, m));
  }
  for (const Answer& answer : cluster.Take("puller")) {
    ASSERT_EQ(answer.type(), FrameType::kPullReply) << answer.frame.error_message();
  }
  std::vector<uint32_t> order(kMicroBatches);
  for (uint32_t m = 0; m < kMicroBatches; ++m) order[m] = m;
  std::shuffle(order.begin(), order.end(), random);
  if (random() % 4 == 0) order.push_back(order[0]);
  for (const uint32_t m : order) {
    FrameHeader header = PushHeader(0, t, m, kMicroBatches);
    header.event_time = EventTime(t, m);
    cluster.SendAll("worker", header, RandomMicroBatch(t, m));
  }
  for (const Answer& answer : cluster.Take("worker")) {
    ASSERT_EQ(answer.type(), FrameType::kAck) << answer.frame.error_message();
  }
}

void StepOf(Twin& twin, uint64_t t, const Shape& shape) {
  if (shape.expiry.every_steps > 0 && t > 0 && t % shape.expiry.every_steps == 0) twin.Expire();
  std::vector<Columns> pushes;
  uint32_t newest = 0;
  for (uint32_t m = 0; m < kMicroBatches; ++m) {
    pushes.push_back(RandomMicroBatch(t, m)[0]);
    newest = std::max(newest, EventTime(t, m));
  }
  twin.Step(pushes, newest);
}

void ExpectSameRows(Cluster& cluster, const Twin& twin) {
  size_t rows = 0;
  RetentionCounters counters;
  for (size_t s = 0; s < cluster.size(); ++s) {
    counters.keys_refused += cluster.shard(s).retention(0).keys_refused;
    counters.rows_expired += cluster.shard(s).retention(0).rows_expired;
    for (uint16_t p = 0; p < kPartitions; ++p) {
      cluster.shard(s).table(0).ForEachRow(PartitionId(p), [&](const RowView& row) {
        ++rows;
        const auto found = twin.rows.find(row.key);
        ASSERT_NE(found, twin.rows.end()) << row.key;
        const TwinRow& want = found->second;
        EXPECT_TRUE(std::ranges::equal(row.weights, want.weights)) << row.key;
        EXPECT_TRUE(std::ranges::equal(row.state, want.state)) << row.key;
        EXPECT_TRUE(std::ranges::equal(row.extra, want.extra)) << row.key;
        EXPECT_EQ(row.popularity, twin.Stored(want)) << row.key;
        EXPECT_EQ(row.last_step, want.last_step) << row.key;
      });
    }
  }
  EXPECT_EQ(rows, twin.rows.size());
  EXPECT_EQ(counters.keys_refused, twin.refused);
  EXPECT_EQ(counters.rows_expired, twin.expired);
}

// What is kept of the counters change by change is what their rows say.
void ExpectSummaries(Cluster& cluster, const TableSettings& settings) {
  const RowSlots rules(settings.slots, settings.event_time());
  for (size_t s = 0; s < cluster.size(); ++s) {
    const Table& table = cluster.shard(s).table(0);
    const uint32_t step = cluster.shard(s).position().global_step;
    SlotStats fresh(rules);
    for (uint16_t p = 0; p < kPartitions; ++p) {
      table.ForEachRow(PartitionId(p), [&](const RowView& row) {
        const auto* const extra = row.extra.data();
        fresh.Add(row.key, extra, settings.event_time() ? RowSlots::Time(extra) : row.last_step);
      });
    }
    const auto wanted = fresh.Summaries(settings.event_time() ? table.total().time : step);
    const auto kept = table.counter_summaries(step);
    ASSERT_EQ(kept.size(), 2u);
    for (size_t c = 0; c < 2; ++c) {
      EXPECT_EQ(kept[c].zeros, wanted[c].zeros);
      EXPECT_EQ(kept[c].buckets, wanted[c].buckets);
    }
  }
}

// What a pull of the present version says of every key.
void ExpectServed(Cluster& cluster, const Twin& twin, uint64_t version) {
  Payload all(1);
  for (uint64_t key = 0; key < 900; ++key) all[0].keys.push_back(key);
  all[0].want_slots = true;
  for (size_t s = 0; s < cluster.size(); ++s) {
    const Payload part = cluster.PartOf(s, all);
    FrameHeader header = Header(FrameType::kPull, 0, version);
    header.any_version = true;
    const Answer answer = cluster.Ask(s, header, part);
    ASSERT_EQ(answer.type(), FrameType::kPullReply) << answer.frame.error_message();
    const SectionView& section = answer.frame.sections()[0];
    ASSERT_EQ(section.slots_dim, kSlots);
    EXPECT_THAT(section.slot_totals, ::testing::ElementsAreArray(twin.Totals()));
    for (size_t i = 0; i < part[0].keys.size(); ++i) {
      const uint64_t key = part[0].keys[i];
      const auto found = twin.rows.find(key);
      EXPECT_EQ(section.counts[i], found == twin.rows.end() ? 0 : twin.Popularity(found->second));
      const std::vector<float> slots = twin.Slots(key);
      EXPECT_EQ(std::memcmp(&section.slots[kSlots * i], slots.data(), 4 * kSlots), 0) << key;
    }
  }
}

std::string DigestOf(Cluster& cluster, uint64_t version, const std::string& dir) {
  std::filesystem::create_directories(dir);
  std::vector<Send> out;
  for (size_t s = 0; s < cluster.size(); ++s) {
    EXPECT_TRUE(cluster.shard(s).ReadyForCheckpoint(StageId(0), Step(version), &out).ok());
  }
  const Result<std::string> digest = cluster.Checkpoint(dir, "job");
  EXPECT_TRUE(digest.ok()) << digest.status().ToString();
  return digest.ok() ? *digest : "";
}

class RetentionTest : public ::testing::TestWithParam<Shape> {};

TEST_P(RetentionTest, AnyNumberOfShardsIsThePlainTwin) {
  const Shape shape = GetParam();
  const std::vector<TableSettings> tables = Tables(shape);
  Cluster one(1, tables);
  Cluster four(4, tables);
  std::unique_ptr<Cluster> restored;
  Twin twin(tables[0]);
  std::mt19937_64 random(5);
  const std::string dir = ScratchDir("retention");
  constexpr uint64_t kSteps = 60, kCut = 30;
  for (uint64_t t = 0; t < kSteps; ++t) {
    if (t == kCut) {
      EXPECT_EQ(DigestOf(one, t, dir + "/one"), DigestOf(four, t, dir + "/four"));
      restored = std::make_unique<Cluster>(3, tables);
      const Result<spec::CheckpointManifest> manifest = runtime::ReadManifest(dir + "/four");
      ASSERT_TRUE(manifest.ok());
      for (size_t s = 0; s < 3; ++s) {
        const Status status = RestoreShard(dir + "/four", *manifest, "job", &restored->shard(s));
        ASSERT_TRUE(status.ok()) << status.ToString();
      }
      std::string report;
      EXPECT_TRUE(VerifyCheckpoint(dir + "/four", &report).ok());
    }
    StepOf(one, t, random);
    StepOf(four, t, random);
    if (restored != nullptr) StepOf(*restored, t, random);
    StepOf(twin, t, shape);
    if (t % 7 != 0) continue;
    ExpectSameRows(one, twin);
    ExpectSameRows(four, twin);
    ExpectServed(four, twin, t + 1);
    ExpectSummaries(four, tables[0]);
    if (restored != nullptr) ExpectSummaries(*restored, tables[0]);
    if (HasFailure()) FAIL() << "first at step " << t;
  }
  const std::string digest = DigestOf(one, kSteps, dir + "/one-end");
  EXPECT_EQ(DigestOf(four, kSteps, dir + "/four-end"), digest);
  EXPECT_EQ(DigestOf(*restored, kSteps, dir + "/restored-end"), digest);
  EXPECT_EQ(twin.refused > 0, shape.sightings > 0);
  EXPECT_EQ(twin.expired > 0, shape.expiry.every_steps > 0);
  std::filesystem::remove_all(dir);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, RetentionTest,
    ::testing::Values(
        Shape{4, false, 0, {}}, Shape{1, true, 0, {}}, Shape{2, false, 3, {}},
        Shape{3, false, 0, {.every_steps = 5, .untouched_steps = 8}},
        Shape{1, true, 2, {.every_steps = 6, .popularity_below = 0.4f}},
        Shape{2, false, 2, {.every_steps = 10, .rows = 128}},
        Shape{1,
              false,
              2,
              {.every_steps = 4, .untouched_steps = 15, .popularity_below = 0.05f, .rows = 256}}));

// ---- What surrounds it
// ---------------------------------------------------------------------------

TEST(ExpiryOfShard, TheVersionBeforeIsGoneAndTheNewestRowsStay) {
  std::vector<TableSettings> tables = Tables({4, false, 0, {.every_steps = 3, .rows = 16}});
  Cluster cluster(1, tables);
  std::mt19937_64 random(1);
  for (uint64_t t = 0; t < 3; ++t) StepOf(cluster, t, random);
  const uint64_t before = cluster.shard(0).table(0).rows();
  // A look from outside changes nothing.
  FrameHeader probe = Header(FrameType::kPull, 0, 3);
  probe.any_version = true;
  EXPECT_EQ(cluster.Ask(0, probe, {}).type(), FrameType::kPullReply);
  EXPECT_EQ(cluster.Ask(0, Header(FrameType::kPull, 0, 2), {}).type(), FrameType::kPullReply);
  EXPECT_EQ(cluster.shard(0).table(0).rows(), before);
  EXPECT_EQ(cluster.Ask(0, Header(FrameType::kPull, 0, 3), {}).type(), FrameType::kPullReply);
  EXPECT_LT(cluster.shard(0).table(0).rows(), before);
  EXPECT_EQ(cluster.Ask(0, Header(FrameType::kPull, 0, 2), {}).error(), StatusCode::kStale);
  std::map<uint64_t, bool> newest;
  for (uint32_t m = 0; m < kMicroBatches; ++m) {
    const Payload payload = RandomMicroBatch(2, m);
    for (const uint64_t key : payload[0].keys) newest[key] = true;
  }
  EXPECT_EQ(cluster.shard(0).table(0).rows(), newest.size());
}

TEST(MemoryBudget, ReachingItRefusesThePushAndChangesNothing) {
  std::vector<TableSettings> tables = TwoTables();
  tables[0].dim = 1024;
  Cluster cluster(1, tables, limits::kMaxStagedBytesPerShard, 100, 24 << 20);
  const auto push = [&](uint64_t t) {
    Payload payload(1);
    for (uint64_t k = 0; k < 500; ++k) payload[0].keys.push_back(1000 * t + k);
    payload[0].values.assign(payload[0].keys.size() * 1024, 0.5f);
    payload[0].counts.assign(payload[0].keys.size(), 1);
    return cluster.Ask(0, PushHeader(0, t, 0, 1), payload);
  };
  uint64_t t = 0;
  Answer answer = push(t);
  while (answer.type() == FrameType::kAck) answer = push(++t);
  EXPECT_GT(t, 1u);
  EXPECT_LT(t, 12u);
  EXPECT_EQ(answer.error(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(answer.frame.error_message()),
              HasSubstr("shard 0 has used up its 24 MiB (cluster.memory_per_shard_mib)"));
  EXPECT_THAT(std::string(answer.frame.error_message()), HasSubstr("item"));
  EXPECT_EQ(cluster.shard(0).position().version, Step(t));
  EXPECT_EQ(cluster.shard(0).table(0).rows(), 500 * t);
  EXPECT_LE(cluster.shard(0).memory_bytes(), uint64_t{24} << 20);
  // Rows that exist are trained on.
  Payload known(1);
  known[0].keys = {0, 1};
  known[0].values.assign(2 * 1024, 0.5f);
  EXPECT_EQ(cluster.Ask(0, PushHeader(0, t, 0, 1), known).type(), FrameType::kAck);
}

// `bytes` is what the process has grown by.
TEST(MemoryBudget, BytesAreWhatTheKernelGave) {
  TableSettings settings = TwoTables()[0];
  settings.dim = 32;
  settings.slots = Tables({})[0].slots;
  settings.initializer.mutable_zeros();
  Table table(settings, kPartitions, Range(0, kPartitions));
  std::vector<uint64_t> keys(8192);
  std::vector<Slot> slots(keys.size());
  uint64_t next = 0;
  const auto grow = [&](uint64_t rows) {
    while (table.rows() < rows) {
      for (uint64_t& key : keys) key = runtime::MixKey(++next);
      table.FindOrCreate(keys, slots);
    }
  };
  grow(100'000);  // what is needed once is there
  const uint64_t bytes_before = table.bytes();
  const uint64_t resident_before = ResidentBytes();
  grow(1'200'000);
  const auto bytes = static_cast<double>(table.bytes() - bytes_before);
  const auto resident = static_cast<double>(ResidentBytes() - resident_before);
  EXPECT_GT(resident, 200e6);
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "the thread sanitizer has memory of its own for each page";
#endif
#ifdef __SANITIZE_ADDRESS__
  constexpr double kOff = 0.05;  // the sanitizer's shadow of these bytes is resident, too
#else
  constexpr double kOff = 0.02;
#endif
  EXPECT_NEAR(bytes / resident, 1, kOff);
}

}  // namespace
}  // namespace emporium::ps
