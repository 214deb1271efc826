#include "ps/popularity_stats.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "proto/exact_math.h"

namespace emporium::ps {
namespace {

constexpr double kPerOctave = limits::kPopularityBucketsPerOctave;
constexpr int64_t kBuckets = 1024;  // 256 octaves: more than floats have

double Log2(float count) {
  return static_cast<double>(std::bit_cast<uint32_t>(count)) * 0x1p-23 - 127;
}

int64_t BucketOf(double filed) { return static_cast<int64_t>(std::floor(filed * kPerOctave)); }

}  // namespace

PopularityStats::PopularityStats(double half_life)
    : per_tick_(half_life > 0 ? 1 / half_life : 0), counts_(kBuckets) {
  Clear();
}

double PopularityStats::FiledUnder(float count, uint32_t tick) const {
  return Log2(count) + tick * per_tick_;
}

void PopularityStats::Bump(double filed, int64_t by) {
  const int64_t bucket = BucketOf(filed);
  if (bucket >= base_ + kBuckets) {
    // What falls out at the lower end is told apart no more.
    const int64_t shift = std::min(bucket - (base_ + kBuckets) + 1 + kBuckets / 4, kBuckets);
    for (int64_t i = 0; i < shift; ++i) below_ += counts_[static_cast<size_t>(i)];
    std::rotate(counts_.begin(), counts_.begin() + shift, counts_.end());
    std::fill(counts_.end() - shift, counts_.end(), uint64_t{0});
    base_ = bucket - kBuckets + 1 + kBuckets / 4;
  }
  uint64_t& cell = bucket < base_ ? below_ : counts_[static_cast<size_t>(bucket - base_)];
  cell += static_cast<uint64_t>(by);
}

void PopularityStats::Add(uint64_t key, float count, uint32_t tick) {
  if (count == 0) {
    ++zeros_;
    return;
  }
  const double filed = FiledUnder(count, tick);
  Bump(filed, 1);
  Offer(key, filed, count, tick);
}

void PopularityStats::Remove(uint64_t key, float count, uint32_t tick) {
  if (count == 0) {
    --zeros_;
    return;
  }
  Bump(FiledUnder(count, tick), -1);
  DropFromTop(key);
}

void PopularityStats::Change(uint64_t key, float from, uint32_t from_tick, float to,
                             uint32_t to_tick) {
  if (from == 0 || to == 0) {
    Remove(key, from, from_tick);
    Add(key, to, to_tick);
    return;
  }
  Move(from, from_tick, to, to_tick);
  const double before = FiledUnder(from, from_tick);
  const double after = FiledUnder(to, to_tick);
  const bool full = top_.size() == kTop;
  if (full && after <= top_[weakest_].filed && before < top_[weakest_].filed) return;
  DropFromTop(key);
  Offer(key, after, to, to_tick);
}

void PopularityStats::Move(float from, uint32_t from_tick, float to, uint32_t to_tick) {
  const auto bump = [this](float count, uint32_t tick, int64_t by) {
    if (count == 0) {
      zeros_ += static_cast<uint64_t>(by);
    } else {
      Bump(FiledUnder(count, tick), by);
    }
  };
  bump(from, from_tick, -1);
  bump(to, to_tick, 1);
}

void PopularityStats::Offer(uint64_t key, double filed, float count, uint32_t tick) {
  if (top_.size() < kTop) {
    top_.push_back({key, filed, count, tick});
  } else if (filed > top_[weakest_].filed) {
    top_[weakest_] = {key, filed, count, tick};
  } else {
    return;
  }
  FindWeakest();
}

void PopularityStats::DropFromTop(uint64_t key) {
  const auto found =
      std::find_if(top_.begin(), top_.end(), [key](const Entry& e) { return e.key == key; });
  if (found == top_.end()) return;
  *found = top_.back();
  top_.pop_back();
  FindWeakest();
}

void PopularityStats::FindWeakest() {
  const auto weaker = [](const Entry& a, const Entry& b) {
    return a.filed != b.filed ? a.filed < b.filed : a.key > b.key;
  };
  weakest_ = static_cast<size_t>(std::min_element(top_.begin(), top_.end(), weaker) - top_.begin());
}

void PopularityStats::Clear() {
  std::fill(counts_.begin(), counts_.end(), uint64_t{0});
  base_ = -kBuckets / 2;
  below_ = 0;
  zeros_ = 0;
  top_.clear();
  weakest_ = 0;
}

PopularitySummary PopularityStats::Summary(uint32_t now) const {
  PopularitySummary summary;
  summary.zeros = zeros_ + below_;
  const auto faded = static_cast<int64_t>(std::lround(now * per_tick_ * kPerOctave));
  for (int64_t i = 0; i < kBuckets; ++i) {
    const uint64_t rows = counts_[static_cast<size_t>(i)];
    if (rows > 0) summary.buckets.emplace_back(static_cast<int32_t>(base_ + i - faded), rows);
  }
  for (const Entry& entry : top_) {
    const double factor = HalfToThe(now > entry.tick ? (now - entry.tick) * per_tick_ : 0);
    summary.top.push_back({entry.key, entry.count * factor});
  }
  std::sort(summary.top.begin(), summary.top.end(), [](const KeyCount& a, const KeyCount& b) {
    return a.count != b.count ? a.count > b.count : a.key < b.key;
  });
  return summary;
}

}  // namespace emporium::ps
