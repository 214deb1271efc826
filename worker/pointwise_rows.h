// Which events train, validate and test a model that scores samples: files, the last days by the
// time column, the last events of each user, or none held out. Values; any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "proto/job.pb.h"
#include "proto/status.h"
#include "worker/dataset.h"

namespace emporium::worker {

// Positions of events, ascending: a range or, where `list` is not empty, a list.
struct EventRows {
  int64_t begin = 0;
  int64_t end = 0;
  std::vector<int32_t> list;

  int64_t size() const { return list.empty() ? end - begin : static_cast<int64_t>(list.size()); }
  int64_t at(int64_t i) const { return list.empty() ? begin + i : list[static_cast<size_t>(i)]; }
  std::vector<int64_t> All() const;
};

struct SplitEvents {
  EventRows train;
  EventRows validation;
  EventRows test;
};
Result<SplitEvents> SplitEventsOf(const Dataset& dataset, const spec::Split& split);

}  // namespace emporium::worker
