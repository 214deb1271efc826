#include "ps/initializer.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <limits>

#include "runtime/route.h"

namespace emporium::ps {
namespace {

constexpr uint64_t kGamma = 0x9e3779b97f4a7c15u;  // 2^64 / golden ratio, odd

// Coefficients of atanh(s) / s in powers of s^2: 1 / (2 k + 1).
constexpr auto kAtanh = [] {
  std::array<double, 11> c{};
  for (size_t k = 0; k < c.size(); ++k) c[k] = 1 / static_cast<double>(2 * k + 1);
  return c;
}();

// Of a positive normal number, by +, -, *, / alone: x = m 2^e with m in [sqrt(1/2), sqrt(2)), and
// log m = 2 atanh((m - 1) / (m + 1)) as a series. Off by a few units in the last place.
double Log(double x) {
  constexpr double kLn2 = 0.693147180559945309417;
  constexpr double kSqrtHalf = 0.707106781186547524401;
  const auto bits = std::bit_cast<uint64_t>(x);
  int exponent = static_cast<int>(bits >> 52) - 1022;
  double m = std::bit_cast<double>((bits & 0x000fffffffffffffu) | 0x3fe0000000000000u);
  if (m < kSqrtHalf) {
    m *= 2;
    --exponent;
  }
  const double s = (m - 1) / (m + 1);  // |s| < 0.172
  const double s2 = s * s;
  double series = 0;
  for (size_t k = kAtanh.size(); k-- > 0;) series = series * s2 + kAtanh[k];
  return exponent * kLn2 + 2 * s * series;
}

// In (0, 1): the middle of one of 2^53 equal cells.
double OpenUnit(uint64_t word) { return (static_cast<double>(word >> 12) + 0.5) * 0x1p-52; }
// In [0, 1).
double HalfOpenUnit(uint64_t word) { return static_cast<double>(word >> 11) * 0x1p-53; }

Status Bad(const std::string& what) {
  return InvalidArgument("initializer: " + what + "; correct the table's initializer");
}

}  // namespace

// Algorithm AS 241 (Wichura 1988), PPND7: a rational function in the middle, two others in the
// tails.
double NormalQuantile(double p) {
  const double q = p - 0.5;
  if (q >= -0.425 && q <= 0.425) {
    const double r = 0.180625 - q * q;
    return q * (((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179) /
           (((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1.0);
  }
  double r = std::sqrt(-Log(q < 0 ? p : 1 - p));
  double value = 0;
  if (r <= 5) {
    r -= 1.6;
    value = (((0.17023821103 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777) /
            ((0.12021132975 * r + 0.73700164250) * r + 1.0);
  } else {
    r -= 5;
    value = (((0.017337203997 * r + 0.42868294337) * r + 3.0812263860) * r + 6.6579051150) /
            ((0.012258202635 * r + 0.24197894225) * r + 1.0);
  }
  return q < 0 ? -value : value;
}

Initializer::Initializer(const Kind& kind, uint64_t seed)
    : kind_(kind), mixed_seed_(runtime::MixKey(seed + kGamma)) {}

Result<Initializer> Initializer::Make(const spec::Initializer& spec, uint64_t seed) {
  switch (spec.kind_case()) {
    case spec::Initializer::kZeros:
      return Initializer(Constant{0}, seed);
    case spec::Initializer::kConstant:
      if (!std::isfinite(spec.constant().value())) return Bad("constant.value is not a number");
      return Initializer(Constant{spec.constant().value()}, seed);
    case spec::Initializer::kUniform: {
      const float low = spec.uniform().low();
      const float high = spec.uniform().high();
      if (!std::isfinite(low) || !std::isfinite(high) || low >= high) {
        return Bad("uniform.low must be below uniform.high");
      }
      return Initializer(Uniform{low, double{high} - low,
                                 std::nextafter(high, -std::numeric_limits<float>::infinity())},
                         seed);
    }
    case spec::Initializer::kNormal:
    case spec::Initializer::KIND_NOT_SET: {
      // An unset message answers with the schema's defaults.
      const float mean = spec.normal().mean();
      const float stddev = spec.normal().stddev();
      if (!std::isfinite(mean) || !std::isfinite(stddev) || stddev < 0) {
        return Bad("normal.stddev must be 0 or more, normal.mean a number");
      }
      return Initializer(Normal{mean, stddev}, seed);
    }
  }
  return Bad("unknown kind");
}

void Initializer::Fill(uint64_t key, std::span<float> values) const {
  uint64_t state = runtime::MixKey(mixed_seed_ + key);
  if (const auto* constant = std::get_if<Constant>(&kind_)) {
    for (float& value : values) value = constant->value;
  } else if (const auto* uniform = std::get_if<Uniform>(&kind_)) {
    for (float& value : values) {
      state += kGamma;
      const double x = uniform->low + uniform->width * HalfOpenUnit(runtime::MixKey(state));
      // Rounding to float may reach the excluded bound.
      value = std::fmin(static_cast<float>(x), uniform->below_high);
    }
  } else {
    const auto& normal = std::get<Normal>(kind_);
    for (float& value : values) {
      state += kGamma;
      value = static_cast<float>(normal.mean +
                                 normal.stddev * NormalQuantile(OpenUnit(runtime::MixKey(state))));
    }
  }
}

}  // namespace emporium::ps
