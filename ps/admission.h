// Who gets a row: a key is admitted when it has been sighted often enough. Sightings of keys that
// have no row are counted in a count-min sketch of each partition, so that how partitions are
// divided among shards cannot show.
//
//   sketch(partition) := cell u8 x (4 rows x width); width is a power of two
//
// A key's estimate is the smallest of its four cells: never below its sightings since the sketch
// was last aged, and above them only where all four cells are shared. Once the sightings of a
// partition since then, plus half of those before, are more than width / 2, every cell is halved at
// the end of the step: a key must be sighted often enough within about that many sightings of its
// partition. So a key that was never sighted before is estimated at one or more with a probability
// of at most (1 - e^-1/2)^4 = 2.4 %, and the estimate exceeds the truth by more than e/2 with one
// of at most e^-4.
//
// Belongs to the shard's thread. Invariant: the cells are a function of the sightings of each step,
// not of their order within it (they saturate at 255).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "proto/ids.h"

namespace emporium::ps {

inline constexpr uint32_t kSketchRows = 4;
inline constexpr uint32_t kMinSketchWidth = 16;

// Cells of one row of a partition's sketch when all partitions together may take `bytes`.
uint32_t SketchWidth(uint64_t bytes, uint32_t partitions);

class Admission {
 public:
  Admission(uint32_t sightings, uint32_t width, uint64_t seed, uint32_t partitions,
            const std::vector<PartitionId>& owned);

  // Adds sightings (0 or more, rounded to a whole number) of a key of an owned partition.
  void Count(uint64_t key, float sightings);
  bool Admits(uint64_t key) const;
  // The step's sightings have all been counted and looked at.
  void EndStep();

  uint64_t bytes() const { return cells_.size(); }
  uint32_t width() const { return width_; }

  // For checkpoints. Cells of one owned partition, and the sightings that they hold.
  std::span<const uint8_t> cells(PartitionId partition) const;
  uint32_t held(PartitionId partition) const;
  void Restore(PartitionId partition, std::span<const uint8_t> cells, uint32_t held);
  void Clear();

 private:
  // Index of the first cell of a key's partition, and the key's place in each row.
  size_t Base(PartitionId partition) const;
  size_t Cell(uint64_t hash, uint32_t row) const;

  const uint32_t sightings_;
  const uint32_t width_;
  const uint64_t seed_;
  const uint32_t partitions_;
  std::vector<uint32_t> position_;  // by partition: which of the owned ones; else kNotOwned
  std::vector<uint8_t> cells_;      // [owned, rows, width]
  std::vector<uint32_t> held_;      // [owned]
};

}  // namespace emporium::ps
