// The rows of one table that one step changes: their gradients summed over the micro-batches, and
// afterwards what they were before, for pulls of the version before.
//
// Belongs to the shard's thread; the memory is kept from step to step. Invariants:
//  1. A row occurs once; position i of every array speaks of the same row.
//  2. Gradients of a key are added in the order in which Add was called (the first is copied), so
//     the sum is the same bits on any shard.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "proto/frame.h"
#include "ps/table.h"

namespace emporium::ps {

class StepRows {
 public:
  // Forgets the step before; the sections that will be added have `keys` keys in all.
  void Begin(uint64_t keys, uint32_t dim, bool popularity);
  // Adds one micro-batch's gradients; keys without a row get one.
  void Add(Table& table, const SectionView& section);
  // Updates the rows once each with what was added, and remembers what they were before.
  void Apply(Table& table, uint32_t step, float learning_rate_factor);
  size_t rows() const { return slots_.size(); }

  // Table::Read for the version before: as it was remembered where the row has changed.
  void ReadPrevious(const Table& table, std::span<const uint64_t> keys, std::span<const Slot> slots,
                    uint32_t step, std::span<float> weights, std::span<float> popularity) const;

 private:
  // Open addressing, at most half full: slot -> position.
  struct Entry {
    Slot slot = kNoSlot;
    uint32_t position = 0;
  };
  size_t HomeOf(Slot slot) const { return (slot * 0x9e3779b97f4a7c15u) >> shift_; }
  // Where in index_ the slot stands, or the free place where it belongs.
  size_t Locate(Slot slot) const;

  uint32_t dim_ = 0;
  bool popularity_ = false;
  int shift_ = 63;
  uint64_t added_ = 0;  // keys since Begin
  std::vector<Entry> index_;
  std::vector<Slot> slots_;
  std::vector<float> gradients_;  // [rows, dim], and room behind them
  std::vector<float> counts_;     // [rows]
  std::vector<float> previous_weights_;
  std::vector<float> previous_popularity_;
  std::vector<Slot> found_;  // scratch of Add
};

}  // namespace emporium::ps
