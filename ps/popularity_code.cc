#include "ps/popularity_code.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "proto/check.h"
#include "runtime/route.h"

namespace emporium::ps {
namespace {

static_assert(std::endian::native == std::endian::little, "codes are little endian");

constexpr uint32_t kFloatFraction = 23;
constexpr uint32_t kFloatBias = 127;

struct Form {
  uint32_t fraction_bits, bias;
};
constexpr Form kForms[] = {{3, 7}, {10, 23}, {17, 63}};  // of 1, 2 and 3 bytes

}  // namespace

PopularityCode::PopularityCode(uint32_t bytes) : bytes_(bytes) {
  EMPORIUM_CHECK(bytes >= 1 && bytes <= 4, "a popularity takes 1 to 4 bytes");
  if (bytes == 4) {
    largest_ = std::numeric_limits<float>::max();
    return;
  }
  const Form& form = kForms[bytes - 1];
  fraction_bits_ = form.fraction_bits;
  dropped_bits_ = kFloatFraction - fraction_bits_;
  rebias_ = (kFloatBias - form.bias) << fraction_bits_;
  max_code_ = (1u << (8 * bytes)) - 1;
  smallest_normal_ = std::ldexp(1.0f, 1 - static_cast<int>(form.bias));
  subnormals_per_one_ = std::ldexp(1.0, static_cast<int>(fraction_bits_ + form.bias) - 1);
  largest_ = ValueOf(max_code_);
}

float PopularityCode::ValueOf(uint32_t code) const {
  if ((code >> fraction_bits_) == 0) {
    return static_cast<float>(code / subnormals_per_one_);
  }
  return std::bit_cast<float>((code + rebias_) << dropped_bits_);
}

uint32_t PopularityCode::CodeOf(float value, uint32_t random) const {
  if (value >= largest_) return max_code_;
  if (value >= smallest_normal_) {
    // A carry out of the fraction is the next exponent.
    const uint32_t bits = std::bit_cast<uint32_t>(value) + (random >> (32 - dropped_bits_));
    return std::min((bits >> dropped_bits_) - rebias_, max_code_);
  }
  const double steps = value * subnormals_per_one_;
  const double whole = std::floor(steps);
  const bool up = random * 0x1p-32 < steps - whole;
  return static_cast<uint32_t>(whole) + (up ? 1 : 0);
}

float PopularityCode::Decode(const std::byte* from) const {
  uint32_t code = 0;
  std::memcpy(&code, from, bytes_);
  return bytes_ == 4 ? std::bit_cast<float>(code) : ValueOf(code);
}

void PopularityCode::Encode(float value, uint32_t random, std::byte* to) const {
  EMPORIUM_CHECK(value >= 0, "a popularity is not negative");
  const uint32_t code = bytes_ == 4 ? std::bit_cast<uint32_t>(value) : CodeOf(value, random);
  std::memcpy(to, &code, bytes_);
}

uint32_t PopularityBits(uint64_t seed, uint64_t key, uint32_t step) {
  constexpr uint64_t kGamma = 0x9e3779b97f4a7c15u;
  constexpr uint64_t kStream = 0x706f70756c617269u;  // apart from the rounding of weights
  const uint64_t of_key = runtime::MixKey(runtime::MixKey(seed ^ kStream) + key * kGamma);
  return static_cast<uint32_t>(runtime::MixKey(of_key + (uint64_t{step} + 1) * kGamma) >> 32);
}

}  // namespace emporium::ps
