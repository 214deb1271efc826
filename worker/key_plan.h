// The unique keys of a batch, table by table, in the order of first appearance, and the index of
// each use of a key among them. Made anew for every batch; one thread.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "models/batch.h"
#include "proto/ids.h"
#include "worker/batch_source.h"

namespace emporium::worker {

// Numbers distinct 64-bit values 0, 1, 2, ... in the order of first appearance. Open addressing, at
// most half full.
class Interner {
 public:
  explicit Interner(size_t expected = 64);

  int32_t Index(uint64_t value) {
    if (2 * (values_.size() + 1) > slots_.size()) {
      Grow(slots_.size() * 2);
    }
    size_t slot = Home(value);
    for (; slots_[slot].index >= 0; slot = (slot + 1) & mask_) {
      if (slots_[slot].value == value) {
        return slots_[slot].index;
      }
    }
    slots_[slot] = {value, static_cast<int32_t>(values_.size())};
    values_.push_back(value);
    return slots_[slot].index;
  }
  // The same for many values; the memory that they need is fetched ahead.
  void IndexAll(std::span<const uint64_t> values, int32_t* indices);
  // -1 when the value has no number.
  int32_t Find(uint64_t value) const {
    for (size_t slot = Home(value); slots_[slot].index >= 0; slot = (slot + 1) & mask_) {
      if (slots_[slot].value == value) {
        return slots_[slot].index;
      }
    }
    return -1;
  }
  size_t size() const { return values_.size(); }
  const std::vector<uint64_t>& values() const { return values_; }
  std::vector<uint64_t> TakeValues() && { return std::move(values_); }

 private:
  struct Slot {
    uint64_t value = 0;
    int32_t index = -1;
  };
  // Keys may be small integers (IDENTITY), so they are spread before their low bits are used.
  size_t Home(uint64_t value) const { return (value * 0x9E3779B97F4A7C15ull) >> shift_; }
  void Grow(size_t slots);

  std::vector<Slot> slots_;
  size_t mask_ = 0;
  int shift_ = 0;
  std::vector<uint64_t> values_;
};

class KeyPlan {
 public:
  // One list of one key each.
  models::RowLists Single(TableId table, std::span<const uint64_t> keys);
  // Lists: list i is keys[offset[i] .. offset[i + 1]).
  models::RowLists Lists(TableId table, std::span<const uint64_t> keys,
                         std::vector<int32_t> offset);
  // The same lists with the same keys, looked up in another table. `lists` came from this plan.
  models::RowLists Mirror(TableId table, const models::RowLists& lists);
  // One positive sighting of each use of a key.
  void Sighted(const models::RowLists& lists);
  void SightedOnce(TableId table, int32_t index, float times);

  // `kept[t]`: table t keeps popularity (its counts travel); `wanted[t]`: it is asked for it.
  std::vector<TableKeys> Finish(const std::vector<bool>& kept, const std::vector<bool>& wanted) &&;

 private:
  struct Table {
    Interner keys;
    std::vector<float> counts;
    std::map<uint16_t, std::vector<int32_t>> mirror;  // by source table: index there -> here
  };
  std::map<uint16_t, Table> tables_;  // ascending
};

}  // namespace emporium::worker
