// Looking for keys with AVX2. Compiled for processors that have it.
#include <immintrin.h>

#include "ps/index_pass.h"

namespace emporium::ps {
namespace {

struct Avx2 {
  static uint32_t Lanes(const IndexBucket* bucket, uint64_t wanted, uint32_t bits) {
    const __m256i target = _mm256_set1_epi64x(static_cast<long long>(wanted));
    const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(bits));
    const auto* halves = reinterpret_cast<const __m256i*>(bucket);
    return Half(halves, target, shift) | Half(halves + 1, target, shift) << 4;
  }

 private:
  static uint32_t Half(const __m256i* half, __m256i target, __m128i shift) {
    const __m256i rest = _mm256_srl_epi64(_mm256_xor_si256(_mm256_load_si256(half), target), shift);
    const __m256i zero = _mm256_cmpeq_epi64(rest, _mm256_setzero_si256());
    return static_cast<uint32_t>(_mm256_movemask_pd(_mm256_castsi256_pd(zero)));
  }
};

}  // namespace

void IndexFindAvx2(const IndexView& view, const uint64_t* keys, size_t count, uint32_t* slots) {
  IndexFindAll<Avx2>(view, keys, count, slots);
}

}  // namespace emporium::ps
