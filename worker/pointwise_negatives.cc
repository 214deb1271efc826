#include "worker/pointwise_negatives.h"

#include <algorithm>
#include <vector>

#include "worker/never_had.h"
#include "worker/scenarios.h"

namespace emporium::worker {

PointwiseNegatives::PointwiseNegatives(const Dataset& dataset, const History& history,
                                       const std::vector<uint8_t>& scenario_of, int scenarios,
                                       uint64_t seed)
    : dataset_(dataset),
      history_(history),
      scenario_of_(scenario_of),
      items_(ItemsOfScenarios(dataset, scenario_of, scenarios)),
      seed_(seed) {}

std::vector<NegativeSampler> PointwiseNegatives::Samplers(
    const NegativeSampler::Spec& negatives, const std::vector<int64_t>& events_of_item) const {
  std::vector<NegativeSampler> samplers;
  for (const std::vector<int32_t>& items : items_) {
    if (items.empty()) {  // nothing is of this scenario, so nothing is drawn in it
      samplers.emplace_back(NegativeSampler::Spec(), events_of_item);
      continue;
    }
    std::vector<int64_t> events;
    events.reserve(items.size());
    for (const int32_t item : items) events.push_back(events_of_item[static_cast<size_t>(item)]);
    samplers.emplace_back(negatives, items, events);
  }
  return samplers;
}

void PointwiseNegatives::Draw(std::span<const NegativeSampler> samplers, RandomStream* random,
                              PointwiseSamples* samples) const {
  std::vector<int32_t> refused;
  for (size_t i = 0; i < samples->rows.size(); ++i) {
    const auto event = static_cast<size_t>(samples->rows[i]);
    refused.assign(1, dataset_.event_item()[event]);
    const Reference before = {dataset_.event_user()[event], history_.IndexOf(samples->rows[i]), 0};
    history_.ForEachPastItem(before, [&refused](int32_t item) { refused.push_back(item); });
    std::sort(refused.begin(), refused.end());
    const auto holds = [&refused](int32_t item) {
      return std::binary_search(refused.begin(), refused.end(), item);
    };
    samplers[ScenarioOf(samples->rows[i])].DrawUnless(holds, random, &samples->item);
    samples->of.resize(samples->item.size(), static_cast<int32_t>(i));
  }
}

std::vector<int32_t> PointwiseNegatives::NeverHad(int64_t event, uint32_t count) const {
  const size_t scenario = ScenarioOf(event);
  return worker::NeverHad(dataset_, items_[scenario],
                          {seed_, dataset_.event_user()[static_cast<size_t>(event)], scenario},
                          count);
}

}  // namespace emporium::worker
