// Slots from a column of the events through workers, shards and checkpoints and back as dense
// inputs: right numbers, the same bits in every shape, and read as they were before the step. Also
// what a job says that outgrows its memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>

#include "ps/hdf5.h"
#include "runtime/manifest.h"
#include "tests/cluster/command.h"

namespace emporium::cluster {
namespace {

constexpr int kSecondsApart = 40;

struct Event {
  uint64_t ad = 0;
  double bid = 0;
  bool click = false;
  uint64_t before = 0;  // an ad of the past
  const char* action = "show";
};

constexpr int64_t kStart = 1'700'000'000;
constexpr const char* kActions[] = {"click", "cart", "pay"};

uint64_t Draw(uint64_t* word) {
  *word = *word * 6364136223846793005u + 1442695040888963407u;
  return *word >> 33;
}

// Few ads that occur often, many that hardly do.
std::vector<Event> Clicks() {
  std::vector<Event> events(12'000);
  uint64_t word = 99;
  for (Event& event : events) {
    const uint64_t draw = Draw(&word);
    event.ad = draw % 7 == 0 ? draw % 5000 : draw % 40;
    event.bid = static_cast<double>(Draw(&word) % 13) / 2 - 1;
    event.click = Draw(&word) % 100 < (event.ad % 10) * 6;
    event.before = 10'000 + Draw(&word) % 50;
    if (event.click) event.action = kActions[Draw(&word) % std::size(kActions)];
  }
  return events;
}

std::string TextOf(const std::vector<Event>& events) {
  std::string text = "ad,bid,time,click,before,action\n";
  int64_t time = kStart;
  for (const Event& event : events) {
    text += std::to_string(event.ad) + "," + std::to_string(event.bid) + "," +
            std::to_string(time += kSecondsApart) + "," + (event.click ? "1," : "0,") +
            std::to_string(event.before) + "," + event.action + "\n";
  }
  return text;
}

// The last `test` events are for the test.
std::string Job(const std::string& of_table, const std::string& of_feature, int dim, int test) {
  const double days = (test - 0.5) * kSecondsApart / 86'400;
  return R"(
    name: "clicks"
    table { name: "ad" optimizer { adagrad { learning_rate: 0.005 } } dim: )" +
         std::to_string(dim) + " " + of_table + R"( }
    data {
      events {
        file: "clicks.csv"
        column { name: "ad" type: INT }
        column { name: "bid" type: FLOAT }
        column { name: "time" type: INT }
        column { name: "click" type: INT }
        column { name: "before" type: INT }
        column { name: "action" }
      }
      label_column: "click" time_column: "time"
      split { last_days { test_days: )" +
         std::to_string(days) + R"( } }
    }
    feature { name: "ad" column: "ad" table: "ad" hashing: IDENTITY )" +
         of_feature + R"( }
    feature { name: "before" column: "before" table: "ad" hashing: IDENTITY sighting: false }
    feature { name: "bid" column: "bid" }
    model { deepfm { hidden: 8 } }
    stage {
      name: "train"
      train {
        pointwise {} micro_batch_size: 64 micro_batches_per_step: 4 in_time_order: true
      }
    }
    stage { name: "test" evaluate {} })";
}

Output RunJob(const TempDir& dir, const std::string& verb, const std::string& name,
              const std::vector<std::string>& flags) {
  std::vector<std::string> arguments = {verb, dir / "job.textproto", "--work_dir=" + (dir / name)};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  return RunEmporium(arguments);
}

std::string Checkpoint(const TempDir& dir, const std::string& name) {
  const auto all = runtime::ListCheckpoints(dir / (name + "/checkpoints"));
  return !all.ok() || all->empty() ? "no checkpoint" : all->back().dir;
}

std::string DigestOf(const TempDir& dir, const std::string& name) {
  const auto manifest = runtime::ReadManifest(Checkpoint(dir, name));
  return manifest.ok() ? manifest->content_digest() : manifest.status().ToString();
}

TEST(Slots, ReachTheModelWithTheSameBitsInEveryShape) {
  const TempDir dir;
  WriteText(dir / "clicks.csv", TextOf(Clicks()));
  WriteText(dir / "job.textproto", Job(R"(
      popularity { half_life_days: 1 bytes: 2 }
      admission { sightings: 2 sketch_mib: 1 }
      expiry { every_steps: 5 untouched_steps: 30 }
      slot { name: "show" fades: true }
      slot { name: "click" when { column: "action" value: "click" } half_life_days: 2 }
      slot { name: "buy" when { column: "action" value: "cart" value: "pay" } }
      slot { name: "ctr" column: "click" update: EMA least_rho: 0.02 }
      slot { name: "highest" column: "bid" update: MAX }
      slot { name: "last" column: "bid" update: SET }
      slot { name: "level" column: "bid" update: LOG_EMA }
      slot { name: "first_seen" column: "time" update: MIN }
      slot { name: "last_pay" column: "time" update: MAX when { column: "action" value: "pay" } })",
                                       R"(
      slot_input { slot: "show" as: IIF } slot_input { slot: "click" as: POPULARITY }
      slot_input { slot: "buy" log1p: true } slot_input { slot: "ctr" }
      slot_input { slot: "highest" } slot_input { slot: "last" } slot_input { slot: "level" }
      slot_input { slot: "first_seen" as: AGE } slot_input { slot: "last_pay" as: AGE })",
                                       4, 1000));
  const auto run = [&](const std::string& verb, const std::string& name,
                       const std::vector<std::string>& flags) {
    const Output output = RunJob(dir, verb, name, flags);
    EXPECT_EQ(output.code, 0) << output.text;
    return DigestOf(dir, name);
  };
  const std::string digest = run("run", "one", {"--workers=1", "--lanes=1"});
  EXPECT_EQ(digest.size(), 64u) << digest;
  EXPECT_EQ(run("launch", "1-4", {"--workers=1", "--servers=1", "--shards_per_server=4"}), digest);
  EXPECT_EQ(run("launch", "2-1", {"--workers=2", "--servers=1", "--shards_per_server=1"}), digest);
  EXPECT_EQ(run("launch", "2-4", {"--workers=2", "--servers=2", "--shards_per_server=2"}), digest);
}

// Words: shows, clicks, last, highest, mean, updates, level, updates, bought, first seen, last
// click
constexpr int kWords = 11;
constexpr const char* kPlainSlots = R"(
  slot { name: "shows" }
  slot { name: "clicks" column: "click" }
  slot { name: "last" column: "bid" update: SET }
  slot { name: "highest" column: "bid" update: MAX initial: 1 }
  slot { name: "mean" column: "bid" update: EMA least_rho: 0 }
  slot { name: "level" column: "bid" update: LOG_EMA least_rho: 0 }
  slot { name: "bought" when { column: "action" value: "cart" value: "pay" } }
  slot { name: "first_seen" column: "time" update: MIN }
  slot { name: "last_click" column: "time" update: MAX when { column: "action" value: "click" } })";

