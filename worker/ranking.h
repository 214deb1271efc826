// Exact ranking of the whole catalogue: inner products of users with all items, and the ranks of a
// user's targets among them. Pure functions of their arguments; any thread.
//
// The sum of an inner product runs over the dimensions in order, without fused operations, so that
// the same vectors give the same bits however users are grouped.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "proto/status.h"

namespace emporium::worker {

// Vectors of the catalogue, laid out so that one dimension of many items lies side by side.
class ItemMatrix {
 public:
  ItemMatrix(int32_t items, int32_t width);

  int32_t items() const { return items_; }
  int32_t width() const { return width_; }
  // Row-major vectors of the items [first, first + rows).
  void Set(int32_t first, std::span<const float> vectors);
  // scores[i] = <user, item i> for all items. InvalidArgument when one is not a finite number.
  Status Score(std::span<const float> user, std::span<float> scores) const;

 private:
  int32_t items_;
  int32_t width_;
  std::vector<float> values_;  // [blocks, width, kBlock]
};

// Which of two items with equal scores comes first.
enum class TieRule : uint8_t {
  kLowerNumberFirst,   // models and item-kNN
  kHigherNumberFirst,  // popularity floors: the item first sold latest (items are numbered by time)
};

// Appends to `ranks` the ranks (from 1, ascending) of `targets` (distinct) among all items but
// `masked` (distinct). A target that is also masked counts as not masked.
void RankTargets(std::span<const float> scores, std::span<const int32_t> targets,
                 std::span<const int32_t> masked, TieRule ties, std::vector<int32_t>* ranks);

// The numbers of the k best items, best first, ties to the lower number; fewer when there are fewer
// items that are not masked.
std::vector<int32_t> TopItems(std::span<const float> scores, std::span<const int32_t> masked,
                              int32_t k);

}  // namespace emporium::worker
