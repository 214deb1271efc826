// The scenario of each event, as data.scenario names them. Values; any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "proto/job.pb.h"
#include "proto/status.h"
#include "worker/dataset.h"

namespace emporium::worker {

// By event, the number of its value in data.scenario.value; empty where the job has no scenarios.
// InvalidArgument names a value that is not listed.
Result<std::vector<uint8_t>> ScenariosOf(const Dataset& dataset, const spec::Data& data);

// [scenarios][...]: the items that have an event in each, ascending. Without scenarios (an empty
// `scenario_of`) all items, as if there were one.
std::vector<std::vector<int32_t>> ItemsOfScenarios(const Dataset& dataset,
                                                   const std::vector<uint8_t>& scenario_of,
                                                   int scenarios);

}  // namespace emporium::worker
