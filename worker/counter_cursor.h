// The counters of the whole catalogue at one moment after another: a pass over the events between
// the moments and, for half-lives, which decay on their own, over the items.
// ItemCounters::LogCounts is the plain twin, which searches for every item every time.
//
// Gives the bits of LogCounts, whatever the moments before were. One thread at a time; refers to
// what it was made of.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "worker/counters.h"
#include "worker/dataset.h"
#include "worker/history.h"

namespace emporium::worker {

class CounterCursor {
 public:
  CounterCursor(const Dataset& dataset, const History& history, const ItemCounters& counters);

  // log(1 + count_k(item, R)) of every item: [items, K], valid until the next call. R never goes
  // back.
  std::span<const float> MoveTo(double reference);

 private:
  struct Position {
    size_t end = 0;              // events that lie before R
    size_t begin = 0;            // window: events that lie before its start
    std::vector<int64_t> count;  // by item: events that the counter sees in between
  };

  size_t EventsBefore(double time) const;
  void Start(size_t k, double reference);
  void Advance(size_t k, double reference);
  bool Sees(size_t k, size_t event) const;
  void Write(size_t k, int32_t item, double reference);
  void WriteAll(size_t k, double reference);

  const Dataset& dataset_;
  const History& history_;
  const ItemCounters& counters_;
  std::optional<double> reference_;
  std::vector<Position> positions_;  // by counter
  std::vector<int32_t> touched_;     // kept for its memory
  std::vector<float> log_counts_;
};

}  // namespace emporium::worker
