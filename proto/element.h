// Element types: how the weights of a row are written as bytes, in a table, on the wire and in a
// file. Arithmetic is always done in fp32; this file is the only one that knows the other forms.
// Functions of values; safe from any thread.
//
// The bytes of a row of `dim` weights, little endian, at any alignment:
//
//   FP32   f32 x dim
//   FP16   f16 x dim          IEEE 754 binary16
//   BF16   bf16 x dim         the upper half of an f32
//   INT8   scale f32 | i8 x dim | zeros to a multiple of 4       weight = i8 * scale
//
// Writing rounds to one of the two neighbours of a weight among the values of its type, and up with
// the probability that leaves the expected value alone (to within 2^-24 of their distance). So many
// small updates add up, where rounding to nearest would drop them all. A weight that FP16 or BF16
// hold exactly stays as it is. The limits of the types:
//
//   FP16   magnitudes above 65504 become 65504; infinities stay, NaN stays NaN.
//   BF16   magnitudes above the greatest bf16 become it; infinities stay, NaN stays NaN.
//   INT8   scale = max |weight| / 127, at least 2^-126; values in [-127, 127], so no weight is cut
//          off. A row in which a weight is not finite has NaN for a scale and reads as NaN in every
//          place. -0 reads as 0.
//
// Every path (plain, AVX2 with F16C, AVX-512) gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "proto/job.pb.h"
#include "proto/mix.h"
#include "proto/simd.h"

namespace emporium {

constexpr uint32_t WeightBytes(spec::ElementType type, uint32_t dim) {
  switch (type) {
    case spec::FP32:
      return 4 * dim;
    case spec::FP16:
    case spec::BF16:
      return 2 * dim;
    case spec::INT8:
      return 4 + (dim + 3) / 4 * 4;
  }
  return 0;
}

// The random bits that a row is rounded with. Element i takes a 32-bit word that is a function of
// (seed, i) alone.
struct RoundingSeed {
  uint64_t bits = 0;
};

// Of one row in one step; `table_seed` is a function of (seed, table). Pinned for ever.
constexpr RoundingSeed RoundingSeedOf(uint64_t table_seed, uint64_t key, uint32_t step) {
  constexpr uint64_t kRounding = 0xd1b54a32d192ed03u;  // apart from other uses of the seed
  return {MixBits(MixBits(MixBits(table_seed ^ kRounding) + key) + step)};
}

// Stochastic rounding, as above.
void Encode(spec::ElementType type, const float* from, uint32_t dim, RoundingSeed seed,
            std::byte* to);
// To the nearest value, ties away from zero: for values that nothing will be added to, such as the
// initial value of a row.
void EncodeNearest(spec::ElementType type, const float* from, uint32_t dim, std::byte* to);

void Decode(spec::ElementType type, const std::byte* from, uint32_t dim, float* to);
// Rows one behind the other, as they lie in a frame.
void DecodeRows(spec::ElementType type, const std::byte* from, size_t rows, uint32_t dim,
                float* to);

// The same by the instructions of one level, for tests and benchmarks; the processor must have it.
void EncodeWith(SimdLevel level, spec::ElementType type, const float* from, uint32_t dim,
                RoundingSeed seed, std::byte* to);
void EncodeNearestWith(SimdLevel level, spec::ElementType type, const float* from, uint32_t dim,
                       std::byte* to);
void DecodeWith(SimdLevel level, spec::ElementType type, const std::byte* from, size_t rows,
                uint32_t dim, float* to);

}  // namespace emporium
