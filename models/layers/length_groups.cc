#include "models/layers/length_groups.h"

#include <ATen/ops/cat.h>

#include <algorithm>
#include <map>
#include <utility>

#include "models/rows.h"

namespace emporium::models {

namespace {

// Sequences of one group are at most so many times as long as each other, so that little is padded
// and few groups are made.
constexpr int32_t kSpread = 4;

at::Tensor Joined(const std::vector<at::Tensor>& parts) {
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

}  // namespace

LengthGroups::LengthGroups(Pass& pass, std::span<const int32_t> offset) : pass_(pass) {
  const auto length_of = [offset](int32_t b) { return offset[b + 1] - offset[b]; };
  const auto samples = static_cast<int32_t>(offset.size()) - 1;
  std::map<int32_t, std::vector<int32_t>> by_bound;  // sequences by the bound of their lengths
  for (int32_t b = 0; b < samples; ++b) {
    if (length_of(b) == 0) continue;
    int32_t bound = kSpread;
    while (bound < length_of(b)) bound *= kSpread;
    by_bound[bound].push_back(b);
  }
  std::vector<int32_t> place(static_cast<size_t>(offset.back()), -1);
  std::vector<int32_t> sequence(static_cast<size_t>(samples), -1);
  int32_t next = 0;
  int32_t next_sequence = 0;
  for (auto& [bound, sequences] : by_bound) {
    LengthGroup group;
    group.sequences = pass.Keep(std::move(sequences));
    for (int32_t b : group.sequences) {
      group.length = std::max<int64_t>(group.length, length_of(b));
    }
    std::vector<int32_t> row;
    for (int32_t b : group.sequences) {
      sequence[static_cast<size_t>(b)] = next_sequence++;
      for (int32_t j = 0; j < group.length; ++j, ++next) {
        row.push_back(j < length_of(b) ? offset[b] + j : -1);
        if (row.back() >= 0) place[static_cast<size_t>(row.back())] = next;
      }
    }
    group.row = pass.Keep(std::move(row));
    groups_.push_back(group);
  }
  place_ = pass.Keep(std::move(place));
  sequence_ = pass.Keep(std::move(sequence));
}

at::Tensor LengthGroups::Join(const std::vector<at::Tensor>& parts) const {
  return TakeRows(pass_, Joined(parts), place_);
}

at::Tensor LengthGroups::JoinSequences(const std::vector<at::Tensor>& parts) const {
  return TakeRows(pass_, Joined(parts), sequence_);
}

}  // namespace emporium::models