// By ad, what its row in a checkpoint must say after `events`, micro-batch after micro-batch.
std::map<uint64_t, std::array<double, kWords>> PlainSlots(const std::vector<Event>& events) {
  std::map<uint64_t, std::array<double, kWords>> rows;
  for (size_t begin = 0; begin < events.size(); begin += 64) {
    std::map<uint64_t, std::array<double, 3>> means;  // times, sum, sum of exponentials
    for (size_t i = begin; i < std::min(begin + 64, events.size()); ++i) {
      const Event& event = events[i];
      std::array<double, kWords>& row = rows.try_emplace(event.ad).first->second;
      row[3] = std::max({row[0] == 0 ? 1 : row[3], event.bid});
      row[0] += 1;
      row[1] += event.click ? 1 : 0;
      row[2] = event.bid;
      std::array<double, 3>& mean = means[event.ad];
      mean[0] += 1;
      mean[1] += event.bid;
      mean[2] += std::exp(event.bid);
      const std::string action = event.action;
      const auto time = static_cast<double>(kStart + kSecondsApart * static_cast<int64_t>(i + 1));
      if (action == "cart" || action == "pay") row[8] += 1;
      if (row[9] == 0) row[9] = time;
      if (action == "click") row[10] = time;
      rows.try_emplace(event.before).first->second[3] = 1;  // as a row starts
    }
    for (const auto& [ad, mean] : means) {
      std::array<double, kWords>& row = rows[ad];
      const double rho = 1 / (row[5] + 1);
      row[4] += rho * (mean[1] / mean[0] - row[4]);
      row[6] = row[5] == 0 ? std::log(mean[2] / mean[0])
                           : std::log((1 - rho) * std::exp(row[6]) + rho * mean[2] / mean[0]);
      row[5] += 1;
      row[7] += 1;
    }
  }
  return rows;
}

