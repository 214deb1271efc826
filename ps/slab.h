// Where rows live: fixed-size cells in large slabs taken straight from the kernel. A cell is named
// by its slot and never moves, so that an index may grow while rows stay where they are.
//
// Belongs to its table's thread; no locks. Invariants:
//  1. A cell that Allocate returns is all zeros.
//  2. Every slab holds the same power of two of cells: slot -> address is a shift and a mask.
//  3. Slabs after the first ask for huge pages. The first does not, so that a table of a few rows
//     costs a few small pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace emporium::ps {

// Position of a row in a table's slabs; stable for the life of the row.
using Slot = uint32_t;
inline constexpr Slot kNoSlot = 0xffffffffu;

class Slabs {
 public:
  explicit Slabs(uint32_t cell_bytes);  // a multiple of 8
  ~Slabs();
  Slabs(const Slabs&) = delete;
  Slabs& operator=(const Slabs&) = delete;

  Slot Allocate();
  void Free(Slot slot);
  // Forgets every cell and gives the memory back.
  void Clear();

  std::byte* At(Slot slot) { return Address(slot); }
  const std::byte* At(Slot slot) const { return Address(slot); }

  uint64_t live() const { return used_ - free_.size(); }
  // Bytes of the cells that have ever been in use; what lies behind them was never touched.
  uint64_t bytes() const { return used_ * cell_bytes_; }

 private:
  std::byte* Address(Slot slot) const {
    return slabs_[slot >> shift_] + static_cast<size_t>(slot & mask_) * cell_bytes_;
  }

  const uint32_t cell_bytes_;
  const uint32_t shift_;  // log2 of the cells of one slab
  const uint32_t mask_;
  const size_t slab_bytes_;
  uint64_t used_ = 0;  // slots below it have been handed out at least once
  std::vector<Slot> free_;
  std::vector<std::byte*> slabs_;
};

}  // namespace emporium::ps
