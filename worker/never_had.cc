#include "worker/never_had.h"

#include <algorithm>
#include <utility>

#include "worker/key_plan.h"
#include "worker/sampler.h"

namespace emporium::worker {

std::vector<int32_t> NeverHad(const Dataset& dataset, uint64_t seed, int32_t user, uint32_t count) {
  std::vector<int32_t> had;
  for (const int32_t event : dataset.events_of_user(user)) {
    const int32_t item = dataset.event_item()[static_cast<size_t>(event)];
    if (item >= 0) had.push_back(item);
  }
  std::sort(had.begin(), had.end());
  had.erase(std::unique(had.begin(), had.end()), had.end());
  const auto holds = [&had](int32_t item) {
    return std::binary_search(had.begin(), had.end(), item);
  };
  const auto all = static_cast<uint64_t>(dataset.items());
  RandomStream random(seed, Purpose::kRanked, {static_cast<uint64_t>(user)});
  if (all - had.size() > 2 * uint64_t{count}) {
    Interner drawn(count);
    while (drawn.size() < count) {
      const uint64_t item = random.Below(all);
      if (!holds(static_cast<int32_t>(item))) drawn.Index(item);
    }
    return {drawn.values().begin(), drawn.values().end()};
  }
  // So few that drawing again and again would take long: shuffle them.
  std::vector<int32_t> items;
  for (int32_t item = 0; item < dataset.items(); ++item) {
    if (!holds(item)) items.push_back(item);
  }
  for (size_t i = 0; i < items.size() && i < count; ++i) {
    std::swap(items[i], items[i + random.Below(items.size() - i)]);
  }
  items.resize(std::min<size_t>(items.size(), count));
  return items;
}

}  // namespace emporium::worker
