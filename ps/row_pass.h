// A pass over many rows in the order of their slots: directories and rows are asked for ahead of
// the row in work, so that memory is never waited for.
//
// Functions that only ask are always inlined: the compiler thinks that a call without effect can be
// left out. Requests go to the processor's second cache, which can have about twice as many under
// way as the first. Belongs to the thread of the slabs.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "proto/simd.h"
#include "ps/slab.h"

namespace emporium::ps {

inline constexpr size_t kCacheLine = 64;
inline constexpr size_t kMostLines = 8;  // of a row, that are asked for ahead

// Asks for the lines of [from, from + bytes). Beyond a few of them the processor's own prefetcher
// has understood.
EMPORIUM_INLINE void PrefetchLines(const std::byte* from, size_t bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(from);
  const uintptr_t end = begin + std::min(bytes, kMostLines * kCacheLine);
  for (uintptr_t line = begin / kCacheLine * kCacheLine; line < end; line += kCacheLine) {
    __builtin_prefetch(reinterpret_cast<const void*>(line), 0, 2);
  }
}

// The same for the weights of a row; where their size is known and fills lines, they start on one.
template <size_t kWeightBytes>
EMPORIUM_INLINE void PrefetchRow(const std::byte* weights, size_t weight_bytes) {
  if (kWeightBytes == 0 || kWeightBytes % kCacheLine != 0) {
    PrefetchLines(weights, weight_bytes);
    return;
  }
  for (size_t at = 0; at < std::min(kWeightBytes, kMostLines * kCacheLine); at += kCacheLine) {
    __builtin_prefetch(weights + at, 0, 2);
  }
}

// How many rows ahead of the row in work, so that enough lines are under way whatever the width.
inline size_t RowsAhead(size_t weight_bytes) { return weight_bytes > 4 * kCacheLine ? 24 : 48; }

// Where the rows of many slots are, worked out in blocks before the rows are asked for: two loops
// without waiting for one another are faster than one that does both. Slots that are kNoSlot have
// null pointers.
template <bool kTails>
class RowFinder {
 public:
  // Rows of a slot and of the next kBlock - 1 at least are known between Find and the next Find.
  static constexpr size_t kBlock = 512;

  RowFinder(const Slabs& slabs, std::span<const Slot> slots) : slabs_(slabs), slots_(slots) {
    FindBlock(0);
  }
  // To be called for every multiple of kBlock, in order, before its rows are used.
  void Find(size_t begin) { FindBlock(begin + kBlock); }

  const std::byte* weights(size_t i) const { return weights_[i % kRing]; }
  const std::byte* tail(size_t i) const { return tails_[kTails ? i % kRing : 0]; }

 private:
  static constexpr size_t kRing = 2 * kBlock;

  void FindBlock(size_t begin) {
    const size_t end = std::min(begin + kBlock, slots_.size());
    for (size_t i = begin; i < end; ++i) {
      Slabs::ConstRowRef row = {nullptr, nullptr};
      if (slots_[i] != kNoSlot) row = slabs_.At(slots_[i]);
      weights_[i % kRing] = row.weights;
      if (kTails) tails_[i % kRing] = row.tail;
    }
  }

  const Slabs& slabs_;
  const std::span<const Slot> slots_;
  const std::byte* weights_[kRing];
  const std::byte* tails_[kTails ? kRing : 1];
};

// visit(i, row of slots[i]) for every slot but kNoSlot. `kTails`: the tails are asked for too.
// `kWeightBytes`: of a row, where it is known when this is compiled; else 0.
template <bool kTails, size_t kWeightBytes, class Visit>
void ForRows(const Slabs& slabs, std::span<const Slot> slots, const Visit& visit) {
  const RowShape& shape = slabs.shape();
  const size_t weight_bytes = kWeightBytes > 0 ? kWeightBytes : shape.weight_bytes();
  const size_t ahead = RowsAhead(weight_bytes);
  const size_t count = slots.size();
  RowFinder<kTails> rows(slabs, slots);
  const auto ask = [&](size_t i) __attribute__((always_inline)) {
    if (rows.weights(i) == nullptr) return;
    PrefetchRow<kWeightBytes>(rows.weights(i), weight_bytes);
    if (kTails) PrefetchLines(rows.tail(i), shape.tail_bytes());
  };
  for (size_t i = 0; i < std::min(ahead, count); ++i) ask(i);
  for (size_t begin = 0; begin < count; begin += rows.kBlock) {
    rows.Find(begin);
    const size_t end = std::min(begin + rows.kBlock, count);
    for (size_t i = begin; i < end; ++i) {
      if (i + ahead < count) ask(i + ahead);
      if (rows.weights(i) != nullptr) visit(i, Slabs::ConstRowRef{rows.weights(i), rows.tail(i)});
    }
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
