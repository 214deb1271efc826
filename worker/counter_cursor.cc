#include "worker/counter_cursor.h"

#include <algorithm>
#include <cmath>

#include "proto/check.h"

namespace emporium::worker {

CounterCursor::CounterCursor(const Dataset& dataset, const History& history,
                             const ItemCounters& counters)
    : dataset_(dataset),
      history_(history),
      counters_(counters),
      positions_(counters.counters_.size()),
      log_counts_(static_cast<size_t>(counters.items_) * counters.counters_.size()) {}

std::span<const float> CounterCursor::MoveTo(double reference) {
  EMPORIUM_CHECK(!reference_ || *reference_ <= reference, "a cursor of counters never goes back");
  if (reference_ != reference) {
    for (size_t k = 0; k < positions_.size(); ++k) {
      if (reference_) {
        Advance(k, reference);
      } else {
        Start(k, reference);
      }
    }
    reference_ = reference;
  }
  return log_counts_;
}

size_t CounterCursor::EventsBefore(double time) const {
  const std::span<const double> times = dataset_.event_time();
  return static_cast<size_t>(std::lower_bound(times.begin(), times.end(), time) - times.begin());
}

void CounterCursor::Start(size_t k, double reference) {
  const ItemCounters::Counter& counter = counters_.counters_[k];
  const bool window = counter.half_life == 0;
  Position& position = positions_[k];
  position.end = EventsBefore(reference);
  position.begin = window ? EventsBefore(reference - counter.window) : 0;
  position.count.resize(static_cast<size_t>(counters_.items_));
  for (int32_t item = 0; item < counters_.items_; ++item) {
    position.count[static_cast<size_t>(item)] = counters_.EventsOf(counter, item, reference);
  }
  WriteAll(k, reference);
}

void CounterCursor::Advance(size_t k, double reference) {
  const ItemCounters::Counter& counter = counters_.counters_[k];
  const bool window = counter.half_life == 0;
  const std::span<const double> times = dataset_.event_time();
  Position& position = positions_[k];
  touched_.clear();
  auto add = [&](size_t event, int64_t change) {
    if (!Sees(k, event)) return;
    const int32_t item = dataset_.event_item()[event];
    position.count[static_cast<size_t>(item)] += change;
    touched_.push_back(item);
  };
  for (; position.end < times.size() && times[position.end] < reference; ++position.end) {
    add(position.end, 1);
  }
  const double start = reference - counter.window;
  for (; window && position.begin < times.size() && times[position.begin] < start;
       ++position.begin) {
    add(position.begin, -1);
  }
  if (!window || touched_.size() >= position.count.size()) {
    WriteAll(k, reference);
    return;
  }
  for (const int32_t item : touched_) Write(k, item, reference);
}

bool CounterCursor::Sees(size_t k, size_t event) const {
  const auto e = static_cast<int32_t>(event);
  return dataset_.event_item()[event] >= 0 && history_.Counted(e) &&
         (counters_.counters_[k].series == 0 || history_.FirstOfKnownUser(e));
}

void CounterCursor::Write(size_t k, int32_t item, double reference) {
  const auto i = static_cast<size_t>(item);
  log_counts_[i * positions_.size() + k] = static_cast<float>(std::log1p(
      counters_.CountOf(counters_.counters_[k], item, positions_[k].count[i], reference)));
}

void CounterCursor::WriteAll(size_t k, double reference) {
  for (int32_t item = 0; item < counters_.items_; ++item) Write(k, item, reference);
}

}  // namespace emporium::worker
