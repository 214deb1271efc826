#include "worker/pointwise_negatives.h"

#include <algorithm>
#include <utility>

#include "worker/key_plan.h"

namespace emporium::worker {
namespace {

bool Holds(const std::vector<int32_t>& sorted, int32_t item) {
  return std::binary_search(sorted.begin(), sorted.end(), item);
}

}  // namespace

void PointwiseNegatives::Draw(const NegativeSampler& sampler, RandomStream* random,
                              PointwiseSamples* samples) const {
  std::vector<int32_t> refused;
  for (size_t i = 0; i < samples->rows.size(); ++i) {
    const auto event = static_cast<size_t>(samples->rows[i]);
    refused.assign(1, dataset_.event_item()[event]);
    const Reference before = {dataset_.event_user()[event], history_.IndexOf(samples->rows[i]), 0};
    history_.ForEachPastItem(before, [&refused](int32_t item) { refused.push_back(item); });
    std::sort(refused.begin(), refused.end());
    sampler.DrawUnless([&refused](int32_t item) { return Holds(refused, item); }, random,
                       &samples->item);
    samples->of.resize(samples->item.size(), static_cast<int32_t>(i));
  }
}

std::vector<int32_t> PointwiseNegatives::NeverHad(int32_t user, uint32_t count) const {
  std::vector<int32_t> had;
  for (const int32_t event : dataset_.events_of_user(user)) {
    const int32_t item = dataset_.event_item()[static_cast<size_t>(event)];
    if (item >= 0) had.push_back(item);
  }
  std::sort(had.begin(), had.end());
  had.erase(std::unique(had.begin(), had.end()), had.end());
  const auto all = static_cast<uint64_t>(dataset_.items());
  RandomStream random(seed_, Purpose::kRanked, {static_cast<uint64_t>(user)});
  if (all - had.size() > 2 * uint64_t{count}) {
    Interner drawn(count);
    while (drawn.size() < count) {
      const uint64_t item = random.Below(all);
      if (!Holds(had, static_cast<int32_t>(item))) drawn.Index(item);
    }
    return {drawn.values().begin(), drawn.values().end()};
  }
  // So few that drawing again and again would take long: shuffle them.
  std::vector<int32_t> items;
  for (int32_t item = 0; item < dataset_.items(); ++item) {
    if (!Holds(had, item)) items.push_back(item);
  }
  for (size_t i = 0; i < items.size() && i < count; ++i) {
    std::swap(items[i], items[i + random.Below(items.size() - i)]);
  }
  items.resize(std::min<size_t>(items.size(), count));
  return items;
}

}  // namespace emporium::worker
