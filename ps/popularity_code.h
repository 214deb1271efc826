// How a row keeps its popularity in 1 to 4 bytes: a float without a sign, with fewer bits.
//
//   bytes  exponent bits  fraction bits  smallest step   largest value   one rounding errs below
//   4      8              23             fp32            fp32            2^-24 of the value
//   3      7              17             2^-79           1.8e19          2^-17
//   2      6              10             2^-32           2.2e12          2^-10
//   1      5              3              2^-9            3.1e7           2^-3
//
// Below 4 bytes a value between two codes becomes one of them with the probability that makes the
// mean exact, by random bits that the caller makes of (seed, table, key, step): an increment far
// below a code's width is not lost but carried on average. A value beyond the largest is the
// largest. Codes are little endian, 0 is code 0, and every code's value is a float, so that
// decoding and encoding again is exact. Values only; safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emporium::ps {

class PopularityCode {
 public:
  explicit PopularityCode(uint32_t bytes);  // 1 to 4

  uint32_t bytes() const { return bytes_; }
  float largest() const { return largest_; }
  float Decode(const std::byte* from) const;
  // `value` is 0 or more; `random` are 32 random bits.
  void Encode(float value, uint32_t random, std::byte* to) const;

 private:
  float ValueOf(uint32_t code) const;
  uint32_t CodeOf(float value, uint32_t random) const;

  const uint32_t bytes_;
  uint32_t fraction_bits_ = 23;
  uint32_t dropped_bits_ = 0;  // of fp32's fraction
  uint32_t rebias_ = 0;        // fp32's exponent bias minus the code's, at the code's place
  uint32_t max_code_ = 0;
  float smallest_normal_ = 0;
  double subnormals_per_one_ = 0;
  float largest_ = 0;
};

// Random bits for the rounding of a key's popularity in a step. Pinned for ever.
uint32_t PopularityBits(uint64_t seed, uint64_t key, uint32_t step);

}  // namespace emporium::ps
