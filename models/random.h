// Random numbers of models: initial values of dense parameters and dropout. The stream is a
// function of the seed alone, on every machine and in every thread; LibTorch's global generator is
// never used, because lanes run side by side. Value type: one owner at a time.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <string_view>

namespace emporium::models {

// splitmix64's finaliser: every bit of the input moves every bit of the output.
constexpr uint64_t MixBits(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

// FNV-1a, mixed once more.
constexpr uint64_t HashName(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return MixBits(hash);
}

// xoshiro256++ (Blackman and Vigna, public domain).
class Random {
 public:
  explicit Random(uint64_t seed) {
    for (uint64_t& word : state_) word = seed = MixBits(seed);
  }

  uint64_t Next() {
    const uint64_t result = Rotate(state_[0] + state_[3], 23) + state_[0];
    const uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = Rotate(state_[3], 45);
    return result;
  }

  // [0, 1), 24 bits: every value is a float.
  float Uniform() { return static_cast<float>(Next() >> 40) * 0x1p-24f; }

  // Standard normal (Box-Muller, one of the pair).
  float Normal() {
    const double radius = std::sqrt(-2 * std::log(1.0 - static_cast<double>(Uniform())));
    const double angle = 2 * std::numbers::pi * static_cast<double>(Uniform());
    return static_cast<float>(radius * std::cos(angle));
  }

 private:
  static uint64_t Rotate(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

  uint64_t state_[4];
};

}  // namespace emporium::models
