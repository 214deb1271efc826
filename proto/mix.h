// A bijection on 64-bit words that spreads every bit over all. Values only; safe from any thread.
#pragma once

#include <cstdint>

namespace emporium {

// The finaliser of SplitMix64 (Steele, Lea, Flood 2014). Pinned for ever: it decides where keys
// live, what rows start from and how their weights are rounded.
constexpr uint64_t MixBits(uint64_t word) {
  word ^= word >> 30;
  word *= 0xbf58476d1ce4e5b9u;
  word ^= word >> 27;
  word *= 0x94d049bb133111ebu;
  word ^= word >> 31;
  return word;
}

}  // namespace emporium
