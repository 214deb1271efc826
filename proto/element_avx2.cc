// Eight elements at a time, the rest of a row as a block with zeros behind it.
#include <immintrin.h>

#include "proto/element_kernels.h"
#include "proto/simd.h"

namespace emporium::element {
namespace {

constexpr uint32_t kLanes = 8;

// Lanes below `n` (1 to 7).
EMPORIUM_AVX2 inline __m256i MaskOf(uint32_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
}

EMPORIUM_AVX2 inline __m256i Constant(uint32_t bits) {
  return _mm256_set1_epi32(static_cast<int>(bits));
}
EMPORIUM_AVX2 inline __m256 AsFloats(__m256i bits) { return _mm256_castsi256_ps(bits); }
EMPORIUM_AVX2 inline __m256i AsBits(__m256 floats) { return _mm256_castps_si256(floats); }

// a where the mask is set, else b.
EMPORIUM_AVX2 inline __m256i Choose(__m256i mask, __m256i a, __m256i b) {
  return _mm256_blendv_epi8(b, a, mask);
}

// Words first .. first + 7 of a row.
EMPORIUM_AVX2 inline __m256i WordsAt(const Words& words, uint32_t first) {
  if (words.nearest) return Constant(kNearestWord);
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i step = _mm256_mullo_epi32(lane, Constant(kWordStep));
  __m256i x = _mm256_add_epi32(step, Constant(words.start + first * kWordStep));
  x = _mm256_xor_si256(x, _mm256_srli_epi32(x, 16));
  x = _mm256_mullo_epi32(x, Constant(kWordMul1));
  x = _mm256_xor_si256(x, _mm256_srli_epi32(x, 15));
  x = _mm256_xor_si256(x, Constant(words.twist));
  x = _mm256_mullo_epi32(x, Constant(kWordMul2));
  return _mm256_xor_si256(x, _mm256_srli_epi32(x, 16));
}

EMPORIUM_AVX2 inline __m256i RoundMagnitude(__m256 value, __m256i word) {
  const __m256i whole = _mm256_cvttps_epi32(value);
  const __m256 fraction = _mm256_sub_ps(value, _mm256_cvtepi32_ps(whole));
  const __m256 uniform =
      _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_srli_epi32(word, 8)), _mm256_set1_ps(0x1p-24f));
  const __m256 up = _mm256_cmp_ps(uniform, _mm256_sub_ps(_mm256_set1_ps(1), fraction), _CMP_GE_OQ);
  return _mm256_sub_epi32(whole, AsBits(up));  // the mask is -1
}

// Infinities and NaN in their places, and the sign; all in the lower half of a lane.
EMPORIUM_AVX2 inline __m256i Finish(__m256i bits, __m256i magnitude, __m256i rounded,
                                    uint32_t infinity, uint32_t nan) {
  const __m256i limit = Constant(kInfinity);
  rounded = Choose(_mm256_cmpeq_epi32(magnitude, limit), Constant(infinity), rounded);
  rounded = Choose(_mm256_cmpgt_epi32(magnitude, limit), Constant(nan), rounded);
  const __m256i sign = _mm256_and_si256(_mm256_srli_epi32(bits, 16), Constant(0x8000));
  return _mm256_or_si256(sign, rounded);
}

struct ToHalf {
  EMPORIUM_AVX2 static __m256i Convert(__m256 x, __m256i word) {
    const __m256i bits = AsBits(x);
    const __m256i magnitude = _mm256_and_si256(bits, Constant(kMagnitude));
    __m256i normal = _mm256_add_epi32(magnitude, _mm256_srli_epi32(word, 19));
    normal = _mm256_sub_epi32(_mm256_srli_epi32(normal, 13), Constant(kHalfRebias));
    normal = _mm256_min_epi32(normal, Constant(kGreatestHalf));
    const __m256i tiny = _mm256_cmpgt_epi32(Constant(kLeastHalf), magnitude);
    const __m256 kept = AsFloats(_mm256_and_si256(tiny, magnitude));
    const __m256i multiple = RoundMagnitude(_mm256_mul_ps(kept, _mm256_set1_ps(0x1p24f)), word);
    return Finish(bits, magnitude, Choose(tiny, multiple, normal), 0x7c00, 0x7e00);
  }
};

struct ToBrain {
  EMPORIUM_AVX2 static __m256i Convert(__m256 x, __m256i word) {
    const __m256i bits = AsBits(x);
    const __m256i magnitude = _mm256_and_si256(bits, Constant(kMagnitude));
    const __m256i carried = _mm256_add_epi32(magnitude, _mm256_srli_epi32(word, 16));
    const __m256i rounded =
        _mm256_min_epi32(_mm256_srli_epi32(carried, 16), Constant(kGreatestBrain));
    return Finish(bits, magnitude, rounded, 0x7f80, 0x7fc0);
  }
};

// The lower halves of eight lanes, in order.
EMPORIUM_AVX2 inline __m128i Narrow(__m256i lanes) {
  const __m256i packed = _mm256_packus_epi32(lanes, lanes);
  return _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
}

