#include "ps/slot_stats.h"

#include <algorithm>

namespace emporium::ps {

SlotStats::SlotStats(const RowSlots& slots) : slots_(&slots), held_(slots.counters().size()) {
  for (const uint32_t slot : slots.counters()) stats_.emplace_back(slots.half_life(slot));
}

float SlotStats::Count(size_t counter, const std::byte* extras) const {
  return std::max(slots_->Value(extras, slots_->counters()[counter]), 0.0f);
}

void SlotStats::Add(uint64_t key, const std::byte* extras, uint32_t tick) {
  for (size_t c = 0; c < stats_.size(); ++c) stats_[c].Add(key, Count(c, extras), tick);
}

void SlotStats::Remove(uint64_t key, const std::byte* extras, uint32_t tick) {
  for (size_t c = 0; c < stats_.size(); ++c) stats_[c].Remove(key, Count(c, extras), tick);
}

void SlotStats::Hold(const std::byte* extras, uint32_t tick) {
  for (size_t c = 0; c < stats_.size(); ++c) held_[c] = Count(c, extras);
  held_tick_ = tick;
}

void SlotStats::Settle(uint64_t key, const std::byte* extras, uint32_t tick) {
  for (size_t c = 0; c < stats_.size(); ++c) {
    const float now = Count(c, extras);
    const bool fades = slots_->half_life(slots_->counters()[c]) > 0;
    if (now == held_[c] && (now == 0 || !fades || tick == held_tick_)) continue;
    stats_[c].Change(key, held_[c], held_tick_, now, tick);
  }
}

void SlotStats::Clear() {
  for (PopularityStats& stats : stats_) stats.Clear();
}

std::vector<PopularitySummary> SlotStats::Summaries(uint32_t now) const {
  std::vector<PopularitySummary> summaries;
  summaries.reserve(stats_.size());
  for (const PopularityStats& stats : stats_) summaries.push_back(stats.Summary(now));
  return summaries;
}

}  // namespace emporium::ps
