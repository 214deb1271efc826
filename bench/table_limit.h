// What bench_table compares with: rows in an array. With known positions it is the limit, as fast
// as this machine can gather rows; with a hash map before it, the table that people build.
// The limit's prefetch (first or second cache, distance) is tuned for each width and operation.
#pragma once

#include <sys/mman.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "proto/check.h"

namespace emporium::bench {

// Zeroed memory in huge pages where the kernel gives them.
template <class T>
class HugeArray {
 public:
  explicit HugeArray(size_t size, bool huge = true) : bytes_(size * sizeof(T)) {
    constexpr size_t kHuge = size_t{2} << 20;
    void* const mapped = mmap(nullptr, bytes_ + kHuge, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    EMPORIUM_CHECK(mapped != MAP_FAILED, "memory for the benchmark");
    mapped_ = static_cast<std::byte*>(mapped);
    const auto address = reinterpret_cast<uintptr_t>(mapped_);
    data_ = reinterpret_cast<T*>((address + kHuge - 1) / kHuge * kHuge);
    madvise(data_, bytes_, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  }
  ~HugeArray() { munmap(mapped_, bytes_ + (size_t{2} << 20)); }
  HugeArray(const HugeArray&) = delete;
  HugeArray& operator=(const HugeArray&) = delete;
  T* data() const { return data_; }

 private:
  const size_t bytes_;
  std::byte* mapped_;
  T* data_;
};

struct Prefetch {
  bool second_cache = true;
  size_t distance = 32;
  std::string ToString() const {
    return std::string(second_cache ? "T1/" : "T0/") + std::to_string(distance);
  }
};

template <int kDim>
class RowArray {
 public:
  explicit RowArray(size_t rows, bool huge) : weights_(rows * kDim, huge), state_(rows, huge) {}

  float* row(size_t i) const { return weights_.data() + i * kDim; }

  void Read(std::span<const uint32_t> positions, float* out, Prefetch prefetch) const {
    prefetch.second_cache ? ReadWith<2>(positions, out, prefetch.distance)
                          : ReadWith<3>(positions, out, prefetch.distance);
  }
  // Row-wise Adagrad, with the same sums as Emporium's.
  void Update(std::span<const uint32_t> positions, const float* gradients,
              Prefetch prefetch) const {
    prefetch.second_cache ? UpdateWith<2>(positions, gradients, prefetch.distance)
                          : UpdateWith<3>(positions, gradients, prefetch.distance);
  }

 private:
  template <int kLocality>
  void Ask(uint32_t position) const {
    const float* from = row(position);
    for (int line = 0; line < kDim; line += 16) __builtin_prefetch(from + line, 0, kLocality);
  }

  template <int kLocality>
  void ReadWith(std::span<const uint32_t> positions, float* out, size_t distance) const {
    const size_t n = positions.size();
    for (size_t i = 0; i < distance; ++i) Ask<kLocality>(positions[i]);
    for (size_t i = 0; i < n; ++i) {
      if (i + distance < n) Ask<kLocality>(positions[i + distance]);
      std::memcpy(out + i * kDim, row(positions[i]), kDim * sizeof(float));
    }
  }

  template <int kLocality>
  void UpdateWith(std::span<const uint32_t> positions, const float* gradients,
                  size_t distance) const {
    const size_t n = positions.size();
    const auto ask = [this](uint32_t position) {
      Ask<kLocality>(position);
      __builtin_prefetch(state_.data() + position, 0, kLocality);
    };
    for (size_t i = 0; i < distance; ++i) ask(positions[i]);
    for (size_t i = 0; i < n; ++i) {
      if (i + distance < n) ask(positions[i + distance]);
      const float* __restrict g = gradients + i * kDim;
      float* __restrict w = row(positions[i]);
      float partial[4] = {0, 0, 0, 0};
      for (int j = 0; j < kDim; j += 4) {
        for (int k = 0; k < 4; ++k) partial[k] += g[j + k] * g[j + k];
      }
      float& sum = state_.data()[positions[i]];
      sum += ((partial[0] + partial[1]) + (partial[2] + partial[3])) / kDim;
      const float rate = 0.001f / (std::sqrt(sum) + 1e-8f);
      for (int j = 0; j < kDim; ++j) w[j] -= rate * g[j];
    }
  }

  HugeArray<float> weights_;
  HugeArray<float> state_;
};

}  // namespace emporium::bench
