#include "ps/slab.h"

#include <sys/mman.h>

#include <bit>
#include <cstring>

#include "proto/check.h"

namespace emporium::ps {
namespace {

constexpr size_t kSlabBytes = 4u << 20;  // at least; up to twice as much, see Slabs
constexpr size_t kHugePage = 2u << 20;
constexpr size_t kSmallPage = 4u << 10;

size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

std::byte* MapZeros(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EMPORIUM_CHECK(memory != MAP_FAILED,
                 "out of memory for rows; give the process more memory or add shards");
  return static_cast<std::byte*>(memory);
}

// The kernel gives huge pages only at their own alignment: maps more and cuts the ends off.
std::byte* MapHuge(size_t bytes) {
  std::byte* raw = MapZeros(bytes + kHugePage);
  const size_t head = (kHugePage - reinterpret_cast<uintptr_t>(raw) % kHugePage) % kHugePage;
  std::byte* aligned = raw + head;
  if (head > 0) munmap(raw, head);
  if (head < kHugePage) munmap(aligned + bytes, kHugePage - head);
  // Advice only: a kernel without huge pages serves small ones.
  (void)madvise(aligned, bytes, MADV_HUGEPAGE);
  return aligned;
}

uint32_t CellsShift(uint32_t cell_bytes) {
  const size_t cells = (kSlabBytes + cell_bytes - 1) / cell_bytes;
  return static_cast<uint32_t>(std::countr_zero(std::bit_ceil(cells)));
}

}  // namespace

Slabs::Slabs(uint32_t cell_bytes)
    : cell_bytes_(cell_bytes),
      shift_(CellsShift(cell_bytes)),
      mask_((1u << shift_) - 1),
      slab_bytes_(RoundUp((size_t{1} << shift_) * cell_bytes, kSmallPage)) {
  EMPORIUM_CHECK(cell_bytes > 0 && cell_bytes % 8 == 0, "cells must keep 8-byte alignment");
}

Slabs::~Slabs() { Clear(); }

Slot Slabs::Allocate() {
  if (!free_.empty()) {
    const Slot slot = free_.back();
    free_.pop_back();
    std::memset(At(slot), 0, cell_bytes_);
    return slot;
  }
  EMPORIUM_CHECK(used_ < kNoSlot, "a table of one shard holds at most 2^32 - 1 rows; add shards");
  const auto slot = static_cast<Slot>(used_);
  if ((slot >> shift_) == slabs_.size()) {
    slabs_.push_back(slabs_.empty() ? MapZeros(slab_bytes_) : MapHuge(slab_bytes_));
  }
  ++used_;
  return slot;
}

void Slabs::Free(Slot slot) {
  EMPORIUM_CHECK(slot < used_, "only a slot that was handed out can be freed");
  free_.push_back(slot);
}

void Slabs::Clear() {
  for (std::byte* slab : slabs_) munmap(slab, slab_bytes_);
  slabs_.clear();
  free_.clear();
  used_ = 0;
}

}  // namespace emporium::ps
