// How popular the rows of a table are, as a whole: a histogram for quantiles and the most popular
// keys, kept up to date row by row. For people and metrics; no bit of the training depends on it.
//
// The count c of a row that was brought forward at tick s is filed under log2(c) + s / half life,
// which does not change while it fades: reading at tick t subtracts t / half life. Buckets are a
// quarter of an octave wide; log2 is taken linearly between powers of two (off by at most 0.09), so
// a quantile is right within a factor of 1.3. Histograms of shards merge by adding up; the most
// popular are exact except that a key which rounding or a removal has let fall is missed until the
// next Clear and refill (every expiry).
//
// Belongs to the shard's thread. Invariant: Remove is called with exactly what was added.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "proto/limits.h"

namespace emporium::ps {

struct KeyCount {
  uint64_t key = 0;
  double count = 0;
  friend bool operator==(const KeyCount&, const KeyCount&) = default;
};

// As of some tick.
struct PopularitySummary {
  // Rows by bucket: bucket b holds counts in [2^(b/4), 2^((b+1)/4)), roughly.
  std::vector<std::pair<int32_t, uint64_t>> buckets;  // ascending, without empty ones
  uint64_t zeros = 0;                                 // rows with no count at all
  std::vector<KeyCount> top;                          // most popular first, ties by key
};

class PopularityStats {
 public:
  static constexpr size_t kTop = limits::kPopularKeys;

  explicit PopularityStats(double half_life);  // in ticks; 0: counts do not fade

  void Add(uint64_t key, float count, uint32_t tick);
  void Remove(uint64_t key, float count, uint32_t tick);
  void Change(uint64_t key, float from, uint32_t from_tick, float to, uint32_t to_tick);
  // As Change for a row whose key is not told: it is not among the most popular.
  void Move(float from, uint32_t from_tick, float to, uint32_t to_tick);
  void Clear();

  PopularitySummary Summary(uint32_t now) const;

 private:
  struct Entry {
    uint64_t key = 0;
    double filed = 0;
    float count = 0;
    uint32_t tick = 0;
  };
  double FiledUnder(float count, uint32_t tick) const;
  void Bump(double filed, int64_t by);
  void Offer(uint64_t key, double filed, float count, uint32_t tick);
  void DropFromTop(uint64_t key);
  void FindWeakest();

  double per_tick_;   // 1 / half life, or 0
  int64_t base_ = 0;  // bucket of counts_[0]
  std::vector<uint64_t> counts_;
  uint64_t below_ = 0;  // rows whose bucket is below base_
  uint64_t zeros_ = 0;
  std::vector<Entry> top_;  // at most kTop, in no order
  size_t weakest_ = 0;      // of top_, when it is full
};

}  // namespace emporium::ps
