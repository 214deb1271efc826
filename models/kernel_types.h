// The plain values that the row kernels take, on the CPU and on a GPU. C++17 without LibTorch: nvcc
// reads this file. Values; any thread.
#pragma once

#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define EMPORIUM_ON_DEVICE __host__ __device__
#else
#define EMPORIUM_ON_DEVICE
#endif

namespace emporium::models {

enum class PoolKind : uint8_t { kMean, kSum, kSqrtN };

// What each of a list's `count` rows is multiplied by.
EMPORIUM_ON_DEVICE inline float PoolFactor(PoolKind pool, int32_t count) {
  if (pool == PoolKind::kMean) return 1.0f / static_cast<float>(count);
  if (pool == PoolKind::kSqrtN) return 1.0f / sqrtf(static_cast<float>(count));
  return 1;
}

// The lists that a kernel reads: list i is index[begin[i] .. end[i]). With begin null, list i is
// the one row index[i], or none when that is negative; with index null too, it is row i.
struct Lists {
  const int32_t* index = nullptr;
  const int32_t* begin = nullptr;
  const int32_t* end = nullptr;
  PoolKind pool = PoolKind::kSum;
  // How many lists there are, where it is known: so that the rows of those after the ones that a
  // call is for can be fetched ahead.
  int32_t count = 0;
};

// One event of a history, for AgePool.
struct PoolEvent {
  int32_t item = 0;
  int32_t age = 0;    // bucket
  int32_t count = 0;  // bucket
};

}  // namespace emporium::models
