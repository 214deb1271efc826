#include "models/zoo/history_plan.h"

#include <algorithm>

#include "proto/check.h"

namespace emporium::models {

namespace {

constexpr int32_t kShortestThinned = 4;

}  // namespace

HistoryPlan PlanHistory(const HistoryColumns& history, int32_t samples, bool items_only, float rate,
                        Random* random) {
  EMPORIUM_CHECK(static_cast<int32_t>(history.offset.size()) == samples + 1,
                 "every sample has a history, be it empty");
  HistoryPlan plan;
  plan.offset.push_back(0);
  std::vector<int32_t> thinned;
  for (int32_t b = 0; b < samples; ++b) {
    const auto first = static_cast<std::ptrdiff_t>(plan.event.size());
    for (int32_t j = history.offset[b]; j < history.offset[b + 1]; ++j) {
      if (!items_only || history.item[j] >= 0) plan.event.push_back(j);
    }
    const auto count = static_cast<int32_t>(plan.event.size()) - static_cast<int32_t>(first);
    if (random != nullptr && rate > 0 && count >= kShortestThinned) {
      thinned.clear();
      for (int32_t k = 0; k < count; ++k) {
        if (random->Uniform() >= rate) thinned.push_back(plan.event[first + k]);
      }
      if (!thinned.empty()) {
        plan.event.resize(static_cast<size_t>(first));
        plan.event.insert(plan.event.end(), thinned.begin(), thinned.end());
      }
    }
    plan.offset.push_back(static_cast<int32_t>(plan.event.size()));
  }
  return plan;
}

int32_t BucketOf(float days, std::span<const float> edges) {
  return static_cast<int32_t>(std::upper_bound(edges.begin(), edges.end(), days) - edges.begin());
}

}  // namespace emporium::models
