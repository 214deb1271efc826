#include "ps/initializer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "proto/mix.h"

namespace emporium::ps {
namespace {

// Standard normal probability below -2.
constexpr double kBelowMinusTwo = 0.022750131948179209;

// [low, high); `low` alone where they are equal.
UniformRange Between(float low, float high) {
  const float below_high = std::nextafter(high, -std::numeric_limits<float>::infinity());
  return {low, double{high} - low, std::max(low, below_high)};
}

Status Bad(const std::string& what) {
  return InvalidArgument("initializer: " + what + "; correct the table's initializer");
}

}  // namespace

Initializer::Initializer(const Kind& kind, uint64_t seed)
    : kind_(kind), mixed_seed_(MixBits(seed + kStreamStep)) {}

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
      return Initializer(Between(low, high), seed);
    }
    case spec::Initializer::kTruncatedNormal: {
      const float mean = spec.truncated_normal().mean();
      const float stddev = spec.truncated_normal().stddev();
      if (!std::isfinite(mean) || !std::isfinite(stddev) || stddev < 0) {
        return Bad("truncated_normal.stddev must be 0 or more, truncated_normal.mean a number");
      }
      return Initializer(NormalRange{mean, stddev, kBelowMinusTwo, 1 - 2 * kBelowMinusTwo}, seed);
    }
    case spec::Initializer::kXavier: {
      const float gain = spec.xavier().gain();
      if (!std::isfinite(gain) || gain < 0) return Bad("xavier.gain must be 0 or more");
      return Initializer(Xavier{gain}, seed);
    }
    case spec::Initializer::kNormal:
    case spec::Initializer::KIND_NOT_SET: {
      // An unset message answers with the schema's defaults.
      const float mean = spec.normal().mean();
      const float stddev = spec.normal().stddev();
      if (!std::isfinite(mean) || !std::isfinite(stddev) || stddev < 0) {
        return Bad("normal.stddev must be 0 or more, normal.mean a number");
      }
      return Initializer(NormalRange{mean, stddev, 0, 1}, seed);
    }
  }
  return Bad("unknown kind");
}

void Initializer::FillWith(SimdLevel level, uint64_t key, std::span<float> values) const {
  const uint64_t stream = MixBits(mixed_seed_ + key);
  if (const auto* constant = std::get_if<Constant>(&kind_)) {
    for (float& value : values) value = constant->value;
  } else if (const auto* uniform = std::get_if<UniformRange>(&kind_)) {
    FillUniform(level, stream, *uniform, values);
  } else if (const auto* normal = std::get_if<NormalRange>(&kind_)) {
    FillNormal(level, stream, *normal, values);
  } else {
    const double dim = static_cast<double>(values.size());
    const auto bound = static_cast<float>(std::get<Xavier>(kind_).gain * std::sqrt(3 / dim));
    FillUniform(level, stream, Between(-bound, bound), values);
  }
}

}  // namespace emporium::ps
