#include "ps/index.h"

#include <algorithm>
#include <array>
#include <bit>

#include "proto/check.h"
#include "runtime/route.h"

namespace emporium::ps {
namespace {

// Keys in flight at once: enough to hide the latency of memory, few enough to stay in the L1 cache.
constexpr size_t kBlock = 64;

}  // namespace

Index::Index(uint32_t partitions)
    : partition_bits_(static_cast<uint32_t>(std::countr_zero(partitions))), tables_(partitions) {
  EMPORIUM_CHECK(std::has_single_bit(partitions), "partitions must be a power of two");
}

uint32_t Index::PartitionOfHash(uint64_t hash) const {
  return partition_bits_ == 0 ? 0 : static_cast<uint32_t>(hash >> (64 - partition_bits_));
}

uint32_t Index::Home(uint64_t hash, uint32_t bucket_count) const {
  // The partition's bits are the same for all keys here; the 32 below them spread the buckets.
  const uint64_t below = (hash << partition_bits_) >> 32;
  return static_cast<uint32_t>((below * bucket_count) >> 32);
}

Slot Index::Search(const SubTable& table, uint32_t home, uint64_t key) const {
  for (uint32_t b = home;;) {
    const Bucket& bucket = table.buckets[b];
    for (uint32_t e = 0; e < bucket.used; ++e) {
      if (bucket.keys[e] == key) return bucket.slots[e];
    }
    if (bucket.used < kEntries) return kNoSlot;
    if (++b == table.bucket_count) b = 0;
  }
}

void Index::Find(std::span<const uint64_t> keys, std::span<Slot> slots) const {
  EMPORIUM_CHECK(keys.size() == slots.size(), "one slot per key");
  struct Place {
    const SubTable* table;
    uint32_t home;
  };
  std::array<Place, kBlock> places;
  for (size_t begin = 0; begin < keys.size(); begin += kBlock) {
    const size_t count = std::min(kBlock, keys.size() - begin);
    for (size_t i = 0; i < count; ++i) {
      const uint64_t hash = runtime::MixKey(keys[begin + i]);
      const SubTable& table = tables_[PartitionOfHash(hash)];
      const uint32_t home = Home(hash, table.bucket_count);
      places[i] = {&table, home};
      __builtin_prefetch(table.buckets.get() + home);
    }
    for (size_t i = 0; i < count; ++i) {
      const auto& [table, home] = places[i];
      slots[begin + i] = table->bucket_count == 0 ? kNoSlot : Search(*table, home, keys[begin + i]);
    }
  }
}

Slot Index::FindOrInsert(uint64_t key, Slot candidate) {
  const uint64_t hash = runtime::MixKey(key);
  SubTable& table = tables_[PartitionOfHash(hash)];
  if (table.bucket_count > 0) {
    const Slot found = Search(table, Home(hash, table.bucket_count), key);
    if (found != kNoSlot) return found;
  }
  if ((uint64_t{table.size} + 1) * 5 > uint64_t{table.bucket_count} * kEntries * 4) Grow(table);
  Place(table, key, candidate);
  ++table.size;
  ++size_;
  return candidate;
}

void Index::Place(SubTable& table, uint64_t key, Slot slot) const {
  uint32_t b = Home(runtime::MixKey(key), table.bucket_count);
  while (table.buckets[b].used == kEntries) {
    if (++b == table.bucket_count) b = 0;
  }
  Bucket& bucket = table.buckets[b];
  bucket.keys[bucket.used] = key;
  bucket.slots[bucket.used] = slot;
  ++bucket.used;
}

void Index::Grow(SubTable& table) const {
  SubTable larger;
  // By a half: buckets are then between 53 and 80 % full, and a key is moved three times at most
  // on average.
  larger.bucket_count = table.bucket_count + table.bucket_count / 2 + 1;
  larger.size = table.size;
  larger.buckets = std::make_unique<Bucket[]>(larger.bucket_count);
  for (uint32_t b = 0; b < table.bucket_count; ++b) {
    const Bucket& bucket = table.buckets[b];
    for (uint32_t e = 0; e < bucket.used; ++e) Place(larger, bucket.keys[e], bucket.slots[e]);
  }
  table = std::move(larger);
}

std::vector<Index::Entry> Index::List(PartitionId partition) const {
  EMPORIUM_CHECK(partition.value() < tables_.size(), "no such partition");
  const SubTable& table = tables_[partition.value()];
  std::vector<Entry> entries;
  entries.reserve(table.size);
  for (uint32_t b = 0; b < table.bucket_count; ++b) {
    const Bucket& bucket = table.buckets[b];
    for (uint32_t e = 0; e < bucket.used; ++e) {
      entries.push_back({bucket.keys[e], bucket.slots[e]});
    }
  }
  return entries;
}

uint64_t Index::bytes() const {
  uint64_t buckets = 0;
  for (const SubTable& table : tables_) buckets += table.bucket_count;
  return buckets * sizeof(Bucket) + tables_.size() * sizeof(SubTable);
}

void Index::Clear() {
  for (SubTable& table : tables_) table = SubTable();
  size_ = 0;
}

}  // namespace emporium::ps
