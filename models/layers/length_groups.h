// Sequences that lie one after another without padding, in groups of like length: what is taken
// over a sequence's own elements is computed group by group, each padded to its longest sequence
// alone. Belongs to one pass; what it gives keeps its place in the graph.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "models/pass.h"

namespace emporium::models {

struct LengthGroup {
  std::span<const int32_t> sequences;  // which, ascending
  int64_t length = 0;                  // of the longest
  std::span<const int32_t> row;        // [sequences * length]: elements; -1: padding behind them

  int64_t size() const { return static_cast<int64_t>(sequences.size()); }
};

class LengthGroups {
 public:
  // Sequence b is the elements offset[b] .. offset[b + 1]. One without elements is in no group.
  LengthGroups(Pass& pass, std::span<const int32_t> offset);

  const std::vector<LengthGroup>& groups() const { return groups_; }
  // What came of each group, [size * length, n] in the groups' order, as rows of elements [P, n].
  at::Tensor Join(const std::vector<at::Tensor>& parts) const;
  // The same of what has one row a sequence: [size, n] as [B, n], zeros for those in no group.
  at::Tensor JoinSequences(const std::vector<at::Tensor>& parts) const;

 private:
  Pass& pass_;
  std::vector<LengthGroup> groups_;
  std::span<const int32_t> place_;     // of each element among the rows of all groups
  std::span<const int32_t> sequence_;  // of each sequence among those of all groups; -1: in none
};

}  // namespace emporium::models
