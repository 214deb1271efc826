#include "proto/exact_sum.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "proto/check.h"

namespace emporium {
namespace {

constexpr int kLowestExponent = -352;  // of the lowest digit's 1
constexpr uint64_t kLow = ExactSum::kBase - 1;
// A term adds less than 2^33 to a digit.
constexpr uint64_t kMostUncarried = uint64_t{1} << 30;

}  // namespace

ExactSum::ExactSum(std::span<const uint64_t, kDigits> digits) {
  std::copy(digits.begin(), digits.end(), digits_.begin());
}

void ExactSum::Add(double term) {
  if (term == 0) return;
  EMPORIUM_CHECK(term >= 0x1p-300 && term <= 0x1p300, "a sum of squares of floats");
  // term = mantissa * 2^(exponent - 1075), an integer of 53 bits that begins at bit `at`.
  const auto bits = std::bit_cast<uint64_t>(term);
  const uint64_t mantissa = (bits & ((uint64_t{1} << 52) - 1)) | uint64_t{1} << 52;
  const auto at = static_cast<uint64_t>(static_cast<int>(bits >> 52) - 1075 - kLowestExponent);
  const uint64_t low = (mantissa & kLow) << at % 32;
  const uint64_t high = (mantissa >> 32) << at % 32;
  uint64_t* const digit = &digits_[at / 32];
  digit[0] += low & kLow;
  digit[1] += (low >> 32) + (high & kLow);
  digit[2] += high >> 32;
  if (++uncarried_ == kMostUncarried) Carry();
}

void ExactSum::Add(const ExactSum& other) {
  const Digits more = other.digits();
  Carry();
  for (size_t i = 0; i < kDigits; ++i) digits_[i] += more[i];
  Carry();
}

void ExactSum::Carry() {
  for (size_t i = 0; i + 1 < kDigits; ++i) {
    digits_[i + 1] += digits_[i] >> 32;
    digits_[i] &= kLow;
  }
  uncarried_ = 0;
}

ExactSum::Digits ExactSum::digits() const {
  ExactSum carried = *this;
  carried.Carry();
  return carried.digits_;
}

double ExactSum::Rounded() const {
  const Digits all = digits();
  double sum = 0;
  for (size_t i = kDigits; i-- > 0;) {
    sum += std::ldexp(static_cast<double>(all[i]), kLowestExponent + 32 * static_cast<int>(i));
  }
  return sum;
}

}  // namespace emporium
