#include "worker/sampler.h"

#include <bit>
#include <cmath>
#include <numbers>
#include <numeric>

#include "proto/check.h"

namespace emporium::worker {
namespace {

constexpr int kRounds = 6;

}  // namespace

double RandomStream::Normal() {
  const double radius = std::sqrt(-2 * std::log(1 - Unit()));
  return radius * std::cos(2 * std::numbers::pi * Unit());
}

Permutation::Permutation(uint64_t n, uint64_t key) : n_(n), key_(key) {
  EMPORIUM_CHECK(n > 0 && n < (1ull << 62), "a permutation of something");
  half_bits_ = (std::bit_width(n - 1) + 1) / 2;
  half_bits_ = half_bits_ == 0 ? 1 : half_bits_;
}

uint64_t Permutation::operator()(uint64_t i) const {
  EMPORIUM_CHECK(i < n_, "a position of the permutation");
  const uint64_t mask = (1ull << half_bits_) - 1;
  do {
    uint64_t left = i >> half_bits_;
    uint64_t right = i & mask;
    for (uint64_t round = 0; round < kRounds; ++round) {
      const uint64_t next = left ^ (Mix(Mix(key_ + round) ^ right) & mask);
      left = right;
      right = next;
    }
    i = left << half_bits_ | right;
  } while (i >= n_);
  return i;
}

AliasTable::AliasTable(std::span<const double> weights)
    : slots_(weights.size()), probability_(weights.begin(), weights.end()) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  EMPORIUM_CHECK(sum > 0 && weights.size() < UINT32_MAX, "some weight is above zero");
  std::vector<double> scaled(weights.size());
  std::vector<uint32_t> small;
  std::vector<uint32_t> large;
  for (uint32_t i = 0; i < weights.size(); ++i) {
    probability_[i] /= sum;
    scaled[i] = probability_[i] * static_cast<double>(weights.size());
    (scaled[i] < 1 ? small : large).push_back(i);
  }
  while (!small.empty() && !large.empty()) {
    const uint32_t s = small.back();
    const uint32_t l = large.back();
    small.pop_back();
    slots_[s] = {scaled[s], l};
    scaled[l] -= 1 - scaled[s];
    if (scaled[l] < 1) {
      large.pop_back();
      small.push_back(l);
    }
  }
  // Rounding may leave a small one over: it is full but for an error, unless it can never be drawn.
  uint32_t heaviest = 0;
  for (uint32_t i = 0; i < weights.size(); ++i) {
    heaviest = weights[i] > weights[heaviest] ? i : heaviest;
  }
  for (const uint32_t s : small) {
    slots_[s] = weights[s] > 0 ? Slot{1, s} : Slot{0, heaviest};
  }
  for (const uint32_t l : large) {
    slots_[l] = {1, l};
  }
}

uint64_t AliasTable::Draw(RandomStream* random) const {
  const uint64_t slot = random->Below(slots_.size());
  return random->Unit() < slots_[slot].keep ? slot : slots_[slot].other;
}

}  // namespace emporium::worker
