#include "worker/counters.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

namespace emporium::worker {
namespace {

constexpr double kDay = 86400;

}  // namespace

Result<std::unique_ptr<ItemCounters>> ItemCounters::Create(const Dataset& dataset,
                                                           const History& history,
                                                           const spec::PopularityLogit& spec,
                                                           size_t cache_bytes) {
  std::unique_ptr<ItemCounters> counters(new ItemCounters);  // NOLINT: private constructor
  counters->items_ = dataset.items();
  counters->cache_bytes_ = cache_bytes;
  counters->series_.resize(2);
  for (int k = 0; k < spec.counter_size(); ++k) {
    const auto& wanted = spec.counter(k);
    Counter counter;
    counter.series = wanted.first_of_user() ? 1 : 0;
    counter.window = static_cast<double>(wanted.window_days()) * kDay;
    counter.half_life = static_cast<double>(wanted.half_life_days()) * kDay;
    const double length = wanted.has_half_life_days() ? counter.half_life : counter.window;
    if (!(length > 0) || std::isinf(length)) {
      return InvalidArgument("model.two_tower.popularity.counter " + std::to_string(k) +
                             ": set window_days or half_life_days to a number above 0");
    }
    if (counters->series_[static_cast<size_t>(counter.series)].offset.empty()) {
      counters->FillSeries(dataset, history, wanted.first_of_user());
    }
    if (wanted.has_half_life_days()) {
      counters->FillDecayed(&counter);
    }
    counters->counters_.push_back(std::move(counter));
  }
  counters->catalogue_bytes_ =
      static_cast<size_t>(counters->items_) * counters->counters_.size() * sizeof(float);
  return counters;
}

void ItemCounters::FillSeries(const Dataset& dataset, const History& history, bool first_of_user) {
  Series& series = series_[first_of_user ? 1 : 0];
  series.offset.assign(1, 0);
  for (int32_t item = 0; item < items_; ++item) {
    for (const int32_t event : dataset.events_of_item(item)) {
      if (history.Counted(event) && (!first_of_user || history.FirstOfKnownUser(event))) {
        series.time.push_back(dataset.event_time()[static_cast<size_t>(event)]);
      }
    }
    series.offset.push_back(static_cast<int64_t>(series.time.size()));
  }
}

void ItemCounters::FillDecayed(Counter* counter) const {
  const Series& series = series_[static_cast<size_t>(counter->series)];
  counter->decayed.resize(series.time.size());
  for (size_t item = 0; item + 1 < series.offset.size(); ++item) {
    double sum = 0;
    const auto begin = static_cast<size_t>(series.offset[item]);
    for (size_t i = begin; i < static_cast<size_t>(series.offset[item + 1]); ++i) {
      const double gap = i == begin ? 0 : series.time[i] - series.time[i - 1];
      sum = sum * std::exp2(-gap / counter->half_life) + 1;
      counter->decayed[i] = sum;
    }
  }
}

int64_t ItemCounters::EventsOf(const Counter& counter, int32_t item, double reference) const {
  const Series& series = series_[static_cast<size_t>(counter.series)];
  const auto i = static_cast<size_t>(item);
  const double* begin = series.time.data() + series.offset[i];
  const double* end = series.time.data() + series.offset[i + 1];
  const double* before = std::lower_bound(begin, end, reference);
  if (counter.half_life == 0) {
    begin = std::lower_bound(begin, before, reference - counter.window);
  }
  return before - begin;
}

double ItemCounters::CountOf(const Counter& counter, int32_t item, int64_t events,
                             double reference) const {
  if (counter.half_life == 0 || events == 0) {
    return static_cast<double>(events);
  }
  const Series& series = series_[static_cast<size_t>(counter.series)];
  const auto last = static_cast<size_t>(series.offset[static_cast<size_t>(item)] + events - 1);
  return counter.decayed[last] * std::exp2(-(reference - series.time[last]) / counter.half_life);
}

void ItemCounters::LogCounts(int32_t item, double reference, float* out) const {
  for (const Counter& counter : counters_) {
    const int64_t events = EventsOf(counter, item, reference);
    *out++ = static_cast<float>(std::log1p(CountOf(counter, item, events, reference)));
  }
}

std::shared_ptr<const std::vector<float>> ItemCounters::Catalogue(double reference) const {
  {
    runtime::MutexLock lock(mutex_);
    for (auto it = kept_.begin(); it != kept_.end(); ++it) {
      if (it->first == reference) {
        kept_.splice(kept_.begin(), kept_, it);
        return it->second;
      }
    }
  }
  const size_t k = counters_.size();
  auto counts = std::make_shared<std::vector<float>>(static_cast<size_t>(items_) * k);
  for (int32_t item = 0; item < items_; ++item) {
    LogCounts(item, reference, counts->data() + static_cast<size_t>(item) * k);
  }
  runtime::MutexLock lock(mutex_);
  kept_.emplace_front(reference, counts);
  while (kept_.size() > 1 && kept_.size() * catalogue_bytes_ > cache_bytes_) {
    kept_.pop_back();
  }
  return counts;
}

}  // namespace emporium::worker
