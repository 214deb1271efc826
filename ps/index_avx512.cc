// Looking for keys with AVX-512F. Compiled for processors that have it.
#include <immintrin.h>

#include "ps/index_pass.h"

namespace emporium::ps {
namespace {

struct Avx512 {
  static uint32_t Lanes(const IndexBucket* bucket, uint64_t wanted, uint32_t bits) {
    const __m512i entries = _mm512_load_si512(bucket);
    const __m512i target = _mm512_set1_epi64(static_cast<long long>(wanted));
    const __m512i kept = _mm512_set1_epi64(static_cast<long long>(~uint64_t{0} << bits));
    return _mm512_testn_epi64_mask(_mm512_xor_si512(entries, target), kept);
  }
};

}  // namespace

void IndexFindAvx512(const IndexView& view, const uint64_t* keys, size_t count, uint32_t* slots) {
  IndexFindAll<Avx512>(view, keys, count, slots);
}

}  // namespace emporium::ps