template <class T>
std::vector<T> ReadDataset(hid_t file, const char* name, hid_t type) {
  const ps::Hdf5Handle set(H5Dopen2(file, name, H5P_DEFAULT), H5Dclose);
  const ps::Hdf5Handle space(H5Dget_space(set.id()), H5Sclose);
  std::vector<T> values(static_cast<size_t>(H5Sget_simple_extent_npoints(space.id())));
  EXPECT_GE(H5Dread(set.id(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0) << name;
  return values;
}

// Of the counters of kPlainSlots over the whole table, in every file.
void ExpectTotals(hid_t file, const std::vector<Event>& events) {
  std::vector<double> wanted(3);
  for (const Event& event : events) {
    const std::string action = event.action;
    wanted[0] += 1;
    wanted[1] += event.click ? 1 : 0;
    wanted[2] += action == "cart" || action == "pay" ? 1 : 0;
  }
  EXPECT_EQ(ReadDataset<double>(file, "tables/0/slot_totals", H5T_NATIVE_DOUBLE), wanted);
}

TEST(Slots, HoldWhatTheEventsSaid) {
  const TempDir dir;
  std::vector<Event> events = Clicks();
  WriteText(dir / "clicks.csv", TextOf(events));
  WriteText(dir / "job.textproto", Job(kPlainSlots, "slot_input { slot: \"mean\" }", 4, 1000));
  const Output output =
      RunJob(dir, "launch", "w", {"--workers=2", "--servers=1", "--shards_per_server=3"});
  ASSERT_EQ(output.code, 0) << output.text;
  events.resize(events.size() - 1000);
  const auto expected = PlainSlots(events);
  const auto manifest = runtime::ReadManifest(Checkpoint(dir, "w"));
  ASSERT_TRUE(manifest.ok()) << manifest.status().ToString();
  ASSERT_EQ(manifest->file_size(), 3);
  size_t rows = 0;
  for (const spec::ManifestFile& part : manifest->file()) {
    const std::string path = Checkpoint(dir, "w") + "/" + part.path();
    const ps::Hdf5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose);
    ASSERT_TRUE(file.ok()) << path;
    const auto keys = ReadDataset<uint64_t>(file.id(), "tables/0/key", H5T_NATIVE_UINT64);
    const auto words = ReadDataset<uint32_t>(file.id(), "tables/0/extra", H5T_NATIVE_UINT32);
    ASSERT_EQ(words.size(), keys.size() * kWords);
    ExpectTotals(file.id(), events);
    for (size_t i = 0; i < keys.size(); ++i, ++rows) {
      std::array<float, kWords> row;
      std::memcpy(row.data(), &words[i * kWords], sizeof(row));
      ASSERT_EQ(expected.count(keys[i]), 1u) << keys[i];
      for (size_t w = 0; w < kWords; ++w) {
        // Times are seconds, exact in a double and not in a float.
        const double value =
            w < 9 ? static_cast<double>(row[w]) : static_cast<double>(words[i * kWords + w]);
        EXPECT_NEAR(value, expected.at(keys[i])[w], w < 9 ? 2e-5 : 0) << keys[i] << " word " << w;
      }
    }
  }
  EXPECT_EQ(rows, expected.size());
}

// Who bought what: few users, items that come together.
std::string Purchases() {
  std::string text = "user,item,time,click\n";
  uint64_t word = 7;
  for (int i = 0; i < 3000; ++i) {
    const uint64_t user = Draw(&word) % 40;
    const uint64_t item = (user % 5 + 5 * (Draw(&word) % 8)) % 40;
    text += "u" + std::to_string(user) + "," + std::to_string(item) + "," +
            std::to_string(kStart + i) + "," + std::to_string(Draw(&word) % 2) + "\n";
  }
  return text;
}

// A slot ends near the log of what is usual for its item, which small weights keep about 0, and not
// where it began.
TEST(Slots, AModelFeedsSlotsOfItsOwn) {
  const TempDir dir;
  WriteText(dir / "purchases.csv", Purchases());
  WriteText(dir / "job.textproto", R"(
      name: "feed" seed: 2
      table { name: "item" dim: 4 optimizer { sgd {} } popularity {}
              slot { name: "shown" }
              slot { name: "t" update: LOG_EMA fed_by_model: true initial: -9 }
              slot { name: "e" update: LOG_EMA fed_by_model: true initial: -9 } }
      data {
        events { file: "purchases.csv" column { name: "user" } column { name: "item" type: INT }
                 column { name: "time" type: INT } column { name: "click" type: INT } }
        label_column: "click" user_column: "user" item_column: "item" time_column: "time"
        history { max_length: 5 } split { last_days { test_days: 0.003 } }
      }
      feature { name: "item" column: "item" table: "item" hashing: IDENTITY }
      feature { name: "past" column: "item" table: "item" hashing: IDENTITY source: HISTORY }
      model { nam { pair { target: "item" history: "past" } width: 4 target_slot: "t"
                    event_slot: "e" tower { hidden: 4 } } }
      stage { name: "train" train { pointwise {} micro_batch_size: 64 } }
      stage { name: "test" evaluate {} })");
  const Output output =
      RunJob(dir, "launch", "w", {"--workers=2", "--servers=1", "--shards_per_server=2"});
  ASSERT_EQ(output.code, 0) << output.text;
  const auto manifest = runtime::ReadManifest(Checkpoint(dir, "w"));
  ASSERT_TRUE(manifest.ok()) << manifest.status().ToString();
  size_t rows = 0;
  for (const spec::ManifestFile& part : manifest->file()) {
    const std::string path = Checkpoint(dir, "w") + "/" + part.path();
    const ps::Hdf5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose);
    ASSERT_TRUE(file.ok()) << path;
    const auto words = ReadDataset<uint32_t>(file.id(), "tables/0/extra", H5T_NATIVE_UINT32);
    ASSERT_EQ(words.size() % 5, 0u);  // shown, t, its updates, e, its updates
    for (size_t i = 0; i < words.size(); i += 5, ++rows) {
      std::array<float, 5> row;
      std::memcpy(row.data(), &words[i], sizeof(row));
      EXPECT_GT(row[0], 10);
      for (const size_t slot : {1, 3}) {
        EXPECT_GT(row[slot + 1], 10);
        EXPECT_LT(std::abs(row[slot]), 2);
      }
    }
  }
  EXPECT_EQ(rows, 40u);
}

