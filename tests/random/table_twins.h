// What the tests of a table and its plain twin share: settings of every kind, and rows as text.
#pragma once

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "proto/element.h"
#include "ps/table.h"

namespace emporium::ps {

inline constexpr uint32_t kPartitions = 64;

inline TableSettings Settings(const std::string& optimizer, uint32_t dim) {
  TableSettings settings;
  settings.id = TableId(0);
  settings.name = "items";
  settings.dim = dim;
  settings.seed = 5;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(optimizer, &settings.optimizer));
  settings.initializer.mutable_normal()->set_stddev(0.1f);
  settings.popularity = true;
  settings.half_life_steps = 20;
  return settings;
}

// What a table keeps beside weights and optimizer state.
enum class Extras { kNone, kSlots, kSlotsByEventTime };

// `popularity_bytes` 0: none.
inline void Keep(uint32_t popularity_bytes, Extras extras, TableSettings* settings) {
  settings->popularity = popularity_bytes > 0;
  settings->popularity_bytes = std::max(popularity_bytes, 1u);
  if (!settings->popularity) settings->half_life_steps = 0;
  if (extras == Extras::kNone) return;
  const bool seconds = settings->popularity && extras == Extras::kSlotsByEventTime;
  if (seconds) {
    settings->half_life_steps = 0;
    settings->half_life_seconds = 300;
  }
  const double half_life = !settings->popularity ? 0 : seconds ? 300 : 20;
  settings->slots = {{spec::Slot::ADD, half_life, 0, 0}, {spec::Slot::SET, 0, 0, 3},
                     {spec::Slot::MAX, 0, 0, -9},        {spec::Slot::MIN, 0, 0, 9},
                     {spec::Slot::EMA, 0, 0.2f, 0},      {spec::Slot::LOG_EMA, 0, 0.1f, -1},
                     {spec::Slot::MAX, 0, 0, 0, true},   {spec::Slot::ADD, half_life / 3, 0, 0}};
}

inline std::vector<float> RandomFloats(size_t n, std::mt19937_64& random) {
  std::uniform_real_distribution<float> values(-1, 1);
  std::vector<float> floats(n);
  for (float& value : floats) value = values(random);
  return floats;
}

// What was observed of some rows, a third of it missing. The rows' values point into `values`.
struct Observations {
  std::vector<float> values;
  std::vector<Observation> rows;
};
inline Observations RandomObservations(const TableSettings& settings, size_t rows,
                                       std::mt19937_64& random) {
  const size_t slots = settings.slots.size();
  Observations all;
  all.values = RandomFloats(rows * slots, random);
  for (size_t i = 0; i < rows; ++i) {
    Observation row;
    size_t next = i * slots;
    for (size_t s = 0; s < slots; ++s) {
      if (random() % 3 == 0) continue;
      row.mask |= 1u << s;
      if (settings.slots[s].time) {
        all.values[next] =
            std::bit_cast<float>(1'700'000'000 + static_cast<uint32_t>(random() % 99));
      }
      ++next;
    }
    row.values = std::span(all.values).subspan(i * slots, next - i * slots);
    all.rows.push_back(row);
  }
  return all;
}

// Everything that a row holds.
inline std::string TextOf(const RowView& row) {
  std::string text(reinterpret_cast<const char*>(row.raw.data()), row.raw.size());
  text.append(reinterpret_cast<const char*>(row.state.data()), row.state.size_bytes());
  text.append(reinterpret_cast<const char*>(row.extra.data()), row.extra.size());
  return text + " " + std::to_string(row.key) + " " + std::to_string(row.popularity) + " " +
         std::to_string(row.last_step) + " " + std::to_string(row.updates);
}

template <class AnyTable>
std::vector<std::string> TextOf(const AnyTable& table) {
  std::vector<std::string> rows;
  for (uint32_t p = 0; p < kPartitions; ++p) {
    table.ForEachRow(PartitionId(static_cast<uint16_t>(p)),
                     [&](const RowView& row) { rows.push_back(TextOf(row)); });
  }
  return rows;
}

}  // namespace emporium::ps
