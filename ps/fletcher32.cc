#include "ps/fletcher32.h"

#include <algorithm>
#include <cstring>

namespace emporium::ps {
namespace {

constexpr size_t kLanes = 16;
constexpr size_t kGroups = 256;  // fewer than 361, beyond which a lane's second sum overflows
using Words [[gnu::vector_size(2 * kLanes)]] = uint16_t;
using LaneSums [[gnu::vector_size(4 * kLanes)]] = uint32_t;

// Of a sum modulo 65,535, where the library says 65,535 for 0 unless every word is 0.
uint32_t Fold(uint64_t sum) { return sum == 0 ? 0 : static_cast<uint32_t>((sum - 1) % 65535 + 1); }

struct Sums {
  uint64_t first = 0;   // of the words
  uint64_t second = 0;  // of `first` after each word

  // `groups` times kLanes words, each lane by itself: word g * kLanes + l is in the second sum as
  // often as there are words from it on, (groups - g) * kLanes - l times.
  void AddGroups(const std::byte* bytes, size_t groups) {
    LaneSums lane_first{};
    LaneSums lane_second{};
    for (size_t g = 0; g < groups; ++g, bytes += sizeof(Words)) {
      Words words;
      std::memcpy(&words, bytes, sizeof(words));
      words = words << 8 | words >> 8;
      lane_first += __builtin_convertvector(words, LaneSums);
      lane_second += lane_first;
    }
    second += groups * kLanes * first;
    for (size_t l = 0; l < kLanes; ++l) {
      first += lane_first[l];
      second += uint64_t{kLanes} * lane_second[l] - l * lane_first[l];
    }
    first = Fold(first);
    second = Fold(second);
  }

  void AddWord(uint32_t word) {
    first = Fold(first + word);
    second = Fold(second + first);
  }
};

}  // namespace

uint32_t Fletcher32(std::span<const std::byte> bytes) {
  Sums sums;
  size_t at = 0;
  while (bytes.size() - at >= 2 * kLanes) {
    const size_t groups = std::min(kGroups, (bytes.size() - at) / (2 * kLanes));
    sums.AddGroups(bytes.data() + at, groups);
    at += groups * 2 * kLanes;
  }
  for (; at + 1 < bytes.size(); at += 2) {
    sums.AddWord(std::to_integer<uint32_t>(bytes[at]) << 8 |
                 std::to_integer<uint32_t>(bytes[at + 1]));
  }
  if (at < bytes.size()) sums.AddWord(std::to_integer<uint32_t>(bytes[at]) << 8);
  return static_cast<uint32_t>(sums.second << 16 | sums.first);
}

}  // namespace emporium::ps
