#include "proto/simd.h"

#include <cpuid.h>

namespace emporium {
namespace {

// Not every compiler's __builtin_cpu_supports knows it. Of no use without AVX, which that function
// asks the operating system for too.
bool HasF16c() {
  unsigned int eax = 0;
  unsigned int ebx = 0;
  unsigned int ecx = 0;
  unsigned int edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

}  // namespace

bool HasSimd(SimdLevel level) {
  const bool avx2 = __builtin_cpu_supports("avx2") != 0 && HasF16c();
  switch (level) {
    case SimdLevel::kPlain:
      return true;
    case SimdLevel::kAvx2:
      return avx2;
    case SimdLevel::kAvx512:
      return avx2 && __builtin_cpu_supports("avx512f") != 0 &&
             __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
             __builtin_cpu_supports("avx512vl") != 0;
  }
  return false;
}

SimdLevel BestSimd() {
  static const SimdLevel best = HasSimd(SimdLevel::kAvx512) ? SimdLevel::kAvx512
                                : HasSimd(SimdLevel::kAvx2) ? SimdLevel::kAvx2
                                                            : SimdLevel::kPlain;
  return best;
}

}  // namespace emporium
