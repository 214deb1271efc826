// Popularity of items as of a moment, for the learned popularity part of a logit:
// log(1 + count_k(item, R)), where only events before R count.
//
//   window w days      events with R - w <= time < R
//   half-life h days   sum over events with time < R of 2^-((R - time) / h)
//   first_of_user      of these, only the first event of each (user, item), of users with an
//   earlier
//                      event
//
// An item's count is found by binary search among its events, so it costs the same at any moment.
// Where many samples share a moment (midnight), whole catalogues of counts are kept by R, as many
// as fit into a bound. Whoever wants the whole catalogue at many moments takes a CounterCursor
// (worker/counter_cursor.h). Safe from any thread.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <vector>

#include "proto/job.pb.h"
#include "proto/status.h"
#include "runtime/thread_annotations.h"
#include "worker/dataset.h"
#include "worker/history.h"

namespace emporium::worker {

class ItemCounters {
 public:
  // `cache_bytes` bounds the kept catalogues.
  static Result<std::unique_ptr<ItemCounters>> Create(const Dataset& dataset,
                                                      const History& history,
                                                      const spec::PopularityLogit& spec,
                                                      size_t cache_bytes);
  int32_t count() const { return static_cast<int32_t>(counters_.size()); }  // K

  // log(1 + count) of item as of R, for each of the K counters.
  void LogCounts(int32_t item, double reference, float* out) const;
  // The same of every item: [items, K]. Kept for the next who asks.
  std::shared_ptr<const std::vector<float>> Catalogue(double reference) const;
  // Whether a catalogue is small enough to be kept.
  bool Keeps() const { return catalogue_bytes_ <= cache_bytes_; }

 private:
  friend class CounterCursor;

  // Times of the events that a counter sees, by item, and for half-lives the decayed count just
  // after each.
  struct Series {
    std::vector<int64_t> offset;  // [items + 1]
    std::vector<double> time;
  };
  struct Counter {
    int series = 0;
    double window = 0;     // seconds; 0: a half-life
    double half_life = 0;  // seconds
    std::vector<double> decayed;
  };
  ItemCounters() = default;
  void FillSeries(const Dataset& dataset, const History& history, bool first_of_user);
  void FillDecayed(Counter* counter) const;
  // Of a window: events in it; of a half-life: all events before R.
  int64_t EventsOf(const Counter& counter, int32_t item, double reference) const;
  // The count, given the number of these events.
  double CountOf(const Counter& counter, int32_t item, int64_t events, double reference) const;

  int32_t items_ = 0;
  size_t cache_bytes_ = 0;
  size_t catalogue_bytes_ = 0;
  std::vector<Series> series_;  // 0: all events, 1: first of user
  std::vector<Counter> counters_;

  mutable runtime::Mutex mutex_;
  // Newest use first. Shared, because a catalogue may be dropped while a batch still reads it.
  mutable std::list<std::pair<double, std::shared_ptr<const std::vector<float>>>> kept_
      EMPORIUM_GUARDED_BY(mutex_);
};

}  // namespace emporium::worker
