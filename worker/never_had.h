// The items that an evaluated event is ranked among (job.proto, Evaluate.sampled_negatives). A pure
// function; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "worker/dataset.h"

namespace emporium::worker {

// Who is asked; nothing else decides what is drawn, so every model of a job is asked the same.
struct Asked {
  uint64_t seed = 0;
  int32_t user = 0;
  size_t scenario = 0;
};

// `count` distinct items of `among` (distinct) that occur in no event of the user, drawn uniformly;
// all of them when there are not so many more.
std::vector<int32_t> NeverHad(const Dataset& dataset, std::span<const int32_t> among,
                              const Asked& asked, uint32_t count);

}  // namespace emporium::worker
