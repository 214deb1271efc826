#include "worker/pointwise_negatives.h"

#include <algorithm>
#include <vector>

namespace emporium::worker {

void PointwiseNegatives::Draw(const NegativeSampler& sampler, RandomStream* random,
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
    sampler.DrawUnless(holds, random, &samples->item);
    samples->of.resize(samples->item.size(), static_cast<int32_t>(i));
  }
}

}  // namespace emporium::worker
