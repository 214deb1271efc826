// Which vector instructions a loop may use, chosen when the program runs. A loop is written once,
// as an EMPORIUM_INLINE body over plain elements, and compiled several times by functions that call
// the body under EMPORIUM_AVX2, EMPORIUM_AVX512 or nothing. The file is compiled without
// contraction
// (-ffp-contract=off), so that all of them give the same bits. Safe from any thread.
//
// In such a body: no lambdas and no std functions that are not inlined, because they would be
// compiled for the plain processor.
#pragma once

#include <cstdint>

namespace emporium {

enum class SimdLevel : uint8_t {
  kPlain = 0,   // what every x86-64 has
  kAvx2 = 1,    // AVX2 and F16C
  kAvx512 = 2,  // AVX-512 F, BW, DQ, VL too
};
inline constexpr SimdLevel kSimdLevels[] = {SimdLevel::kPlain, SimdLevel::kAvx2,
                                            SimdLevel::kAvx512};

// Whether this processor (and its operating system) has the instructions.
bool HasSimd(SimdLevel level);
// The highest that it has.
SimdLevel BestSimd();

#define EMPORIUM_INLINE [[gnu::always_inline]] inline
#define EMPORIUM_AVX2 [[gnu::target("avx2,f16c")]]
#define EMPORIUM_AVX512 [[gnu::target("avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl")]]

}  // namespace emporium