// The first `n` (below 8) of eight 16-bit values.
EMPORIUM_AVX2 inline void StoreFirst(__m128i values, uint32_t n, std::byte* to) {
  if (n & 4) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), values);
    values = _mm_srli_si128(values, 8);
    to += 8;
  }
  if (n & 2) {
    StoreAt(to, 0, _mm_cvtsi128_si32(values));
    values = _mm_srli_si128(values, 4);
    to += 4;
  }
  if (n & 1) StoreAt(to, 0, static_cast<uint16_t>(_mm_cvtsi128_si32(values)));
}

template <class Type>
EMPORIUM_AVX2 inline void Encode16(const float* from, uint32_t dim, const Words& words,
                                   std::byte* to) {
  uint32_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
    const __m256i lanes = Type::Convert(_mm256_loadu_ps(from + i), WordsAt(words, i));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + size_t{2} * i), Narrow(lanes));
  }
  if (i == dim) return;
  const __m256 rest = _mm256_maskload_ps(from + i, MaskOf(dim - i));
  StoreFirst(Narrow(Type::Convert(rest, WordsAt(words, i))), dim - i, to + size_t{2} * i);
}

EMPORIUM_AVX2 void EncodeHalf(const float* from, uint32_t dim, const Words& words, std::byte* to) {
  Encode16<ToHalf>(from, dim, words, to);
}
EMPORIUM_AVX2 void EncodeBrain(const float* from, uint32_t dim, const Words& words, std::byte* to) {
  Encode16<ToBrain>(from, dim, words, to);
}

// Eight bytes in the lower half.
EMPORIUM_AVX2 inline __m128i ToBytes(__m256 x, __m256 scale, __m256i word) {
  const __m256i quotient = AsBits(_mm256_div_ps(x, scale));
  const __m256 magnitude = AsFloats(_mm256_and_si256(quotient, Constant(kMagnitude)));
  const __m256i whole = _mm256_min_epi32(RoundMagnitude(magnitude, word), Constant(127));
  const __m256i sign = _mm256_srai_epi32(quotient, 31);  // 0 or -1
  const __m256i value = _mm256_sub_epi32(_mm256_xor_si256(whole, sign), sign);
  const __m256i words = _mm256_packs_epi32(value, value);
  const __m256i bytes = _mm256_packs_epi16(words, words);
  return _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
}

EMPORIUM_AVX2 void EncodeBytes(const float* from, uint32_t dim, float scale, const Words& words,
                               std::byte* to) {
  const __m256 scales = _mm256_set1_ps(scale);
  uint32_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
    const __m128i bytes = ToBytes(_mm256_loadu_ps(from + i), scales, WordsAt(words, i));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to + i), bytes);
  }
  if (i == dim) return;
  const __m256 rest = _mm256_maskload_ps(from + i, MaskOf(dim - i));
  const __m128i bytes = ToBytes(rest, scales, WordsAt(words, i));
  std::byte last[16];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(last), bytes);
  for (uint32_t k = 0; i + k < dim; ++k) to[i + k] = last[k];
}

EMPORIUM_AVX2 int32_t GreatestMagnitude(const float* from, uint32_t dim) {
  const __m256i mask = Constant(kMagnitude);
  __m256i greatest = _mm256_setzero_si256();
  uint32_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
    const __m256i bits = AsBits(_mm256_loadu_ps(from + i));
    greatest = _mm256_max_epi32(greatest, _mm256_and_si256(bits, mask));
  }
  if (i < dim) {
    const __m256i bits = AsBits(_mm256_maskload_ps(from + i, MaskOf(dim - i)));
    greatest = _mm256_max_epi32(greatest, _mm256_and_si256(bits, mask));
  }
  __m128i half =
      _mm_max_epi32(_mm256_castsi256_si128(greatest), _mm256_extracti128_si256(greatest, 1));
  half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0x4e));
  half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0xb1));
  return _mm_cvtsi128_si32(half);
}

EMPORIUM_AVX2 void DecodeHalf(const std::byte* from, size_t n, float* to) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 2 * i));
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(halves));
  }
  for (; i < n; ++i) to[i] = _cvtsh_ss(LoadAt<uint16_t>(from, i));
}

EMPORIUM_AVX2 void DecodeBrain(const std::byte* from, size_t n, float* to) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const __m128i brains = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 2 * i));
    const __m256i bits = _mm256_slli_epi32(_mm256_cvtepu16_epi32(brains), 16);
    _mm256_storeu_ps(to + i, AsFloats(bits));
  }
  for (; i < n; ++i) {
    const int bits = LoadAt<uint16_t>(from, i) << 16;
    to[i] = _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(bits)));
  }
}

EMPORIUM_AVX2 void DecodeBytes(const std::byte* from, uint32_t dim, float scale, float* to) {
  const __m256 scales = _mm256_set1_ps(scale);
  uint32_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + i));
    const __m256 values = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
    _mm256_storeu_ps(to + i, _mm256_mul_ps(values, scales));
  }
  for (; i < dim; ++i) to[i] = static_cast<float>(LoadAt<int8_t>(from, i)) * scale;
}

}  // namespace

const Codec kAvx2 = {EncodeHalf, EncodeBrain, EncodeBytes, GreatestMagnitude,
                     DecodeHalf, DecodeBrain, DecodeBytes};

}  // namespace emporium::element
