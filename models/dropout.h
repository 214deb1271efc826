// Which numbers dropout keeps. Pure function of the stream.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "models/random.h"

namespace emporium::models {

// out[i] = 0 where the i-th 16 bits of the stream are below the threshold, else scale. Takes
// n / 4 + 1 words.
inline void DropoutMask(Random& random, int32_t threshold, float scale, int64_t n, float* out) {
  static_assert(std::endian::native == std::endian::little, "parts of a word come lowest first");
  constexpr int64_t kWords = 32;
  constexpr int64_t kParts = 4 * kWords;
  uint64_t words[kWords] = {};
  uint16_t parts[kParts];
  float decided[kParts];
  const int64_t all = n / 4 + 1;
  for (int64_t word = 0; word < all; word += kWords) {
    for (int64_t k = 0; k < std::min(kWords, all - word); ++k) words[k] = random.Next();
    std::memcpy(parts, words, sizeof parts);
    // Always a whole block: compilers turn a constant count into vector instructions at -O2.
    for (int64_t k = 0; k < kParts; ++k) decided[k] = parts[k] < threshold ? 0 : scale;
    std::copy_n(decided, std::clamp<int64_t>(n - 4 * word, 0, kParts), out + 4 * word);
  }
}

}  // namespace emporium::models
