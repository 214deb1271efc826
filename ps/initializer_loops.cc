// The plain path takes the branches of algorithm AS 241; the others compute what every branch
// would, several values at a time, and choose.
#include "ps/initializer_loops.h"

#include <array>
#include <bit>
#include <cmath>

#include "proto/mix.h"

namespace emporium::ps {
namespace {

// -- Whole numbers as doubles, by moves that every vector unit has: exact --

// Below 2^52.
EMPORIUM_INLINE double Exactly(uint64_t n) {
  return std::bit_cast<double>(n | 0x4330000000000000u) - 0x1p52;
}

// In (0, 1): the middle of one of 2^52 equal cells.
EMPORIUM_INLINE double OpenUnit(uint64_t word) { return (Exactly(word >> 12) + 0.5) * 0x1p-52; }
// In [0, 1): a multiple of 2^-53.
EMPORIUM_INLINE double HalfOpenUnit(uint64_t word) {
  return (Exactly(word >> 43) * 0x1p32 + Exactly((word >> 11) & 0xffffffffu)) * 0x1p-53;
}

// -- The normal distribution's quantiles: AS 241 (Wichura 1988), PPND7 --

// Coefficients of atanh(s) / s in powers of s^2: 1 / (2 k + 1).
constexpr auto kAtanh = [] {
  std::array<double, 11> c{};
  for (size_t k = 0; k < c.size(); ++k) c[k] = 1 / static_cast<double>(2 * k + 1);
  return c;
}();

// The series from term k on, unrolled so that the loops around it are vector code.
template <size_t k>
EMPORIUM_INLINE double AtanhSeries(double s2) {
  if constexpr (k + 1 == kAtanh.size()) {
    return kAtanh[k];
  } else {
    return AtanhSeries<k + 1>(s2) * s2 + kAtanh[k];
  }
}

// Of a positive normal number, by +, -, *, / alone: x = m 2^e with m in [sqrt(1/2), sqrt(2)), and
// log m = 2 atanh((m - 1) / (m + 1)) as a series. Off by a few units in the last place.
EMPORIUM_INLINE double Log(double x) {
  constexpr double kLn2 = 0.693147180559945309417;
  constexpr double kSqrtHalf = 0.707106781186547524401;
  const auto bits = std::bit_cast<uint64_t>(x);
  const double fraction = std::bit_cast<double>((bits & 0x000fffffffffffffu) | 0x3fe0000000000000u);
  const bool low = fraction < kSqrtHalf;
  const double m = low ? fraction * 2 : fraction;
  const double exponent = Exactly(bits >> 52) - (low ? 1023.0 : 1022.0);
  const double s = (m - 1) / (m + 1);  // |s| < 0.172
  const double s2 = s * s;
  return exponent * kLn2 + 2 * s * AtanhSeries<0>(s2);
}

// Values are ratios: one function in the middle, two others in the tails by the distance r that the
// algorithm measures there.
struct Ratio {
  double over = 0;
  double under = 0;
};
EMPORIUM_INLINE Ratio Middle(double q) {
  const double r = 0.180625 - q * q;
  return {q * (((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179),
          ((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1.0};
}
EMPORIUM_INLINE Ratio NearTail(double r) {
  r -= 1.6;
  return {((0.17023821103 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777,
          (0.12021132975 * r + 0.73700164250) * r + 1.0};
}
EMPORIUM_INLINE Ratio FarTail(double r) {
  r -= 5;
  return {((0.017337203997 * r + 0.42868294337) * r + 3.0812263860) * r + 6.6579051150,
          (0.012258202635 * r + 0.24197894225) * r + 1.0};
}
EMPORIUM_INLINE double Value(Ratio ratio) { return ratio.over / ratio.under; }
constexpr double kMiddle = 0.425;  // of |p - 1/2|
constexpr double kNear = 5;        // of r

// -- Rows --

EMPORIUM_INLINE void UniformBody(uint64_t stream, const UniformRange& range, float* values,
                                 size_t n) {
  const double low = range.low;
  const double width = range.width;
  const float below_high = range.below_high;
  for (size_t i = 0; i < n; ++i) {
    const uint64_t word = MixBits(stream + (i + 1) * kStreamStep);
    const auto x = static_cast<float>(low + width * HalfOpenUnit(word));
    values[i] = x < below_high ? x : below_high;  // rounding to float may reach the excluded bound
  }
}

// `n` is a multiple of 8: an element alone costs as much as eight. Whether all values are right: a
// value of the far tail, one in 10^11, is left to the plain path.
EMPORIUM_INLINE bool NormalBody(uint64_t stream, const NormalRange& range, float* values,
                                size_t n) {
  n &= ~size_t{7};
  const double mean = range.mean;
  const double stddev = range.stddev;
  const double from = range.from;
  const double width = range.width;
  uint64_t far = 0;
  for (size_t i = 0; i < n; ++i) {
    const uint64_t word = MixBits(stream + (i + 1) * kStreamStep);
    const double p = from + width * OpenUnit(word);
    const double q = p - 0.5;
    const double r = std::sqrt(-Log(q < 0 ? p : 1 - p));
    far += r > kNear ? 1 : 0;
    const Ratio tail = NearTail(r);
    const Ratio middle = Middle(q);
    const bool inside = (q < 0 ? -q : q) <= kMiddle;
    const double over = inside ? middle.over : q < 0 ? -tail.over : tail.over;
    const double under = inside ? middle.under : tail.under;
    values[i] = static_cast<float>(mean + stddev * (over / under));
  }
  return far == 0;
}

void UniformPlain(uint64_t stream, const UniformRange& range, std::span<float> values) {
  UniformBody(stream, range, values.data(), values.size());
}
EMPORIUM_AVX2 void UniformAvx2(uint64_t stream, const UniformRange& range,
                               std::span<float> values) {
  UniformBody(stream, range, values.data(), values.size());
}
EMPORIUM_AVX512 void UniformAvx512(uint64_t stream, const UniformRange& range,
                                   std::span<float> values) {
  UniformBody(stream, range, values.data(), values.size());
}

void NormalPlain(uint64_t stream, const NormalRange& range, std::span<float> values) {
  for (float& value : values) {
    stream += kStreamStep;
    const double p = range.from + range.width * OpenUnit(MixBits(stream));
    value = static_cast<float>(range.mean + range.stddev * NormalQuantile(p));
  }
}
EMPORIUM_AVX2 bool NormalAvx2(uint64_t stream, const NormalRange& range, std::span<float> values) {
  return NormalBody(stream, range, values.data(), values.size());
}
EMPORIUM_AVX512 bool NormalAvx512(uint64_t stream, const NormalRange& range,
                                  std::span<float> values) {
  return NormalBody(stream, range, values.data(), values.size());
}

}  // namespace

double NormalQuantile(double p) {
  const double q = p - 0.5;
  if (q >= -kMiddle && q <= kMiddle) return Value(Middle(q));
  const double r = std::sqrt(-Log(q < 0 ? p : 1 - p));
  const double value = Value(r <= kNear ? NearTail(r) : FarTail(r));
  return q < 0 ? -value : value;
}

void FillUniform(SimdLevel level, uint64_t stream, const UniformRange& range,
                 std::span<float> values) {
  switch (level) {
    case SimdLevel::kPlain:
      return UniformPlain(stream, range, values);
    case SimdLevel::kAvx2:
      return UniformAvx2(stream, range, values);
    case SimdLevel::kAvx512:
      return UniformAvx512(stream, range, values);
  }
}

void FillNormal(SimdLevel level, uint64_t stream, const NormalRange& range,
                std::span<float> values) {
  const size_t whole = values.size() / 8 * 8;
  const std::span<float> blocks = values.first(whole);
  const bool done = level == SimdLevel::kAvx2     ? NormalAvx2(stream, range, blocks)
                    : level == SimdLevel::kAvx512 ? NormalAvx512(stream, range, blocks)
                                                  : false;
  const size_t rest = done ? whole : 0;
  NormalPlain(stream + rest * kStreamStep, range, values.subspan(rest));
}

}  // namespace emporium::ps
