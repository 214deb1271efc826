// The loops of ps/initializer.h: a row's values from its stream of words, for one level of vector
// instructions each. Every level gives the same bits. Values only; safe from any thread.
#pragma once

#include <cstdint>
#include <span>

#include "proto/simd.h"

namespace emporium::ps {

inline constexpr uint64_t kStreamStep = 0x9e3779b97f4a7c15u;  // 2^64 / golden ratio, odd

struct UniformRange {
  double low = 0;
  double width = 0;
  float below_high = 0;  // the largest float that is still inside
};

// The normal distribution between two of its quantiles.
struct NormalRange {
  double mean = 0;
  double stddev = 0;
  double from = 0;   // the lower quantile's probability
  double width = 1;  // and the distance to the upper one's
};

// Value i is made of Mix(stream + (i + 1) * kStreamStep).
void FillUniform(SimdLevel level, uint64_t stream, const UniformRange& range,
                 std::span<float> values);
void FillNormal(SimdLevel level, uint64_t stream, const NormalRange& range,
                std::span<float> values);

// The value below which a standard normal variable falls with probability `p` in (0, 1), to about
// seven digits. Deterministic on every machine.
double NormalQuantile(double p);

}  // namespace emporium::ps