// Every ad comes round once in a step; its label tells whether its bid was high the time before,
// which nothing but a slot knows.
TEST(Slots, AreReadAsOfBeforeTheStep) {
  constexpr size_t kAds = 256;
  std::vector<Event> events(kAds * 120);
  uint64_t word = 5;
  for (size_t i = 0; i < events.size(); ++i) {
    const double before = i < kAds ? 0 : events[i - kAds].bid;
    events[i] = {i % kAds, static_cast<double>(Draw(&word) % 100) / 50 - 1, before > 0};
  }
  const TempDir dir;
  WriteText(dir / "clicks.csv", TextOf(events));
  const auto auc = [&](const std::string& name, const std::string& input) {
    WriteText(dir / "job.textproto",
              Job("slot { name: \"last\" column: \"bid\" update: SET }", input, 4, kAds));
    const Output output = RunJob(dir, "run", name, {});
    const size_t at = output.text.find("model ");
    EXPECT_TRUE(output.code == 0 && at != std::string::npos) << output.text;
    return at == std::string::npos ? 0 : std::stod(output.text.substr(at + 6));
  };
  EXPECT_LT(auc("without", ""), 0.65);
  EXPECT_GT(auc("with", "slot_input { slot: \"last\" }"), 0.98);
}

TEST(Memory, AJobThatOutgrowsItStopsAndSaysWhy) {
  const TempDir dir;
  WriteText(dir / "clicks.csv", TextOf(Clicks()));
  WriteText(dir / "job.textproto",
            Job(kPlainSlots, "", 512, 1000) + " cluster { memory_per_shard_mib: 4 }");
  const Output output = RunJob(dir, "run", "w", {});
  EXPECT_EQ(output.code, 1) << output.text;
  EXPECT_NE(output.text.find("shard 0 has used up its 4 MiB (cluster.memory_per_shard_mib)"),
            std::string::npos)
      << output.text;
}

}  // namespace
}  // namespace emporium::cluster
