// The items that an evaluated event is ranked among (job.proto, Evaluate.sampled_negatives). A pure
// function; any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/dataset.h"

namespace emporium::worker {

// `count` distinct items that occur in no event of the user, drawn uniformly; all of them when
// there are not so many more. A function of (seed, user) and the data, so every model of a job
// is asked the same.
std::vector<int32_t> NeverHad(const Dataset& dataset, uint64_t seed, int32_t user, uint32_t count);

}  // namespace emporium::worker
