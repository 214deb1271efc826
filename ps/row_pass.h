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

// Where the rows of many slots are, weights and tails, worked out in blocks before the rows are
// asked for. Slots that are kNoSlot have null pointers.
class RowFinder {
 public:
  // Rows of a slot and of the next kBlock - 1 at least are known between Find and the next Find.
  static constexpr size_t kBlock = 512;

  RowFinder(const Slabs& slabs, std::span<const Slot> slots) : places_(slabs), slots_(slots) {
    FindBlock(0);
  }
  // To be called for every multiple of kBlock, in order, before its rows are used.
  void Find(size_t begin) { FindBlock(begin + kBlock); }

  const RowRef& operator[](size_t i) const { return rows_[i % kRing]; }

 private:
  static constexpr size_t kRing = 2 * kBlock;

  void FindBlock(size_t begin) {
    const size_t end = std::min(begin + kBlock, slots_.size());
    for (size_t i = begin; i < end; ++i) {
      rows_[i % kRing] = slots_[i] != kNoSlot ? places_[slots_[i]] : RowRef();
    }
  }

  const Slabs::Places places_;
  const std::span<const Slot> slots_;
  RowRef rows_[kRing];
};

// For short rows, none of whose slots is kNoSlot: one loop, so that addresses are worked out while
// rows are waited for. Directory entries are asked for before that, or all would wait for them.
// Every instruction shows.
template <bool kTails, size_t kWeightBytes, class Visit>
class ShortRowPass {
 public:
  ShortRowPass(const Slabs& slabs, std::span<const Slot> slots, Visit visit)
      : places_(slabs),
        weight_bytes_(kWeightBytes > 0 ? kWeightBytes : slabs.shape().weight_bytes()),
        tail_bytes_(slabs.shape().tail_bytes()),
        slots_(slots.data()),
        count_(slots.size()),
        visit_(visit) {}

  void Run() {
    const size_t ahead = RowsAhead(weight_bytes_);
    const size_t entries = ahead + kEntriesAhead;
    for (size_t i = 0; i < std::min(entries, count_); ++i) AskEntry(i);
    for (size_t i = 0; i < std::min(ahead, count_); ++i) AskRow(i);
    size_t i = 0;
    for (; i + entries < count_; ++i) {
      AskEntry(i + entries);
      AskRow(i + ahead);
      VisitRow(i);
    }
    for (; i + ahead < count_; ++i) {
      AskRow(i + ahead);
      VisitRow(i);
    }
    for (; i < count_; ++i) VisitRow(i);
  }

 private:
  static constexpr size_t kRing = 64;          // more than RowsAhead
  static constexpr size_t kEntriesAhead = 64;  // of the rows that are asked for

  EMPORIUM_INLINE void AskEntry(size_t i) const {
    __builtin_prefetch(places_.EntryOf(slots_[i]), 0, 3);
  }
  EMPORIUM_INLINE void AskRow(size_t i) {
    const RowRef row = places_[slots_[i]];
    weights_[i % kRing] = row.weights;
    PrefetchRow<kWeightBytes>(row.weights, weight_bytes_);
    if (!kTails) return;
    tails_[i % kRing] = row.tail;
    PrefetchLines(row.tail, tail_bytes_);
  }
  EMPORIUM_INLINE void VisitRow(size_t i) {
    visit_(i, Slabs::ConstRowRef{weights_[i % kRing], kTails ? tails_[i % kRing] : nullptr});
  }

  const Slabs::Places places_;
  const size_t weight_bytes_;
  const size_t tail_bytes_;
  const Slot* const slots_;
  const size_t count_;
  const Visit visit_;
  const std::byte* weights_[kRing];
  const std::byte* tails_[kTails ? kRing : 1];
};

// For all rows: addresses a block at a time. Beside rows of many lines asking for directory entries
// costs more than waiting for them.
template <bool kTails, size_t kWeightBytes, class Visit>
void ForRowsByBlock(const Slabs& slabs, std::span<const Slot> slots, Visit visit) {
  const size_t weight_bytes = kWeightBytes > 0 ? kWeightBytes : slabs.shape().weight_bytes();
  const size_t tail_bytes = slabs.shape().tail_bytes();
  const size_t ahead = RowsAhead(weight_bytes);
  const size_t count = slots.size();
  RowFinder rows(slabs, slots);
  const auto ask = [&](size_t i) __attribute__((always_inline)) {
    if (rows[i].weights == nullptr) return;
    PrefetchRow<kWeightBytes>(rows[i].weights, weight_bytes);
    if (kTails) PrefetchLines(rows[i].tail, tail_bytes);
  };
  for (size_t i = 0; i < std::min(ahead, count); ++i) ask(i);
  for (size_t begin = 0; begin < count; begin += rows.kBlock) {
    rows.Find(begin);
    const size_t end = std::min(begin + rows.kBlock, count);
    for (size_t i = begin; i < end; ++i) {
      if (i + ahead < count) ask(i + ahead);
      if (rows[i].weights == nullptr) continue;
      visit(i, Slabs::ConstRowRef{rows[i].weights, rows[i].tail});
    }
  }
}

// visit(i, row of slots[i]) for every slot but kNoSlot; whether there was no such. `kTails`: the
// tails are asked for too. `kWeightBytes`: of a row, where it is known when this is compiled; else
// 0.
template <bool kTails, size_t kWeightBytes, class Visit>
bool ForRows(const Slabs& slabs, std::span<const Slot> slots, Visit visit) {
  uint32_t absent = 0;  // counted rather than looked for: vector instructions do that
  for (const Slot slot : slots) absent += slot == kNoSlot ? 1 : 0;
  const size_t weight_bytes = kWeightBytes > 0 ? kWeightBytes : slabs.shape().weight_bytes();
  if (absent == 0 && weight_bytes <= 2 * kCacheLine) {
    ShortRowPass<kTails, kWeightBytes, Visit>(slabs, slots, visit).Run();
  } else {
    ForRowsByBlock<kTails, kWeightBytes, Visit>(slabs, slots, visit);
  }
  return absent == 0;
}

// A copy in blocks of a size that the compiler knows needs no call.
inline void CopyRowBytes(const std::byte* __restrict from, size_t bytes, std::byte* __restrict to) {
  constexpr size_t kBlock = 64;
  size_t i = 0;
  for (; i + kBlock <= bytes; i += kBlock) std::memcpy(to + i, from + i, kBlock);
  for (; i + 4 <= bytes; i += 4) std::memcpy(to + i, from + i, 4);
  for (; i < bytes; ++i) to[i] = from[i];
}

// Copies the weights of every slot but kNoSlot to its place in `to`, rows one behind the other;
// whether there was no such.
bool CopyWeights(const Slabs& slabs, std::span<const Slot> slots, std::byte* to);

}  // namespace emporium::ps
