// The rows of one table that a step changes: their gradients, summed as pushes arrive, and, once
// the step has been applied, what its rows were before, for pulls of the version before.
//
// Belongs to the shard's thread; the memory is kept from step to step. Invariants:
//  1. A row occurs once; position i of every array speaks of the same row.
//  2. Gradients of a key are added in the order in which Add was called, so the sum is the same
//     bits on any shard. A key that occurs once is not copied: its gradient stays where it is.
//  3. A key without a row gets one in Apply, not before: until then nothing but this object knows
//     that it was pushed.
//  4. What Apply has left for ReadPrevious stays until the next Apply, whatever is added meanwhile.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "proto/bytes.h"
#include "proto/exact_sum.h"
#include "proto/frame.h"
#include "ps/table.h"

namespace emporium::ps {

// The squares of a step's gradients, of some tables.
struct StepSquares {
  ExactSum sum;
  bool finite = true;  // or the gradients add up to what is not
};

class StepRows {
 public:
  explicit StepRows(const TableSettings& settings);

  // Adds one micro-batch's gradients. `slots` are those of the table for `keys`, kNoSlot where it
  // has no row. The section's values stay where they are until Apply or Clear.
  void Add(std::span<const uint64_t> keys, std::span<const Slot> slots, const SectionView& section);
  // Whether gradients of a key without a row have been added.
  bool Awaits(uint64_t key) const { return awaited_.At(key).position != kFree; }
  size_t rows() const { return slots_.size(); }

  // Keys that wait for their row.
  // Whether the table gets keys with its updates although it does not need them itself: while a cut
  // is under way. To be called between two steps.
  void KeepKeys(bool keep);
  size_t awaited() const { return awaited_keys_.size(); }

  // All has been added: drops the keys without a row that the table does not admit. How many.
  uint64_t Close(Table& table);
  // Adds those of the gradients that Apply would take.
  void AddSquares(StepSquares* squares) const;
  // What the optimizer's rate and the gradients are multiplied by.
  struct Factors {
    float learning_rate = 1;
    float gradient = 1;
  };
  // After Close: updates the rows once each with what was added, which is forgotten, and remembers
  // what they were before. The number of rows.
  uint64_t Apply(Table& table, uint32_t step, Factors factors);
  // Forgets what was added and what was remembered.
  void Clear();

  // Table::ReadRaw for the version before: as it was remembered where the row has changed.
  void ReadPrevious(const Table& table, std::span<const uint64_t> keys, std::span<const Slot> slots,
                    uint32_t step, std::span<std::byte> rows, std::span<float> popularity) const;
  // Table::ReadSlots for the version before.
  void ReadPreviousSlots(const Table& table, std::span<const Slot> slots, uint32_t step,
                         std::span<float> values) const;

 private:
  static constexpr uint32_t kFree = 0xffffffff;
  // Sums of rows, which stay where they are while more are taken; memory is kept for the next step.
  class Sums {
   public:
    explicit Sums(uint32_t dim) : dim_(dim), block_rows_(std::max(kBlockFloats / dim, 1u)) {}
    float* Take();
    void Forget() { taken_ = 0; }

   private:
    static constexpr uint32_t kBlockFloats = 1 << 16;
    const uint32_t dim_;
    const uint32_t block_rows_;
    size_t taken_ = 0;
    std::vector<UnclearedVector<float>> blocks_;
  };
  // Slot or key -> position, by open addressing, at most half full.
  template <class Name>
  class Positions {
   public:
    struct Entry {
      Name name = 0;
      uint32_t position = kFree;
    };
    // Forgets all; makes room for so many at once.
    void Clear(size_t expected) {
      const size_t capacity = std::bit_ceil(std::max<size_t>(2 * expected, 2));
      entries_.assign(capacity, Entry{});
      shift_ = 64 - std::countr_zero(capacity);
    }
    // Room for so many in all; what is there stays.
    void Reserve(size_t names) {
      if (2 * names <= entries_.size()) return;
      const std::vector<Entry> old = std::exchange(entries_, {});
      Clear(names);
      for (const Entry& entry : old) {
        if (entry.position != kFree) entries_[Locate(entry.name)] = entry;
      }
    }
    // The entry of the name, or the free one that is its to take.
    Entry& At(Name name) { return entries_[Locate(name)]; }
    const Entry& At(Name name) const { return entries_[Locate(name)]; }
    void Prefetch(Name name) const { __builtin_prefetch(&entries_[HomeOf(name)], 1); }

   private:
    size_t HomeOf(Name name) const { return (uint64_t{name} * 0x9e3779b97f4a7c15u) >> shift_; }
    size_t Locate(Name name) const {
      size_t i = HomeOf(name);
      while (entries_[i].position != kFree && entries_[i].name != name) {
        i = (i + 1) & (entries_.size() - 1);
      }
      return i;
    }
    int shift_ = 63;
    std::vector<Entry> entries_ = std::vector<Entry>(2);
  };
  template <class Name>
  using Entry = typename Positions<Name>::Entry;

  // The position of a row; kFree, to be written over, when it is met for the first time.
  uint32_t& Known(Slot slot);
  uint32_t& Awaited(uint64_t key);
  // Counts the awaited keys' sightings, and forgets those that are not admitted. How many.
  uint64_t Admit(Admission& admission);
  void AddGradient(const float* from, uint32_t position);
  // Takes out positions that were given up: slot kNoSlot although nothing is awaited.
  void CloseGaps();
  // Gives every awaited key its row.
  void MakeRows(Table& table);
  void Observe(Table& table);
  void ForgetGradients();
  void ForgetObserved();
  void ForgetAwaited();

  const uint32_t dim_;
  const size_t row_bytes_;  // of weights as the table holds them
  const bool popularity_;
  const bool table_needs_keys_;  // Table::UpdateBatch
  bool needs_keys_;              // it, or a cut does
  const size_t row_slots_;
  // The step that is being added up.
  Positions<Slot> positions_;
  std::vector<Slot> slots_;              // kNoSlot: no row yet
  std::vector<uint64_t> keys_;           // [rows] where the table needs them, else none
  std::vector<const float*> gradients_;  // [rows]: a push's own until a second one adds to it
  std::vector<float*> sum_of_;           // [rows]: then here; null before
  Sums sums_;
  std::vector<float> counts_;           // [rows]
  Positions<uint64_t> awaited_;         // of the keys without a row
  std::vector<uint64_t> awaited_keys_;  // as they came, with ...
  std::vector<uint32_t> awaited_positions_;
  bool dropped_ = false;  // Close has left positions without a row
  // What was observed of rows, in the order of Add; rows of which nothing was are left out.
  std::vector<uint32_t> observed_position_;
  std::vector<uint32_t> observed_mask_;
  std::vector<float> observed_;  // values, one after another
  // The step before.
  size_t previous_rows_ = 0;
  Positions<Slot> previous_;
  Bytes previous_weights_;  // [rows, row_bytes]
  UnclearedVector<float> previous_popularity_;
  UnclearedVector<float> previous_slots_;
};

}  // namespace emporium::ps
