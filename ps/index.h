// The index of a table: key -> slot, every 64-bit key legal. It knows nothing of rows.
//
// A key is mixed by a seeded bijection (the route's hash, whose top bits name the partition, and
// below these a multiplication by a secret odd number, so that nobody can choose keys that
// collide). The top bits of the mixed key name its bin, of which each partition has one or more. A
// bin is an array of 64-byte buckets that grows alone; a key's home in it is given by the next 32
// bits, which are spread over the buckets in order, so that any number of buckets will do:
//
//   mixed    := bin (bin_bits) | place (32 bits) | rest            (64 bits, from the top)
//   home     := place * buckets >> 32
//   bucket   := entry u64 x 8
//   entry    := mixed << slot_bits | slot's number in its bin; all ones: free
//
// What an entry has lost of the mixed key follows from bin and bucket, so a match is exact, needs
// one cache line, and the key itself is stored nowhere: it is rebuilt from entry and position.
// An entry whose home is full lies in one of the next kReach buckets, without a bucket with a free
// place between; removing an entry moves later ones back to keep it so.
//
// Belongs to its table's thread; no locks. Invariants:
//  1. Between an entry's home and its bucket every bucket is full.
//  2. An entry lies fewer than kReach buckets behind its home. So two entries with the same bits
//     never lie within one another's reach: 2 kReach buckets span less of `place` than an entry
//     keeps (slot_bits <= log2(buckets) + 4, bin_bits >= 10).
//  3. An insertion rebuilds one bin at most; bins grow by a quarter, each at a size of its own, so
//     that they do not all grow at once.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "proto/ids.h"
#include "ps/arena.h"
#include "ps/index_pass.h"
#include "ps/slab.h"

namespace emporium::ps {

// The fastest way of looking for keys that this processor has; all give the same results.
IndexFind* BestIndexFind();

class Index {
 public:
  struct Entry {
    uint64_t key = 0;
    Slot slot = kNoSlot;
  };

  // For the keys of some of `partitions` (a power of two) partitions. `page_ahead` as an arena's.
  Index(uint32_t partitions, const std::vector<PartitionId>& owned, uint64_t seed, IndexFind* find,
        PageAhead* page_ahead = nullptr);

  // Bins of all owned partitions, numbered from 0, and the bits of a slot that name a row in one.
  uint32_t bins() const { return static_cast<uint32_t>(bin_of_.size()); }
  uint32_t number_bits() const { return number_bits_; }
  bool Owns(uint64_t key) const { return position_of_[BinOf(Mixed(key))] != kNotOwned; }
  // The bin that rows of an owned key belong to.
  uint32_t Bin(uint64_t key) const { return position_of_[BinOf(Mixed(key))]; }
  // The bins of an owned partition.
  struct Bins {
    uint32_t begin = 0;
    uint32_t end = 0;
  };
  Bins BinsOf(PartitionId partition) const;

  // The slot of each key, kNoSlot where there is none. Works in whole passes over blocks of keys.
  void Find(std::span<const uint64_t> keys, std::span<Slot> slots) const;
  Slot Find(uint64_t key) const;
  // Adds an owned key that is not there; the slot is of the key's bin.
  void Insert(uint64_t key, Slot slot);
  // Takes a key out; its slot, or kNoSlot when it was not there.
  Slot Erase(uint64_t key);

  // All entries of one bin, in no particular order; reads that bin only.
  std::vector<Entry> List(uint32_t bin) const;
  // Makes a bin anew of just these entries, as small as they allow.
  void Rebuild(uint32_t bin, std::span<const Entry> entries);

  // For an IndexFind; valid until the index is changed.
  const IndexView& view() const { return view_; }
  uint64_t size() const { return size_; }
  uint64_t bytes() const { return arena_.used() + fixed_bytes(); }
  uint64_t resident() const { return arena_.resident() + fixed_bytes(); }
  void Clear();

 private:
  static constexpr uint32_t kNotOwned = 0xffffffffu;
  static constexpr uint32_t kReach = 16;

  // What only insertion and growth need of a bin.
  struct Growth {
    uint32_t size = 0;
    uint32_t limit = 0;  // entries at which it grows
    uint32_t stage = 0;
  };
  // An entry on its way to other buckets.
  struct Moving {
    uint64_t mixed = 0;
    uint32_t number = 0;
  };
  // Where an entry is.
  struct Place {
    IndexBucket* bucket = nullptr;
    uint32_t lane = 0;
  };

  uint64_t Mixed(uint64_t key) const { return IndexMixed(view_, key); }
  uint64_t Unmixed(uint64_t mixed) const;
  uint32_t BinOf(uint64_t mixed) const { return static_cast<uint32_t>(mixed >> view_.bin_shift); }
  IndexBucket* Home(const IndexBin& bin, uint64_t mixed) const {
    return bin.buckets + IndexHome(view_, bin, mixed);
  }
  // Buckets behind the last home, for entries that do not fit it.
  static uint32_t Padding(uint32_t buckets) { return std::min(1 + buckets / 4, kReach); }
  // Of a stage; entries that they take.
  uint32_t Buckets(uint32_t bin, uint32_t stage) const;
  static uint32_t LimitOf(uint32_t buckets);
  // The mixed key of the entry in a lane of a bucket.
  uint64_t MixedAt(uint32_t bin, const IndexBucket* bucket, uint32_t lane) const;
  // No bucket when the key is not there.
  Place Locate(const IndexBin& bin, uint64_t mixed) const;
  // No bucket when there is no free place within reach.
  Place FreePlace(const IndexBin& bin, uint64_t mixed) const;
  // visit(mixed, number) for every entry of a bin of the key space.
  template <class Visit>
  void ForEach(uint32_t bin, const Visit& visit) const;
  void Grow(uint32_t bin);
  // Gives a bin without buckets those of a stage, or of a later one when the entries in `moving_`
  // do not fit, and puts these in.
  void Build(uint32_t bin, uint32_t stage);
  // Takes a bin's buckets away.
  void Drop(uint32_t bin);
  void SetEmpty(uint32_t bin);
  uint64_t fixed_bytes() const;

  IndexView view_;
  IndexFind* find_;
  uint32_t bin_bits_ = 0;
  uint32_t partition_bits_ = 0;
  uint32_t number_bits_ = 0;
  uint64_t inverse_ = 1;               // of the view's multiplier
  std::vector<IndexBin> hot_;          // by bin of the key space
  std::vector<Growth> growth_;         // the same
  std::vector<uint32_t> position_of_;  // owned bin number of a bin of the key space
  std::vector<uint32_t> bin_of_;       // the reverse
  std::vector<Moving> moving_;
  Arena arena_;
  uint64_t size_ = 0;
};

}  // namespace emporium::ps
