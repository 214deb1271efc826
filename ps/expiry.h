// Which rows of a partition go: not touched for long, too little popular, or more than the
// partition's share of the table's rows. Pure functions; safe from any thread.
//
// A partition is decided by its own rows alone, so how partitions are divided among shards cannot
// show. The share of partition p of P in a budget of n rows is floor(n (p + 1) / P) -
// floor(n p / P): keys are hashed, so partitions differ by about the square root of their rows, and
// so much sooner or later the fuller ones lose rows.
#pragma once

#include <cstdint>
#include <vector>

#include "proto/ids.h"

namespace emporium::ps {

struct ExpiryRules {
  uint64_t every_steps = 0;      // 0: rows never go
  uint64_t untouched_steps = 0;  // 0: no such rule
  float popularity_below = 0;    // 0: no such rule
  uint64_t rows = 0;             // of the whole table; 0: no such rule
};

struct RowAge {
  uint64_t key = 0;
  uint32_t last_step = 0;
  float popularity = 0;  // as of the step
};

uint64_t ShareOf(PartitionId partition, uint32_t partitions, uint64_t rows);

// The keys that go at `step`, ascending. A row that `step` itself touched stays. Beyond `share` (if
// the rules have a budget) the least popular go first, of equally popular ones the larger key.
std::vector<uint64_t> Expired(std::vector<RowAge> rows, const ExpiryRules& rules, uint64_t share,
                              uint32_t step);

}  // namespace emporium::ps
