// How the counters among a table's slots stand over its rows: of each the histogram and the largest
// that popularity has too (ps/popularity_stats.h), kept up to date row by row. For people and
// metrics; no bit of the training depends on it. A counter below zero is filed as zero.
//
// Belongs to the shard's thread. Invariant: rows are removed as they were added or last settled.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ps/popularity_stats.h"
#include "ps/row_slots.h"

namespace emporium::ps {

class SlotStats {
 public:
  explicit SlotStats(const RowSlots& slots);  // which outlives it

  // A row with these extras, touched at `tick`.
  void Add(uint64_t key, const std::byte* extras, uint32_t tick);
  void Remove(uint64_t key, const std::byte* extras, uint32_t tick);
  // Around a change of one row: as it is, and then as it has become.
  void Hold(const std::byte* extras, uint32_t tick);
  void Settle(uint64_t key, const std::byte* extras, uint32_t tick);
  void Clear();

  bool empty() const { return stats_.empty(); }
  // Of each counter, as of the tick.
  std::vector<PopularitySummary> Summaries(uint32_t now) const;

 private:
  float Count(size_t counter, const std::byte* extras) const;

  const RowSlots* slots_;
  std::vector<PopularityStats> stats_;  // by counter
  std::vector<float> held_;             // by counter
  uint32_t held_tick_ = 0;
};

}  // namespace emporium::ps
