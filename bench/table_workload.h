// Keys for bench_table: batches of distinct keys of a table whose rows were made in shuffled order,
// with the position at which each was made; and what the process has of the memory. Immutable once
// made.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <random>
#include <span>
#include <unordered_set>
#include <vector>

#include "proto/mix.h"

namespace emporium::bench {

inline constexpr size_t kBatch = 8192;

inline double ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  double size = 0;
  double resident = 0;
  statm >> size >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

inline uint64_t KeyOfRank(uint64_t rank) { return MixBits(rank + 0x5bd1e995u); }

// order[i]: the rank of the row that is made i-th.
inline std::vector<uint32_t> ShuffledRanks(uint32_t rows) {
  std::vector<uint32_t> order(rows);
  for (uint32_t i = 0; i < rows; ++i) order[i] = i;
  std::mt19937_64 random(5);
  std::shuffle(order.begin(), order.end(), random);
  return order;
}

struct KeyBatches {
  std::vector<uint64_t> keys;       // [batches, kBatch]
  std::vector<uint32_t> positions;  // the same rows, as positions in the order of making

  size_t batches() const { return keys.size() / kBatch; }
  std::span<const uint64_t> KeysOf(size_t batch) const {
    return std::span(keys).subspan(batch % batches() * kBatch, kBatch);
  }
  std::span<const uint32_t> PositionsOf(size_t batch) const {
    return std::span(positions).subspan(batch % batches() * kBatch, kBatch);
  }
};

// Ranks uniform, or by Zipf's law with this exponent (the inverse of its continuous distribution);
// a batch draws until it has kBatch distinct ones.
inline KeyBatches MakeBatches(std::span<const uint32_t> order, double zipf, size_t batches,
                              uint64_t seed) {
  const auto rows = static_cast<uint32_t>(order.size());
  std::vector<uint32_t> position_of(rows);
  for (uint32_t i = 0; i < rows; ++i) position_of[order[i]] = i;
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> unit;
  const double top = std::pow(rows + 1.0, 1 - zipf);
  const auto draw = [&]() -> uint32_t {
    if (zipf == 0) return static_cast<uint32_t>(random() % rows);
    const double x = std::pow(1 + unit(random) * (top - 1), 1 / (1 - zipf));
    return std::min(rows - 1, static_cast<uint32_t>(x - 1));
  };
  KeyBatches result;
  result.keys.reserve(batches * kBatch);
  result.positions.reserve(batches * kBatch);
  for (size_t b = 0; b < batches; ++b) {
    std::unordered_set<uint32_t> seen;
    while (seen.size() < kBatch) {
      const uint32_t rank = draw();
      if (!seen.insert(rank).second) continue;
      result.keys.push_back(KeyOfRank(rank));
      result.positions.push_back(position_of[rank]);
    }
  }
  return result;
}

}  // namespace emporium::bench
