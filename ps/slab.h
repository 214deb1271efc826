// Where rows live: chunks of rows, each of one bin (a share of the key space that the index names).
// A slot is a bin and a number within it; a directory per bin leads from the number to the chunk:
//
//   slot     := bin | number          (the lower `number_bits` bits)
//   chunk    := tail of row n-1 | ... | tail of row 0 | weights of row 0 | ... | weights of row n-1
//                                                     ^ what the directory points to
//
// so that the address of a row needs no knowledge of how many rows its chunk has room for: the
// last chunk of a bin starts small and moves to a larger place as the bin grows, until it has the
// size that all others have.
//
// Belongs to its table's thread; no locks. Invariants:
//  1. A slot is valid from Allocate to Free or Compact; an address only until the next Allocate,
//     Free or Compact.
//  2. Free rows of a bin are used before new ones, so no number reaches the most rows that the bin
//     has ever had at once.
//  3. A chunk whose last row is freed goes back to the arena.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ps/arena.h"
#include "ps/row.h"

namespace emporium::ps {

// Position of a row in a table's slabs; stable for the life of the row.
using Slot = uint32_t;
inline constexpr Slot kNoSlot = 0xffffffffu;

class Slabs {
 public:
  // Numbers have `number_bits` bits; the bins' numbers fit the others. `page_ahead` as an arena's.
  Slabs(const RowLayout& layout, uint32_t bins, uint32_t number_bits,
        PageAhead* page_ahead = nullptr);
  ~Slabs() = default;
  Slabs(const Slabs&) = delete;
  Slabs& operator=(const Slabs&) = delete;

  const RowShape& shape() const { return shape_; }

  // The row's bytes are undefined.
  Slot Allocate(uint32_t bin);
  void Free(Slot slot);
  // Moves the rows of a bin together: row i of `slots`, which are all of the bin's rows, gets
  // number i, and slots[i] becomes its slot. Memory that is no longer needed goes back to the
  // arena.
  void Compact(uint32_t bin, std::span<Slot> slots);
  // Forgets every row and gives the memory back.
  void Clear();

  struct ConstRowRef {
    const std::byte* weights;
    const std::byte* tail;
  };
  // Where rows are: what a pass over many of them needs of the slabs, as values that its writes
  // cannot change. Good until the next Allocate, Free or Compact.
  class Places {
   public:
    explicit Places(const Slabs& slabs)
        : directories_(slabs.directories_.data()),
          lines_(slabs.arena_.lines()),
          number_bits_(slabs.number_bits_),
          number_mask_(slabs.number_mask_),
          row_bits_(slabs.row_bits_),
          row_mask_(slabs.row_mask_),
          stride_(slabs.shape_.stride()),
          tail_bytes_(slabs.shape_.tail_bytes()) {}
    RowRef operator[](Slot slot) const {
      std::byte* const chunk = lines_[*EntryOf(slot)];
      const size_t row = slot & row_mask_;
      return {chunk + row * stride_, chunk - (row + 1) * tail_bytes_};
    }
    // The directory entry that the row's place is read from, to be fetched ahead.
    const Arena::Line* EntryOf(Slot slot) const {
      return directories_[slot >> number_bits_] + ((slot & number_mask_) >> row_bits_);
    }

   private:
    const Arena::Line* const* directories_;
    Arena::Lines lines_;
    uint32_t number_bits_;
    uint32_t number_mask_;
    uint32_t row_bits_;
    uint32_t row_mask_;
    size_t stride_;
    size_t tail_bytes_;
  };

  RowRef At(Slot slot) { return Places(*this)[slot]; }
  ConstRowRef At(Slot slot) const {
    const RowRef row = Places(*this)[slot];
    return {row.weights, row.tail};
  }

  uint64_t live() const { return live_; }
  uint64_t bytes() const;  // of rows and directories, free places included
  uint64_t resident() const { return arena_.resident() + directory_bytes(); }

 private:
  static constexpr uint16_t kNoRow = 0xffff;
  static constexpr uint32_t kNoChunk = 0xffffffffu;

  // Free rows of a chunk are a list through their weights.
  struct Chunk {
    uint16_t live = 0;
    uint16_t first_free = kNoRow;
    uint32_t next_partial = kNoChunk;  // next chunk of the bin with free rows
  };
  struct Bin {
    std::vector<Arena::Line> directory;  // kNoLine: an empty chunk that has been given back
    std::vector<Chunk> chunks;
    uint32_t used = 0;           // numbers below it have been handed out
    uint32_t last_capacity = 0;  // rows that the last chunk has room for
    uint32_t first_partial = kNoChunk;
    uint32_t empty = 0;  // chunks that are nullptr
  };
  uint32_t full_rows() const { return row_mask_ + 1; }
  uint64_t directory_bytes() const;
  std::byte* ChunkAt(Arena::Line line) const { return arena_.lines()[line]; }
  Arena::Line NewChunk(uint32_t rows);
  void ReleaseChunk(Arena::Line chunk, uint32_t rows);
  // The rows that a last chunk has room for before and after it has grown.
  uint32_t LargerCapacity(uint32_t rows) const;
  uint32_t CapacityOf(const Bin& bin, uint32_t chunk) const {
    return chunk + 1 == bin.directory.size() ? bin.last_capacity : full_rows();
  }
  // Room for one more row at the end of the bin.
  void Extend(Bin& bin);
  // Makes a place again for a chunk that was given back; all its rows are free.
  void Refill(Bin& bin);
  // Takes a chunk off the list of those with free rows.
  void Unlink(Bin& bin, uint32_t chunk);
  void GiveBack(Bin& bin, uint32_t chunk);
  void CopyRow(const std::byte* from, uint32_t from_row, std::byte* to, uint32_t to_row,
               uint32_t rows) const;
  uint16_t NextFree(const std::byte* chunk, uint32_t row) const;
  void SetNextFree(std::byte* chunk, uint32_t row, uint16_t next) const;

  const RowShape shape_;
  const uint32_t number_bits_;
  const uint32_t number_mask_;
  const uint32_t row_bits_;  // log2 of the rows of a full chunk
  const uint32_t row_mask_;
  const uint32_t first_rows_;                    // of a bin's first chunk while it is small
  std::vector<const Arena::Line*> directories_;  // by bin: the data of its directory
  std::vector<Bin> bins_;
  Arena arena_;
  uint64_t live_ = 0;
};

}  // namespace emporium::ps
