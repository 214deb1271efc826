// Where a key lives: key -> partition (fixed hash) -> shard -> endpoint. A Route is immutable; a
// newer one has a higher version. Safe from any thread.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include "proto/check.h"
#include "proto/ids.h"
#include "proto/mix.h"

namespace emporium::runtime {

// Pinned: it decides where keys live in every checkpoint.
constexpr uint64_t MixKey(uint64_t key) { return MixBits(key); }

// The partition of a key among `partitions` (a power of two): the top bits of its mixed value.
constexpr PartitionId PartitionOf(uint64_t key, uint32_t partitions) {
  if (partitions == 1) return PartitionId(0);
  return PartitionId(static_cast<uint16_t>(MixKey(key) >> (64 - std::countr_zero(partitions))));
}

struct Route {
  RouteVersion version;
  std::vector<ShardId> shard_of_partition;  // size: a power of two
  std::vector<std::string> endpoint_of_shard;

  uint32_t partitions() const { return static_cast<uint32_t>(shard_of_partition.size()); }
  uint32_t shards() const { return static_cast<uint32_t>(endpoint_of_shard.size()); }
  ShardId ShardOf(uint64_t key) const {
    return shard_of_partition[PartitionOf(key, partitions()).value()];
  }
};

// Shard s of S owns the partitions [s P / S, (s + 1) P / S).
inline std::vector<ShardId> EvenAssignment(uint32_t partitions, uint32_t shards) {
  EMPORIUM_CHECK(std::has_single_bit(partitions) && shards > 0, "a route needs shards");
  std::vector<ShardId> owner(partitions);
  for (uint64_t p = 0; p < partitions; ++p) {
    // The inverse of the ranges above: the largest s with s P / S <= p.
    owner[p] = ShardId(static_cast<uint16_t>(((p + 1) * shards - 1) / partitions));
  }
  return owner;
}

}  // namespace emporium::runtime
