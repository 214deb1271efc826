// The simple rankings that a model has to beat, computed on the same users, targets and masks and
// by the same ranking code as the model:
//
//   popularity  items by the number of their events in a window before the reference time (0 days:
//               all that is known). Ties go to the higher item number, that is to the item first
//               sold latest.
//   item-kNN    score(j) = sum over the distinct items i of the user's past, i != j, of
//               |U_i and U_j| / sqrt(|U_i| |U_j|), U_i the users with i in their past. No
//               neighbourhood cut, no weights. Ties go to the lower item number.
//
// Known events are those before the split's cut or, under leave-one-out, all but every user's
// held-out ones. The reference time is the cut or, under leave-one-out, the time of the user's own
// held-out event. Search events (no item) do not count.
//
// Immutable after Create; any thread. The dataset must outlive it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "proto/job.pb.h"
#include "proto/status.h"
#include "worker/batch_source.h"
#include "worker/dataset.h"
#include "worker/user_ranks.h"

namespace emporium::worker {

class Floors {
 public:
  // InvalidArgument when the split holds nothing out.
  static Result<Floors> Create(const Dataset& dataset, const spec::Split& split, EvalSplit on,
                               std::vector<double> window_days);

  // Prefixes of metric names: "floor_pop30d_", "floor_popall_", ..., at last "floor_knn_".
  const std::vector<std::string>& names() const { return names_; }
  // Ranks of the targets of each user of the batch by each floor, [floor][user].
  std::vector<std::vector<UserRanks>> Rank(const EvalBatch& batch) const;

 private:
  Floors(const Dataset& dataset, std::vector<double> window_days);
  Status FindPast(const spec::Split& split, EvalSplit on);
  void KeepKnown(const std::vector<uint8_t>& known);

  std::vector<UserRanks> RankByPopularity(const EvalBatch& batch, double days) const;
  std::vector<UserRanks> RankByNeighbours(const EvalBatch& batch) const;
  std::span<const int32_t> ItemsOf(int32_t user) const;
  std::span<const int32_t> UsersOf(int32_t item) const;

  const Dataset& dataset_;
  std::vector<double> window_days_;
  std::vector<std::string> names_;
  std::vector<double> reference_;   // by user, seconds
  std::vector<double> known_time_;  // known events in order of time
  std::vector<int32_t> known_item_;
  // Distinct (user, item) pairs of the known events, both ways; items and users ascend.
  std::vector<int64_t> item_offset_;  // by user
  std::vector<int32_t> item_;
  std::vector<int64_t> user_offset_;  // by item
  std::vector<int32_t> user_;
};

}  // namespace emporium::worker
