// What a table keeps beside its rows for checkpoints: which rows have changed, and the cut that is
// being written. Included by ps/table*.cc alone; belongs to the table's thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "proto/ids.h"
#include "ps/cut.h"
#include "ps/index.h"
#include "ps/row_bits.h"
#include "ps/slab.h"

namespace emporium::ps {

// What has changed since a cut.
struct RowChanges {
  RowChanges(uint32_t bins, uint32_t number_bits) : rows(bins, number_bits) {}
  uint64_t bytes() const { return rows.bytes() + gone.capacity() * sizeof(uint64_t); }
  void Gone(uint64_t key, uint64_t rows_there);

  RowBits rows;                // that were made or updated and are there
  std::vector<uint64_t> gone;  // keys whose rows were there and went; some may be there again
  // More than is known: there was no cut before, or too much has gone.
  bool unknown = true;
};

// Rows that are being copied, bin by bin, as they were when the cut was taken. Invariant: a row of
// the cut is awaited, was kept, or is in a piece.
class TableCut {
 public:
  // `order`: the bins of each partition. `changed`: the rows of the cut; null: all that are there.
  TableCut(const Index& index, std::vector<Index::Bins> order, RowBits* changed);

  // Copies a row aside if it is awaited: it is about to change or go.
  void Keep(uint64_t key, Slot slot, const Slabs& slabs);
  // Whatever is in this slot from now on is not of the cut.
  void Settle(Slot slot);
  void Renumber(uint32_t bin, std::span<const Slot> before);
  bool NextPiece(const Index& index, const Slabs& slabs, size_t bytes, CutPiece* piece);
  // Every piece has been given.
  bool complete() const { return partition_ == order_.size(); }

  uint64_t bytes() const { return kept_bytes_ + rows_.bytes() + kept_.size() * sizeof(kept_[0]); }

 private:
  bool Awaits(Slot slot) const {
    return !copied_[slot >> number_bits_] && rows_.Test(slot) != all_;
  }
  void FinishBin(CutPiece* piece);

  const uint32_t number_bits_;
  const std::vector<Index::Bins> order_;  // by partition
  const bool all_;
  RowBits rows_;              // all_: those that are settled; else those that are awaited
  std::vector<bool> copied_;  // by bin
  std::vector<std::vector<std::byte>> kept_;  // by bin: records of rows that were kept
  uint64_t kept_bytes_ = 0;
  // Where the copying stands.
  size_t partition_ = 0;  // position in order_
  uint32_t bin_ = 0;      // of the partition in work
  bool listed_ = false;   // entries_ are those of the bin
  std::vector<Index::Entry> entries_;
  size_t next_entry_ = 0;
};

}  // namespace emporium::ps
