// Ids that cross process boundaries, each a type of its own, so that a shard number can never be
// passed where a partition number is wanted. Values only; no behaviour. Safe from any thread.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace emporium {

// A distinct integer type per `Tag`. Construction and reading are explicit.
template <class Tag, class Rep>
class Id {
 public:
  using rep_type = Rep;
  constexpr Id() = default;
  constexpr explicit Id(Rep value) : value_(value) {}
  constexpr Rep value() const { return value_; }
  constexpr Id next() const { return Id(static_cast<Rep>(value_ + 1)); }
  friend constexpr auto operator<=>(Id, Id) = default;

 private:
  Rep value_ = 0;
};

using TableId = Id<struct TableIdTag, uint16_t>;          // position of the table in the job
using PartitionId = Id<struct PartitionIdTag, uint16_t>;  // fixed hash range of the key space
using ShardId = Id<struct ShardIdTag, uint16_t>;          // owner of a set of partitions
using StageId = Id<struct StageIdTag, uint32_t>;          // position of the stage in the job
using MicroBatch = Id<struct MicroBatchTag, uint32_t>;    // position within its step
// Number of optimizer updates that a train stage has had; step t turns version t into version t+1.
using Step = Id<struct StepTag, uint64_t>;
using Generation = Id<struct GenerationTag, uint64_t>;      // the set of workers counted on
using RouteVersion = Id<struct RouteVersionTag, uint64_t>;  // of the partition -> shard map

}  // namespace emporium

template <class Tag, class Rep>
struct std::hash<emporium::Id<Tag, Rep>> {
  size_t operator()(emporium::Id<Tag, Rep> id) const noexcept {
    return std::hash<Rep>{}(id.value());
  }
};
