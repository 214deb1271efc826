#include "worker/dense_reduce.h"

#include <algorithm>
#include <utility>

#include "proto/check.h"

namespace emporium::worker {

ReducePlan::ReducePlan(size_t floats, std::vector<uint32_t> owners, uint32_t ranks)
    : floats_(floats), owners_(std::move(owners)), ranks_(ranks) {
  EMPORIUM_CHECK(ranks_ > 0 && !owners_.empty(), "somebody computed something");
  EMPORIUM_CHECK(std::all_of(owners_.begin(), owners_.end(), [this](auto r) { return r < ranks_; }),
                 "owners are ranks");
}

ReducePlan::Segment ReducePlan::segment(uint32_t rank) const {
  const size_t blocks = (floats_ + kAlignFloats - 1) / kAlignFloats;
  const auto begin = [&](size_t r) {
    return std::min(floats_, blocks * r / ranks_ * kAlignFloats);
  };
  return {begin(rank), begin(size_t{rank} + 1) - begin(rank)};
}

std::vector<ReducePlan::Transfer> ReducePlan::Sends(uint32_t rank) const {
  std::vector<Transfer> sends;
  for (uint32_t m = 0; m < micro_batches(); ++m) {
    if (owners_[m] != rank) continue;
    for (uint32_t peer = 0; peer < ranks_; ++peer) {
      if (peer != rank && segment(peer).floats > 0) sends.push_back({peer, m, segment(peer)});
    }
  }
  return sends;
}

std::vector<ReducePlan::Transfer> ReducePlan::Receives(uint32_t rank) const {
  std::vector<Transfer> receives;
  if (segment(rank).floats == 0) return receives;
  for (uint32_t m = 0; m < micro_batches(); ++m) {
    if (owners_[m] != rank) receives.push_back({owners_[m], m, segment(rank)});
  }
  return receives;
}

}  // namespace emporium::worker
