// The bytes of one row in its slab cell, and the only code that knows their offsets:
//
//   cell     := key u64 | last_step u32 | updates u32
//             | weight f32 x dim | state f32 x state | popularity f32 (if kept) | zeros to 8
//
// Values only; belongs to whoever owns the cell.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace emporium::ps {

// What a row consists of, in this order, all fp32 or 32-bit: the image that a checkpoint stores.
struct RowLayout {
  uint32_t dim = 0;         // weights
  uint32_t state = 0;       // optimizer state floats
  bool popularity = false;  // decayed count, valid as of `last_step`
};

struct RowHeader {
  uint64_t key = 0;
  uint32_t last_step = 0;
  uint32_t updates = 0;
};
static_assert(sizeof(RowHeader) == 16);

inline constexpr uint32_t kRowAlign = 8;

constexpr uint32_t CellBytes(const RowLayout& layout) {
  const uint32_t floats = layout.dim + layout.state + (layout.popularity ? 1 : 0);
  const uint32_t bytes = sizeof(RowHeader) + floats * sizeof(float);
  return (bytes + kRowAlign - 1) / kRowAlign * kRowAlign;
}

inline RowHeader& HeaderOf(std::byte* cell) { return *reinterpret_cast<RowHeader*>(cell); }
inline const RowHeader& HeaderOf(const std::byte* cell) {
  return *reinterpret_cast<const RowHeader*>(cell);
}

inline float* FloatsOf(std::byte* cell) {
  return reinterpret_cast<float*>(cell + sizeof(RowHeader));
}
inline const float* FloatsOf(const std::byte* cell) {
  return reinterpret_cast<const float*>(cell + sizeof(RowHeader));
}

inline std::span<float> WeightsOf(std::byte* cell, const RowLayout& layout) {
  return {FloatsOf(cell), layout.dim};
}
inline std::span<const float> WeightsOf(const std::byte* cell, const RowLayout& layout) {
  return {FloatsOf(cell), layout.dim};
}

inline std::span<float> StateOf(std::byte* cell, const RowLayout& layout) {
  return {FloatsOf(cell) + layout.dim, layout.state};
}
inline std::span<const float> StateOf(const std::byte* cell, const RowLayout& layout) {
  return {FloatsOf(cell) + layout.dim, layout.state};
}

// Only where the layout keeps it.
inline float& PopularityOf(std::byte* cell, const RowLayout& layout) {
  return FloatsOf(cell)[layout.dim + layout.state];
}
inline float PopularityOf(const std::byte* cell, const RowLayout& layout) {
  return FloatsOf(cell)[layout.dim + layout.state];
}

// Rows are short: a copy in blocks of a size that the compiler knows needs no call.
inline void CopyFloats(const float* __restrict from, size_t n, float* __restrict to) {
  constexpr size_t kBlock = 16;
  size_t i = 0;
  for (; i + kBlock <= n; i += kBlock) std::memcpy(to + i, from + i, kBlock * sizeof(float));
  for (; i < n; ++i) to[i] = from[i];
}

// Asks for the first `bytes` of a cell before they are needed. Beyond a few lines the processor's
// own prefetcher has understood.
template <bool kWrite>
inline void PrefetchCell(const std::byte* cell, size_t bytes) {
  constexpr size_t kLine = 64;
  constexpr size_t kMost = 8 * kLine;
  const size_t end = bytes < kMost ? bytes : kMost;
  for (size_t at = 0; at < end; at += kLine) __builtin_prefetch(cell + at, kWrite ? 1 : 0);
}

}  // namespace emporium::ps
