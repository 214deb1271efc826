// The ranks of what a user is to be found by one ranking: among the whole catalogue and, where the
// batch says so, among sampled items. A model and the floors beside it are ranked alike. Pure
// function, safe from any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/batch_source.h"
#include "worker/ranking.h"

namespace emporium::worker {

struct UserRanks {
  std::vector<int32_t> all;      // of the targets among all items but the masked, ascending
  std::vector<int32_t> sampled;  // of each target among the batch's ranked items; or none
};

// `scores` of all items for user `row` of the batch. Ties among sampled items go to the lower
// number whatever `ties` says.
UserRanks RankUser(const EvalBatch& batch, size_t row, std::span<const float> scores, TieRule ties);

}  // namespace emporium::worker
