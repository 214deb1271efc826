#include "worker/user_ranks.h"

#include "worker/pointwise_eval.h"

namespace emporium::worker {

namespace {

std::span<const int32_t> Part(const std::vector<int32_t>& values,
                              const std::vector<int32_t>& offset, size_t row) {
  return std::span(values).subspan(static_cast<size_t>(offset[row]),
                                   static_cast<size_t>(offset[row + 1] - offset[row]));
}

}  // namespace

UserRanks RankUser(const EvalBatch& batch, size_t row, std::span<const float> scores,
                   TieRule ties) {
  UserRanks ranks;
  const std::span<const int32_t> targets = Part(batch.target, batch.target_offset, row);
  RankTargets(scores, targets, Part(batch.masked, batch.masked_offset, row), ties, &ranks.all);
  if (batch.ranked_offset.empty()) return ranks;
  const std::span<const int32_t> sampled = Part(batch.ranked_item, batch.ranked_offset, row);
  if (sampled.empty()) return ranks;
  std::vector<float> among;
  among.reserve(sampled.size());
  for (const int32_t item : sampled) among.push_back(scores[static_cast<size_t>(item)]);
  for (const int32_t target : targets) {
    const uint32_t rank = RankAmong(scores[static_cast<size_t>(target)], target, among, sampled);
    ranks.sampled.push_back(static_cast<int32_t>(rank));
  }
  return ranks;
}

}  // namespace emporium::worker
