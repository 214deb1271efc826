// A pass over many rows in the order of their slots: directories and rows are asked for ahead of
// the row in work, so that memory is never waited for.
//
// Requests go to the processor's second cache, which can have about twice as many under way as the
// first. Belongs to the thread of the slabs.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "ps/slab.h"

namespace emporium::ps {

inline constexpr size_t kCacheLine = 64;

// Asks for the lines of [from, from + bytes). Beyond a few of them the processor's own prefetcher
// has understood.
inline void PrefetchLines(const std::byte* from, size_t bytes) {
  constexpr size_t kMost = 8 * kCacheLine;
  const auto begin = reinterpret_cast<uintptr_t>(from);
  const uintptr_t end = begin + std::min(bytes, kMost);
  for (uintptr_t line = begin / kCacheLine * kCacheLine; line < end; line += kCacheLine) {
    __builtin_prefetch(reinterpret_cast<const void*>(line), 0, 2);
  }
}

// Rows ahead, so that about the same number of lines is under way whatever the width.
inline size_t RowsAhead(const RowShape& shape, bool tails) {
  constexpr size_t kLines = 128;
  constexpr size_t kLeast = 8;
  constexpr size_t kMost = 48;
  const size_t lines = (shape.weight_bytes() + kCacheLine - 1) / kCacheLine + (tails ? 1 : 0);
  return std::clamp(kLines / lines, kLeast, kMost);
}

// visit(i, row of slots[i]) for every slot but kNoSlot. `kTails`: the tails are asked for too.
template <bool kTails, class Visit>
void ForRows(const Slabs& slabs, std::span<const Slot> slots, const Visit& visit) {
  constexpr size_t kRing = 64;
  Slabs::ConstRowRef ring[kRing];
  const RowShape& shape = slabs.shape();
  const size_t ahead = RowsAhead(shape, kTails);
  const size_t count = slots.size();
  const auto ask = [&](size_t i) {
    if (slots[i] == kNoSlot) return;
    const Slabs::ConstRowRef row = slabs.At(slots[i]);
    ring[i % kRing] = row;
    PrefetchLines(row.weights, shape.weight_bytes());
    if (kTails) PrefetchLines(row.tail, shape.tail_bytes());
  };
  for (size_t i = 0; i < std::min(ahead, count); ++i) ask(i);
  for (size_t i = 0; i < count; ++i) {
    if (slots[i] != kNoSlot) visit(i, ring[i % kRing]);
    if (i + ahead < count) ask(i + ahead);
  }
}

// A copy in blocks of a size that the compiler knows needs no call.
inline void CopyRowBytes(const std::byte* __restrict from, size_t bytes, std::byte* __restrict to) {
  constexpr size_t kBlock = 64;
  size_t i = 0;
  for (; i + kBlock <= bytes; i += kBlock) std::memcpy(to + i, from + i, kBlock);
  for (; i + 4 <= bytes; i += 4) std::memcpy(to + i, from + i, 4);
  for (; i < bytes; ++i) to[i] = from[i];
}

// Copies the weights of every slot but kNoSlot to its place in `to`, rows one behind the other.
void CopyWeights(const Slabs& slabs, std::span<const Slot> slots, std::byte* to);

}  // namespace emporium::ps
