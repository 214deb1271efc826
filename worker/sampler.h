// Chance as a function of numbers: streams of random words named by what they are for, shuffles
// that are computed one position at a time, and drawing by weight. The same arguments give the same
// outcome on every machine and in every thread.
//
// Values; immutable ones are safe from any thread, a RandomStream belongs to one.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

namespace emporium::worker {

// What a stream is for: switching one use off does not change another's numbers.
enum class Purpose : uint64_t {
  kShuffle = 1,
  kLag = 2,
  kNegatives = 3,
  kSynthetic = 4,
  kRanked = 5
};

// A bijection of 64-bit words in which every bit of the input moves every bit of the output.
inline uint64_t Mix(uint64_t x) {
  x ^= x >> 30;
  x *= 0xBF58476D1CE4E5B9ull;
  x ^= x >> 27;
  x *= 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

class RandomStream {
 public:
  RandomStream(uint64_t seed, Purpose purpose, std::initializer_list<uint64_t> position) {
    state_ = Mix(seed + 0x9E3779B97F4A7C15ull * static_cast<uint64_t>(purpose));
    for (const uint64_t p : position) {
      state_ = Mix((state_ ^ p) + 0x9E3779B97F4A7C15ull);
    }
  }
  uint64_t Next() {
    state_ += 0x9E3779B97F4A7C15ull;
    return Mix(state_);
  }
  // In [0, 1).
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1p-53; }
  // In [0, n), n > 0.
  uint64_t Below(uint64_t n) {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(Next()) * n) >> 64);
  }
  double Normal();  // mean 0, standard deviation 1

 private:
  uint64_t state_;
};

// A shuffle of 0 .. n-1 without a table: a Feistel network over the next power of four, walked
// until it lands inside.
class Permutation {
 public:
  Permutation(uint64_t n, uint64_t key);
  uint64_t operator()(uint64_t i) const;

 private:
  uint64_t n_;
  uint64_t key_;
  int half_bits_;
};

// Draws i with probability weight[i] / sum, in constant time (Walker's alias table).
class AliasTable {
 public:
  explicit AliasTable(std::span<const double> weights);
  uint64_t Draw(RandomStream* random) const;
  double probability(uint64_t i) const { return probability_[i]; }

 private:
  struct Slot {
    double keep = 1;  // probability of the slot's own number
    uint32_t other = 0;
  };
  std::vector<Slot> slots_;
  std::vector<double> probability_;
};

}  // namespace emporium::worker
