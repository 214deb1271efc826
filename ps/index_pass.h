// The part of the index (ps/index.h) that looks for many keys: compiled once for each kind of
// processor, and picked at run time. So nothing here has external linkage but the entry points, and
// nothing of the standard library is called: the linker would keep one copy for all processors.
//
// Pure functions over memory that belongs to the index.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emporium::ps {

inline constexpr uint32_t kIndexLanes = 8;
inline constexpr uint64_t kIndexFree = ~uint64_t{0};

struct alignas(64) IndexBucket {
  uint64_t entries[kIndexLanes];
};
static_assert(sizeof(IndexBucket) == 64, "one bucket is one cache line");

struct IndexBin {
  IndexBucket* buckets = nullptr;
  uint32_t count = 0;      // homes; the padding lies behind them
  uint32_t slot_bits = 0;  // of an entry
  uint32_t slot_base = 0;  // what all slots of the bin begin with
  uint32_t padding = 0;
};

struct IndexView {
  const IndexBin* bins = nullptr;  // every bin of the key space has at least one bucket
  uint32_t bin_shift = 0;
  uint64_t multiplier = 1;  // odd
};

// MixBits (proto/mix.h), written again because inline functions may not be shared (see above), and
// below the bits that name the bin times the multiplier.
static inline uint64_t IndexMixed(const IndexView& view, uint64_t key) {
  key ^= key >> 30;
  key *= 0xbf58476d1ce4e5b9u;
  key ^= key >> 27;
  key *= 0x94d049bb133111ebu;
  key ^= key >> 31;
  const uint64_t low = (uint64_t{1} << view.bin_shift) - 1;
  return (key & ~low) | ((key * view.multiplier) & low);
}

static inline uint32_t IndexHome(const IndexView& view, const IndexBin& bin, uint64_t mixed) {
  const auto place = static_cast<uint32_t>(mixed >> (view.bin_shift - 32));
  return static_cast<uint32_t>((uint64_t{place} * bin.count) >> 32);
}

// slots[i] becomes the slot of keys[i], all ones where it is not there.
using IndexFind = void(const IndexView& view, const uint64_t* keys, size_t count, uint32_t* slots);
IndexFind IndexFindPlain;
IndexFind IndexFindSse2;
IndexFind IndexFindAvx2;
IndexFind IndexFindAvx512;

// How many keys the index lines are asked for ahead of the search.
inline constexpr size_t kIndexAhead = 64;
// Keys of a block; those that their home bucket does not have are looked at again behind it.
inline constexpr size_t kIndexBlock = 512;

// `Match::Lanes(bucket, wanted, bits)`: the lanes whose entry is `wanted` but for the lowest bits.
// A free lane is among them when a key's kept bits are all ones, which is rare but legal.
template <class Match>
static void IndexFindMisses(const IndexView& view, const uint64_t* keys, const uint32_t* misses,
                            size_t count, uint32_t* slots) {
  for (size_t i = 0; i < count; ++i) {
    const uint64_t mixed = IndexMixed(view, keys[misses[i]]);
    const IndexBin& bin = view.bins[mixed >> view.bin_shift];
    __builtin_prefetch(bin.buckets + IndexHome(view, bin, mixed) + 1, 0, 3);
  }
  for (size_t i = 0; i < count; ++i) {
    const uint64_t mixed = IndexMixed(view, keys[misses[i]]);
    const IndexBin& bin = view.bins[mixed >> view.bin_shift];
    const uint64_t wanted = mixed << bin.slot_bits;
    const IndexBucket* bucket = bin.buckets + IndexHome(view, bin, mixed);
    const IndexBucket* const end = bin.buckets + bin.count + bin.padding;
    for (; bucket < end; ++bucket) {
      const uint32_t free = Match::Lanes(bucket, kIndexFree, 0);
      const uint32_t lanes = Match::Lanes(bucket, wanted, bin.slot_bits) & ~free;
      if (lanes != 0) {
        const uint64_t entry = bucket->entries[__builtin_ctz(lanes)];
        slots[misses[i]] = bin.slot_base | static_cast<uint32_t>(entry ^ wanted);
        break;
      }
      if (free != 0) break;
    }
  }
}

template <class Match>
static void IndexFindAll(const IndexView& given, const uint64_t* keys, size_t count,
                         uint32_t* slots) {
  const IndexView view = given;  // what is written cannot change a copy
  constexpr size_t kRing = 2 * kIndexBlock;
  uint64_t mixed_of[kRing];
  const IndexBucket* bucket_of[kRing];
  uint32_t misses[kIndexBlock];
  // Homes of a block, worked out before its lines are asked for: two loops that do not wait for one
  // another are faster than one that does both.
  const auto locate = [&](size_t begin) __attribute__((always_inline)) {
    const size_t size = begin + kIndexBlock < count ? kIndexBlock
                        : begin < count             ? count - begin
                                                    : 0;
    uint64_t* const mixed_to = mixed_of + begin % kRing;
    const IndexBucket** const bucket_to = bucket_of + begin % kRing;
    for (size_t i = 0; i < size; ++i) {
      const uint64_t mixed = IndexMixed(view, keys[begin + i]);
      const IndexBin& bin = view.bins[mixed >> view.bin_shift];
      mixed_to[i] = mixed;
      bucket_to[i] = bin.buckets + IndexHome(view, bin, mixed);
    }
  };
  locate(0);
  for (size_t i = 0; i < (count < kIndexAhead ? count : kIndexAhead); ++i) {
    __builtin_prefetch(bucket_of[i], 0, 2);
  }
  for (size_t begin = 0; begin < count; begin += kIndexBlock) {
    locate(begin + kIndexBlock);
    const size_t size = begin + kIndexBlock < count ? kIndexBlock : count - begin;
    const uint64_t* const mixed_from = mixed_of + begin % kRing;
    const IndexBucket* const* const bucket_from = bucket_of + begin % kRing;
    uint32_t* const slots_to = slots + begin;
    size_t miss_count = 0;
    // Without a branch on which lane it is, which could not be foretold.
    const auto match = [&](size_t i) __attribute__((always_inline)) {
      const uint64_t mixed = mixed_from[i];
      const IndexBucket* const bucket = bucket_from[i];
      const IndexBin& bin = view.bins[mixed >> view.bin_shift];
      const uint64_t wanted = mixed << bin.slot_bits;
      const uint32_t lanes = Match::Lanes(bucket, wanted, bin.slot_bits);
      const uint64_t entry = bucket->entries[__builtin_ctz(lanes | (1u << (kIndexLanes - 1)))];
      const uint32_t slot = bin.slot_base | static_cast<uint32_t>(entry ^ wanted);
      const bool found = (lanes != 0) & (entry != kIndexFree);
      slots_to[i] = found ? slot : ~uint32_t{0};
      misses[miss_count] = static_cast<uint32_t>(begin + i);
      miss_count += found ? 0 : 1;
    };
    size_t i = 0;
    for (; i < size && begin + i + kIndexAhead < count; ++i) {
      __builtin_prefetch(bucket_of[(begin + i + kIndexAhead) % kRing], 0, 2);
      match(i);
    }
    for (; i < size; ++i) match(i);
    IndexFindMisses<Match>(view, keys, misses, miss_count, slots);
  }
}

}  // namespace emporium::ps
