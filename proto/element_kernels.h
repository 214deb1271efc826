// What the paths of proto/element.cc share: each file element_{plain,avx2,avx512}.cc is one path.
// Immutable values; safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "proto/element.h"

namespace emporium::element {

inline constexpr uint32_t kMagnitude = 0x7fffffff;  // of an f32's bits
inline constexpr uint32_t kInfinity = 0x7f800000;
inline constexpr int32_t kLeastHalf = 113 << 23;   // bits of 2^-14, the least normal half
inline constexpr int32_t kHalfRebias = 112 << 10;  // the difference of the exponents' offsets
inline constexpr int32_t kGreatestHalf = 0x7bff;   // 65504
inline constexpr int32_t kGreatestBrain = 0x7f7f;
inline constexpr float kLeastScale = 0x1p-126f;
inline constexpr float kGreatestScale = 0x1.020406p+121f;  // 127 times it is finite

// Word i of a row decides where the rounding of element i goes up. A counter-based generator: the
// counter runs through the lower half of the seed, the upper half enters between the two
// multiplications of a 32-bit mixer (Wellons, "lowbias32").
struct Words {
  bool nearest = false;  // every word is kNearestWord
  uint32_t start = 0;
  uint32_t twist = 0;
};
inline constexpr uint32_t kWordStep = 0x9e3779b9;
inline constexpr uint32_t kWordMul1 = 0x7feb352d;
inline constexpr uint32_t kWordMul2 = 0x846ca68b;
inline constexpr uint32_t kNearestWord = 0x80000000;

template <class T>
inline T LoadAt(const std::byte* from, size_t i) {
  T value;
  std::memcpy(&value, from + i * sizeof(T), sizeof(T));
  return value;
}
template <class T>
inline void StoreAt(std::byte* to, size_t i, T value) {
  std::memcpy(to + i * sizeof(T), &value, sizeof(T));
}

// One path. A row is encoded by itself, because its words and its scale are its own.
struct Codec {
  void (*encode_half)(const float*, uint32_t dim, const Words&, std::byte*);
  void (*encode_brain)(const float*, uint32_t dim, const Words&, std::byte*);
  // `scale` is finite; writes dim bytes.
  void (*encode_bytes)(const float*, uint32_t dim, float scale, const Words&, std::byte*);
  // The greatest |x| as an f32's bits; above kInfinity where a value is NaN.
  int32_t (*greatest_magnitude)(const float*, uint32_t dim);
  void (*decode_half)(const std::byte*, size_t n, float*);
  void (*decode_brain)(const std::byte*, size_t n, float*);
  void (*decode_bytes)(const std::byte*, uint32_t dim, float scale, float*);
};
extern const Codec kPlain;
extern const Codec kAvx2;
extern const Codec kAvx512;

}  // namespace emporium::element
