// Sixteen elements at a time; masks let the rest of a row through the same instructions.
#include <immintrin.h>

#include "proto/element_kernels.h"
#include "proto/simd.h"

namespace emporium::element {
namespace {

constexpr uint32_t kLanes = 16;
constexpr __mmask16 kAll = 0xffff;

// The lanes of the block at `i` that the row has.
EMPORIUM_AVX512 inline __mmask16 LanesAt(size_t i, size_t n) {
  return i + kLanes <= n ? kAll : static_cast<__mmask16>((1u << (n - i)) - 1);
}

EMPORIUM_AVX512 inline __m512i Constant(uint32_t bits) {
  return _mm512_set1_epi32(static_cast<int>(bits));
}

// Words first .. first + 15 of a row.
EMPORIUM_AVX512 inline __m512i WordsAt(const Words& words, uint32_t first) {
  if (words.nearest) return Constant(kNearestWord);
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i step = _mm512_mullo_epi32(lane, Constant(kWordStep));
  __m512i x = _mm512_add_epi32(step, Constant(words.start + first * kWordStep));
  x = _mm512_xor_epi32(x, _mm512_maskz_srli_epi32(kAll, x, 16));
  x = _mm512_mullo_epi32(x, Constant(kWordMul1));
  x = _mm512_xor_epi32(x, _mm512_maskz_srli_epi32(kAll, x, 15));
  x = _mm512_xor_epi32(x, Constant(words.twist));
  x = _mm512_mullo_epi32(x, Constant(kWordMul2));
  return _mm512_xor_epi32(x, _mm512_maskz_srli_epi32(kAll, x, 16));
}

EMPORIUM_AVX512 inline __m512i RoundMagnitude(__m512 value, __m512i word) {
  const __m512i whole = _mm512_maskz_cvttps_epi32(kAll, value);
  const __m512 fraction = _mm512_sub_ps(value, _mm512_maskz_cvtepi32_ps(kAll, whole));
  const __m512i upper = _mm512_maskz_srli_epi32(kAll, word, 8);
  const __m512 uniform =
      _mm512_mul_ps(_mm512_maskz_cvtepi32_ps(kAll, upper), _mm512_set1_ps(0x1p-24f));
  const __mmask16 up =
      _mm512_cmp_ps_mask(uniform, _mm512_sub_ps(_mm512_set1_ps(1), fraction), _CMP_GE_OQ);
  return _mm512_mask_add_epi32(whole, up, whole, _mm512_set1_epi32(1));
}

// Infinities and NaN in their places, and the sign; all in the lower half of a lane.
EMPORIUM_AVX512 inline __m256i Finish(__m512i bits, __m512i magnitude, __m512i rounded,
                                      uint32_t infinity, uint32_t nan) {
  const __m512i limit = Constant(kInfinity);
  rounded =
      _mm512_mask_mov_epi32(rounded, _mm512_cmpeq_epi32_mask(magnitude, limit), Constant(infinity));
  rounded =
      _mm512_mask_mov_epi32(rounded, _mm512_cmpgt_epi32_mask(magnitude, limit), Constant(nan));
  const __m512i sign = _mm512_and_epi32(_mm512_maskz_srli_epi32(kAll, bits, 16), Constant(0x8000));
  return _mm512_maskz_cvtepi32_epi16(kAll, _mm512_or_epi32(sign, rounded));
}

struct ToHalf {
  EMPORIUM_AVX512 static __m256i Convert(__m512 x, __m512i word) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i magnitude = _mm512_and_epi32(bits, Constant(kMagnitude));
    __m512i normal = _mm512_add_epi32(magnitude, _mm512_maskz_srli_epi32(kAll, word, 19));
    normal = _mm512_sub_epi32(_mm512_maskz_srli_epi32(kAll, normal, 13), Constant(kHalfRebias));
    normal = _mm512_maskz_min_epi32(kAll, normal, Constant(kGreatestHalf));
    const __mmask16 tiny = _mm512_cmplt_epi32_mask(magnitude, Constant(kLeastHalf));
    const __m512 kept = _mm512_castsi512_ps(_mm512_maskz_mov_epi32(tiny, magnitude));
    const __m512i multiple = RoundMagnitude(_mm512_mul_ps(kept, _mm512_set1_ps(0x1p24f)), word);
    return Finish(bits, magnitude, _mm512_mask_mov_epi32(normal, tiny, multiple), 0x7c00, 0x7e00);
  }
};

struct ToBrain {
  EMPORIUM_AVX512 static __m256i Convert(__m512 x, __m512i word) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i magnitude = _mm512_and_epi32(bits, Constant(kMagnitude));
    const __m512i carried = _mm512_add_epi32(magnitude, _mm512_maskz_srli_epi32(kAll, word, 16));
    const __m512i rounded = _mm512_maskz_min_epi32(kAll, _mm512_maskz_srli_epi32(kAll, carried, 16),
                                                   Constant(kGreatestBrain));
    return Finish(bits, magnitude, rounded, 0x7f80, 0x7fc0);
  }
};

