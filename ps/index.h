// The index of a table: key -> slot, every 64-bit key legal. It knows nothing of rows, so that it
// can be replaced without touching them.
//
// One sub-table per partition, which grows alone: no insertion ever moves more than one partition,
// and listing a partition reads that partition only. A sub-table is an array of 64-byte buckets
// of five entries:
//
//   bucket   := key u64 x 5 | slot u32 x 5 | used u32        (entries 0..used-1 are filled in
//   order)
//
// A key's home is decided by the hash bits below those that name its partition. A full bucket
// spills into the next one (and the last into the first); as entries are never removed one by one,
// a search may stop at the first bucket that is not full. Load stays at or below 4/5.
//
// Belongs to its table's thread; no locks.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "proto/ids.h"
#include "ps/slab.h"

namespace emporium::ps {

class Index {
 public:
  struct Entry {
    uint64_t key = 0;
    Slot slot = kNoSlot;
  };

  explicit Index(uint32_t partitions);  // a power of two

  // The slot of each key, kNoSlot where there is none. Works in whole passes over blocks of keys:
  // hash, prefetch, search.
  void Find(std::span<const uint64_t> keys, std::span<Slot> slots) const;
  // The slot that stands for `key` afterwards: the one that it had, or else `candidate`.
  Slot FindOrInsert(uint64_t key, Slot candidate);

  // All entries of one partition, in no particular order.
  std::vector<Entry> List(PartitionId partition) const;

  uint64_t size() const { return size_; }
  uint64_t bytes() const;
  void Clear();

 private:
  static constexpr uint32_t kEntries = 5;
  struct alignas(64) Bucket {
    uint64_t keys[kEntries];
    Slot slots[kEntries];
    uint32_t used = 0;
  };
  static_assert(sizeof(Bucket) == 64, "one bucket is one cache line");

  struct SubTable {
    std::unique_ptr<Bucket[]> buckets;
    uint32_t bucket_count = 0;
    uint32_t size = 0;
  };

  uint32_t PartitionOfHash(uint64_t hash) const;
  // Home bucket of a hash in a sub-table that has buckets.
  uint32_t Home(uint64_t hash, uint32_t bucket_count) const;
  Slot Search(const SubTable& table, uint32_t home, uint64_t key) const;
  void Place(SubTable& table, uint64_t key, Slot slot) const;
  void Grow(SubTable& table) const;

  const uint32_t partition_bits_;
  std::vector<SubTable> tables_;
  uint64_t size_ = 0;
};

}  // namespace emporium::ps
