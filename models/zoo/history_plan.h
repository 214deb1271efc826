// Which events of a batch's histories enter the user tower, and in which bucket of time each falls.
// Pure functions, safe from any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/batch.h"
#include "models/random.h"

namespace emporium::models {

// Events that were kept: sample b has event[offset[b] .. offset[b + 1]), oldest first, as indices
// into HistoryColumns.
struct HistoryPlan {
  std::vector<int32_t> offset;
  std::vector<int32_t> event;

  int32_t length(int32_t b) const { return offset[b + 1] - offset[b]; }
};

// With `random` and a rate above 0, each event of a history of at least four is dropped with
// probability `rate`; where that would leave none, all stay. `items_only` leaves out search events.
HistoryPlan PlanHistory(const HistoryColumns& history, int32_t samples, bool items_only, float rate,
                        Random* random);

// Number of edges that are <= days: bucket k is [edge k-1, edge k).
int32_t BucketOf(float days, std::span<const float> edges);

}  // namespace emporium::models
