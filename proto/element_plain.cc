// The path that every processor has, and the twin that tests compare the others with: one element
// after the other, bit by bit.
#include <algorithm>
#include <bit>

#include "proto/element_kernels.h"

namespace emporium::element {
namespace {

uint32_t WordAt(const Words& words, uint32_t i) {
  if (words.nearest) return kNearestWord;
  uint32_t x = words.start + i * kWordStep;
  x ^= x >> 16;
  x *= kWordMul1;
  x ^= x >> 15;
  x ^= words.twist;
  x *= kWordMul2;
  return x ^ (x >> 16);
}

// `value` >= 0 and below 2^23, rounded to one of its neighbours among the whole numbers.
int32_t RoundMagnitude(float value, uint32_t word) {
  const auto whole = static_cast<int32_t>(value);
  const float fraction = value - static_cast<float>(whole);
  const float uniform = static_cast<float>(word >> 8) * 0x1p-24f;
  return uniform >= 1.0f - fraction ? whole + 1 : whole;
}

// Rounds away the lower `bits` bits: what lies in them and as many random bits carry, or not.
int32_t RoundBits(uint32_t magnitude, int bits, uint32_t word) {
  return static_cast<int32_t>((magnitude + (word >> (32 - bits))) >> bits);
}

int32_t MagnitudeToHalf(uint32_t magnitude, uint32_t word) {
  if (magnitude > kInfinity) return 0x7e00;
  if (magnitude == kInfinity) return 0x7c00;
  if (static_cast<int32_t>(magnitude) < kLeastHalf) {  // there halves are multiples of 2^-24
    return RoundMagnitude(std::bit_cast<float>(magnitude) * 0x1p24f, word);
  }
  return std::min(RoundBits(magnitude, 13, word) - kHalfRebias, kGreatestHalf);
}

int32_t MagnitudeToBrain(uint32_t magnitude, uint32_t word) {
  if (magnitude > kInfinity) return 0x7fc0;
  if (magnitude == kInfinity) return 0x7f80;
  return std::min(RoundBits(magnitude, 16, word), kGreatestBrain);
}

uint16_t WithSign(uint32_t bits, int32_t magnitude) {
  return static_cast<uint16_t>(((bits >> 16) & 0x8000u) | static_cast<uint32_t>(magnitude));
}

void EncodeHalf(const float* from, uint32_t dim, const Words& words, std::byte* to) {
  for (uint32_t i = 0; i < dim; ++i) {
    const auto bits = std::bit_cast<uint32_t>(from[i]);
    StoreAt(to, i, WithSign(bits, MagnitudeToHalf(bits & kMagnitude, WordAt(words, i))));
  }
}

void EncodeBrain(const float* from, uint32_t dim, const Words& words, std::byte* to) {
  for (uint32_t i = 0; i < dim; ++i) {
    const auto bits = std::bit_cast<uint32_t>(from[i]);
    StoreAt(to, i, WithSign(bits, MagnitudeToBrain(bits & kMagnitude, WordAt(words, i))));
  }
}

void EncodeBytes(const float* from, uint32_t dim, float scale, const Words& words, std::byte* to) {
  for (uint32_t i = 0; i < dim; ++i) {
    const auto bits = std::bit_cast<uint32_t>(from[i] / scale);
    const auto magnitude = std::bit_cast<float>(bits & kMagnitude);
    const int32_t whole = std::min(RoundMagnitude(magnitude, WordAt(words, i)), 127);
    StoreAt(to, i, static_cast<int8_t>(bits > kMagnitude ? -whole : whole));
  }
}

int32_t GreatestMagnitude(const float* from, uint32_t dim) {
  uint32_t greatest = 0;
  for (uint32_t i = 0; i < dim; ++i) {
    greatest = std::max(greatest, std::bit_cast<uint32_t>(from[i]) & kMagnitude);
  }
  return static_cast<int32_t>(greatest);
}

void DecodeHalf(const std::byte* from, size_t n, float* to) {
  for (size_t i = 0; i < n; ++i) {
    const auto half = LoadAt<uint16_t>(from, i);
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
    const uint32_t magnitude = half & 0x7fffu;
    uint32_t bits = kInfinity | (magnitude << 13);
    if (magnitude > 0x7c00u) {
      bits |= 0x00400000u;  // a NaN becomes a quiet one, as the instruction does it
    } else if (magnitude < 0x7c00u) {
      // As the bits of an f32 whose exponent is 112 too small; subnormal halves too.
      bits = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude << 13) * 0x1p112f);
    }
    to[i] = std::bit_cast<float>(bits | sign);
  }
}

void DecodeBrain(const std::byte* from, size_t n, float* to) {
  for (size_t i = 0; i < n; ++i) {
    to[i] = std::bit_cast<float>(static_cast<uint32_t>(LoadAt<uint16_t>(from, i)) << 16);
  }
}

void DecodeBytes(const std::byte* from, uint32_t dim, float scale, float* to) {
  for (uint32_t i = 0; i < dim; ++i) to[i] = static_cast<float>(LoadAt<int8_t>(from, i)) * scale;
}

}  // namespace

const Codec kPlain = {EncodeHalf, EncodeBrain, EncodeBytes, GreatestMagnitude,
                      DecodeHalf, DecodeBrain, DecodeBytes};

}  // namespace emporium::element