template <class Type>
EMPORIUM_AVX512 inline void Encode16(const float* from, uint32_t dim, const Words& words,
                                     std::byte* to) {
  for (uint32_t i = 0; i < dim; i += kLanes) {
    const __mmask16 lanes = LanesAt(i, dim);
    const __m512 x = _mm512_maskz_loadu_ps(lanes, from + i);
    _mm256_mask_storeu_epi16(to + size_t{2} * i, lanes, Type::Convert(x, WordsAt(words, i)));
  }
}

EMPORIUM_AVX512 void EncodeHalf(const float* from, uint32_t dim, const Words& words,
                                std::byte* to) {
  Encode16<ToHalf>(from, dim, words, to);
}
EMPORIUM_AVX512 void EncodeBrain(const float* from, uint32_t dim, const Words& words,
                                 std::byte* to) {
  Encode16<ToBrain>(from, dim, words, to);
}

EMPORIUM_AVX512 void EncodeBytes(const float* from, uint32_t dim, float scale, const Words& words,
                                 std::byte* to) {
  const __m512 scales = _mm512_set1_ps(scale);
  for (uint32_t i = 0; i < dim; i += kLanes) {
    const __mmask16 lanes = LanesAt(i, dim);
    const __m512 x = _mm512_maskz_loadu_ps(lanes, from + i);
    const __m512i quotient = _mm512_castps_si512(_mm512_div_ps(x, scales));
    const __m512i magnitude = _mm512_and_epi32(quotient, Constant(kMagnitude));
    const __m512i whole = _mm512_maskz_min_epi32(
        kAll, RoundMagnitude(_mm512_castsi512_ps(magnitude), WordsAt(words, i)), Constant(127));
    const __mmask16 negative = _mm512_movepi32_mask(quotient);
    const __m512i value = _mm512_mask_sub_epi32(whole, negative, _mm512_setzero_si512(), whole);
    _mm_mask_storeu_epi8(to + i, lanes, _mm512_maskz_cvtepi32_epi8(kAll, value));
  }
}

EMPORIUM_AVX512 int32_t GreatestMagnitude(const float* from, uint32_t dim) {
  __m512i greatest = _mm512_setzero_si512();
  for (uint32_t i = 0; i < dim; i += kLanes) {
    const __m512i bits = _mm512_castps_si512(_mm512_maskz_loadu_ps(LanesAt(i, dim), from + i));
    greatest = _mm512_maskz_max_epi32(kAll, greatest, _mm512_and_epi32(bits, Constant(kMagnitude)));
  }
  const __m256i half = _mm256_max_epi32(_mm512_maskz_extracti32x8_epi32(0xff, greatest, 0),
                                        _mm512_maskz_extracti32x8_epi32(0xff, greatest, 1));
  __m128i rest = _mm_max_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  rest = _mm_max_epi32(rest, _mm_shuffle_epi32(rest, 0x4e));
  rest = _mm_max_epi32(rest, _mm_shuffle_epi32(rest, 0xb1));
  return _mm_cvtsi128_si32(rest);
}

EMPORIUM_AVX512 void DecodeHalf(const std::byte* from, size_t n, float* to) {
  for (size_t i = 0; i < n; i += kLanes) {
    const __mmask16 lanes = LanesAt(i, n);
    const __m256i halves = _mm256_maskz_loadu_epi16(lanes, from + 2 * i);
    _mm512_mask_storeu_ps(to + i, lanes, _mm512_maskz_cvtph_ps(kAll, halves));
  }
}

EMPORIUM_AVX512 void DecodeBrain(const std::byte* from, size_t n, float* to) {
  for (size_t i = 0; i < n; i += kLanes) {
    const __mmask16 lanes = LanesAt(i, n);
    const __m512i brains =
        _mm512_maskz_cvtepu16_epi32(kAll, _mm256_maskz_loadu_epi16(lanes, from + 2 * i));
    const __m512i bits = _mm512_maskz_slli_epi32(kAll, brains, 16);
    _mm512_mask_storeu_ps(to + i, lanes, _mm512_castsi512_ps(bits));
  }
}

EMPORIUM_AVX512 void DecodeBytes(const std::byte* from, uint32_t dim, float scale, float* to) {
  const __m512 scales = _mm512_set1_ps(scale);
  for (uint32_t i = 0; i < dim; i += kLanes) {
    const __mmask16 lanes = LanesAt(i, dim);
    const __m512i values = _mm512_maskz_cvtepi8_epi32(kAll, _mm_maskz_loadu_epi8(lanes, from + i));
    const __m512 floats = _mm512_maskz_cvtepi32_ps(kAll, values);
    _mm512_mask_storeu_ps(to + i, lanes, _mm512_mul_ps(floats, scales));
  }
}

}  // namespace

const Codec kAvx512 = {EncodeHalf, EncodeBrain, EncodeBytes, GreatestMagnitude,
                       DecodeHalf, DecodeBrain, DecodeBytes};

}  // namespace emporium::element
