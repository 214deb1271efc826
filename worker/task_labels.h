// What each event is to a model that scores samples: the label of every task, and how the samples
// of an evaluation are grouped. Made once; functions of the job file and the data alone. Any
// thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "proto/job.pb.h"
#include "proto/status.h"
#include "worker/dataset.h"

namespace emporium::worker {

// [tasks][events]: 0 or 1, or log(1 + label).
using TaskLabels = std::vector<std::vector<float>>;

// Of the job's tasks or, where it names none, of data.label_column with `positive_from`; without
// that too, every event is a positive, and negatives are sampled.
// Percentiles are those of the events of `training` (positions among all).
Result<TaskLabels> LabelsOfTasks(const Dataset& dataset, const spec::Job& job, double positive_from,
                                 std::span<const int64_t> training);

// The groups that grouped metrics are over: users, and what data.group_column holds (sessions).
struct Grouping {
  std::string metric;              // "gauc", "s_gauc"
  std::span<const int32_t> codes;  // by event, or
  std::span<const int64_t> ints;

  uint64_t of(int64_t event) const {
    const auto at = static_cast<size_t>(event);
    return static_cast<uint64_t>(codes.empty() ? ints[at] : codes[at]);
  }
};
Result<std::vector<Grouping>> GroupingsOf(const Dataset& dataset, const spec::Data& data);
// The metrics of these groupings, in their order.
std::vector<std::string> GroupedMetrics(const spec::Data& data);

// By item: 0: among the first 1 % by events of `training`, 1: among the next 19 %, 2: not. Ties to
// the item of the lower number.
std::vector<uint8_t> PopularityBuckets(const Dataset& dataset, std::span<const int64_t> training);

}  // namespace emporium::worker
