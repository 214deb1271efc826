// One bit for each row of a table's slabs, by slot: which rows have something to them. Bits are
// kept by bin, so that a bin costs nothing until one of its bits is set, and can be forgotten or
// numbered anew alone.
//
// Belongs to its table's thread; no locks. Invariant: a bit that was never set, or whose bin was
// cleared since, reads as not set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ps/slab.h"

namespace emporium::ps {

class RowBits {
 public:
  // As the slabs'.
  RowBits(uint32_t bins, uint32_t number_bits)
      : number_bits_(number_bits), number_mask_((1u << number_bits) - 1), bins_(bins) {}

  bool Test(Slot slot) const {
    const std::vector<uint64_t>& words = bins_[slot >> number_bits_];
    const uint32_t number = slot & number_mask_;
    return number / 64 < words.size() && ((words[number / 64] >> (number % 64)) & 1) != 0;
  }
  void Set(Slot slot);
  void Clear(Slot slot);
  void ClearBin(uint32_t bin) { bins_[bin] = {}; }
  // Rows of a bin have moved: the one that was in before[i] is number i now.
  void Renumber(uint32_t bin, std::span<const Slot> before);
  // How many are set.
  uint64_t Count() const;
  uint64_t bytes() const;

 private:
  const uint32_t number_bits_;
  const uint32_t number_mask_;
  std::vector<std::vector<uint64_t>> bins_;  // [bin][number / 64]
};

}  // namespace emporium::ps
