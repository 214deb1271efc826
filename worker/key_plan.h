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
// most half full; a slot holds a number, so that the slots of a large batch stay in a near cache.
class Interner {
 public:
  explicit Interner(size_t expected = 64) { Expect(expected); }

  // Makes room for so many distinct values at once.
  void Expect(size_t values);
  int32_t Index(uint64_t value) {
    if (2 * (values_.size() + 1) > slots_.size()) {
      Expect(values_.size() * 2);
    }
    size_t slot = Home(value);
    for (; slots_[slot] >= 0; slot = (slot + 1) & mask_) {
      if (values_[static_cast<size_t>(slots_[slot])] == value) {
        return slots_[slot];
      }
    }
    slots_[slot] = static_cast<int32_t>(values_.size());
    values_.push_back(value);
    return slots_[slot];
  }
  // The same for many values; the memory that they need is fetched ahead.
  void IndexAll(std::span<const uint64_t> values, int32_t* indices);
  // -1 when the value has no number.
  int32_t Find(uint64_t value) const {
    for (size_t slot = Home(value); slots_[slot] >= 0; slot = (slot + 1) & mask_) {
      if (values_[static_cast<size_t>(slots_[slot])] == value) {
        return slots_[slot];
      }
    }
    return -1;
  }
  size_t size() const { return values_.size(); }
  const std::vector<uint64_t>& values() const { return values_; }
  std::vector<uint64_t> TakeValues() && { return std::move(values_); }

 private:
  // Keys may be small integers (IDENTITY), so they are spread before their low bits are used.
  size_t Home(uint64_t value) const { return (value * 0x9E3779B97F4A7C15ull) >> shift_; }

  std::vector<int32_t> slots_;  // number, or -1; a power of two of them
  size_t mask_ = 0;
  int shift_ = 0;
  std::vector<uint64_t> values_;
};

class KeyPlan {
 public:
  // `keeps_popularity[t]`: sightings of table t's keys are counted and travel.
  explicit KeyPlan(const std::vector<bool>& keeps_popularity) : keeps_(keeps_popularity) {}

  // At most so many more keys will be looked up in the table: saves growing.
  void Expect(TableId table, size_t keys);
  // One list of one key each.
  models::RowLists Single(TableId table, std::span<const uint64_t> keys);
  // Lists: list i is keys[offset[i] .. offset[i + 1]).
  models::RowLists Lists(TableId table, std::span<const uint64_t> keys,
                         std::vector<int32_t> offset);
  // The same lists with the same keys, looked up in another table. `lists` came from this plan.
  models::RowLists Mirror(TableId table, const models::RowLists& lists);
  // One positive sighting of each use of a key in the first so many lists.
  void Sighted(const models::RowLists& lists, size_t count);
  // ... of one key.
  void SightedOnce(TableId table, int32_t index);

  // `wanted[t]`: table t is asked for its popularity.
  std::vector<TableKeys> Finish(const std::vector<bool>& wanted) &&;

 private:
  struct Table {
    Interner keys;
    std::vector<float> counts;
    // The table has exactly the first keys of another, at the same indices, and none of its own in
    // `keys` yet: what Mirror begins with, and usually all there is to it.
    const Table* twin = nullptr;
    std::map<uint16_t, std::vector<int32_t>> mirror;  // by source table: index there -> here

    const std::vector<uint64_t>& values() const {
      return twin ? twin->keys.values() : keys.values();
    }
  };
  Table& Own(TableId table);

  const std::vector<bool>& keeps_;
  std::map<uint16_t, Table> tables_;  // ascending; its nodes stay where they are
};

}  // namespace emporium::worker
