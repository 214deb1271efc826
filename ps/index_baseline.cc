// Looking for keys without vector instructions, the twin that the others are compared with, and
// with those that every x86-64 processor has.
#include <emmintrin.h>

#include "ps/index_pass.h"

namespace emporium::ps {
namespace {

struct Plain {
  static uint32_t Lanes(const IndexBucket* bucket, uint64_t wanted, uint32_t bits) {
    uint32_t lanes = 0;
    for (uint32_t i = 0; i < kIndexLanes; ++i) {
      if ((bucket->entries[i] ^ wanted) >> bits == 0) lanes |= 1u << i;
    }
    return lanes;
  }
};

struct Sse2 {
  static uint32_t Lanes(const IndexBucket* bucket, uint64_t wanted, uint32_t bits) {
    const __m128i target = _mm_set1_epi64x(static_cast<long long>(wanted));
    const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(bits));
    const auto* pairs = reinterpret_cast<const __m128i*>(bucket);
    uint32_t lanes = 0;
    for (int i = 0; i < 4; ++i) {
      const __m128i rest = _mm_srl_epi64(_mm_xor_si128(_mm_load_si128(pairs + i), target), shift);
      // There is no comparison of 64 bits: both halves must be zero.
      const __m128i zero = _mm_cmpeq_epi32(rest, _mm_setzero_si128());
      const __m128i both = _mm_and_si128(zero, _mm_shuffle_epi32(zero, _MM_SHUFFLE(2, 3, 0, 1)));
      lanes |= static_cast<uint32_t>(_mm_movemask_pd(_mm_castsi128_pd(both))) << (2 * i);
    }
    return lanes;
  }
};

}  // namespace

void IndexFindPlain(const IndexView& view, const uint64_t* keys, size_t count, uint32_t* slots) {
  IndexFindAll<Plain>(view, keys, count, slots);
}

void IndexFindSse2(const IndexView& view, const uint64_t* keys, size_t count, uint32_t* slots) {
  IndexFindAll<Sse2>(view, keys, count, slots);
}

}  // namespace emporium::ps
