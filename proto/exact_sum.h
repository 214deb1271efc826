// A sum without rounding: the same terms in any order, added up in any parts that are added up
// afterwards, give the same bits. For the sums of squares of gradients, which every shard has a
// part of.
//
// A fixed-point number of kDigits digits to the base 2^32, the lowest of which counts 2^-352: wide
// enough for any sum of squares of floats. A value; belongs to one thread at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace emporium {

class ExactSum {
 public:
  static constexpr size_t kDigits = 21;
  static constexpr uint64_t kBase = uint64_t{1} << 32;
  using Digits = std::array<uint64_t, kDigits>;

  ExactSum() = default;
  // What digits() of another gave.
  explicit ExactSum(std::span<const uint64_t, kDigits> digits);

  // 0, or a number from 2^-300 to 2^300.
  void Add(double term);
  void Add(const ExactSum& other);

  // Each below kBase, the lowest first; only the sum decides what they are.
  Digits digits() const;
  // The sum as a double; within a few units of its last place.
  double Rounded() const;

 private:
  void Carry();

  Digits digits_ = {};      // may be above kBase until Carry
  uint64_t uncarried_ = 0;  // terms since
};

}  // namespace emporium
