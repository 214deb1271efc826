#include "worker/never_had.h"

#include <algorithm>
#include <utility>

#include "worker/key_plan.h"
#include "worker/sampler.h"

namespace emporium::worker {
namespace {

RandomStream StreamOf(const Asked& asked) {
  const auto user = static_cast<uint64_t>(asked.user);
  if (asked.scenario == 0) return RandomStream(asked.seed, Purpose::kRanked, {user});
  return RandomStream(asked.seed, Purpose::kRanked, {user, asked.scenario});
}

}  // namespace

std::vector<int32_t> NeverHad(const Dataset& dataset, std::span<const int32_t> among,
                              const Asked& asked, uint32_t count) {
  std::vector<int32_t> had;
  for (const int32_t event : dataset.events_of_user(asked.user)) {
    const int32_t item = dataset.event_item()[static_cast<size_t>(event)];
    if (item >= 0) had.push_back(item);
  }
  std::sort(had.begin(), had.end());
  had.erase(std::unique(had.begin(), had.end()), had.end());
  const auto holds = [&had](int32_t item) {
    return std::binary_search(had.begin(), had.end(), item);
  };
  RandomStream random = StreamOf(asked);
  if (among.size() > had.size() + 2 * size_t{count}) {
    Interner drawn(count);
    while (drawn.size() < count) {
      const int32_t item = among[random.Below(among.size())];
      if (!holds(item)) drawn.Index(static_cast<uint64_t>(item));
    }
    return {drawn.values().begin(), drawn.values().end()};
  }
  // So few that drawing again and again would take long: shuffle them.
  std::vector<int32_t> items;
  for (const int32_t item : among) {
    if (!holds(item)) items.push_back(item);
  }
  for (size_t i = 0; i < items.size() && i < count; ++i) {
    std::swap(items[i], items[i + random.Below(items.size() - i)]);
  }
  items.resize(std::min<size_t>(items.size(), count));
  return items;
}

}  // namespace emporium::worker
