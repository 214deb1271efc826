#include "ps/admission.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "proto/check.h"
#include "runtime/route.h"

namespace emporium::ps {
namespace {

constexpr uint32_t kNotOwned = std::numeric_limits<uint32_t>::max();
constexpr uint32_t kMaxCell = std::numeric_limits<uint8_t>::max();

}  // namespace

uint32_t SketchWidth(uint64_t bytes, uint32_t partitions) {
  const uint64_t width = bytes / partitions / kSketchRows;
  return static_cast<uint32_t>(
      std::bit_floor(std::clamp<uint64_t>(width, kMinSketchWidth, 1u << 30)));
}

Admission::Admission(uint32_t sightings, uint32_t width, uint64_t seed, uint32_t partitions,
                     const std::vector<PartitionId>& owned)
    : sightings_(sightings),
      width_(width),
      seed_(seed),
      partitions_(partitions),
      position_(partitions, kNotOwned),
      cells_(owned.size() * kSketchRows * width),
      held_(owned.size()) {
  EMPORIUM_CHECK(std::has_single_bit(width) && sightings <= kMaxCell, "cells can hold the bound");
  for (size_t i = 0; i < owned.size(); ++i) {
    position_[owned[i].value()] = static_cast<uint32_t>(i);
  }
}

size_t Admission::Base(PartitionId partition) const {
  const uint32_t position = position_[partition.value()];
  EMPORIUM_CHECK(position != kNotOwned, "a sketch of a partition that the shard owns");
  return size_t{position} * kSketchRows * width_;
}

// Two halves of one hash make the places of all rows (Kirsch, Mitzenmacher 2006).
size_t Admission::Cell(uint64_t hash, uint32_t row) const {
  const uint64_t step = (hash >> 32) | 1;
  return size_t{row} * width_ + ((hash + row * step) & (width_ - 1));
}

void Admission::Count(uint64_t key, float sightings) {
  const auto added = static_cast<uint32_t>(std::min(sightings + 0.5f, 1e9f));
  if (added == 0) return;
  const PartitionId partition = runtime::PartitionOf(key, partitions_);
  const size_t base = Base(partition);
  const uint64_t hash = runtime::MixKey(key + seed_);
  for (uint32_t row = 0; row < kSketchRows; ++row) {
    uint8_t& cell = cells_[base + Cell(hash, row)];
    cell = static_cast<uint8_t>(std::min(cell + std::min(added, kMaxCell), kMaxCell));
  }
  uint32_t& held = held_[position_[partition.value()]];
  held = static_cast<uint32_t>(
      std::min<uint64_t>(uint64_t{held} + added, std::numeric_limits<uint32_t>::max()));
}

bool Admission::Admits(uint64_t key) const {
  const size_t base = Base(runtime::PartitionOf(key, partitions_));
  const uint64_t hash = runtime::MixKey(key + seed_);
  for (uint32_t row = 0; row < kSketchRows; ++row) {
    if (cells_[base + Cell(hash, row)] < sightings_) return false;
  }
  return true;
}

void Admission::EndStep() {
  for (size_t i = 0; i < held_.size(); ++i) {
    if (held_[i] <= width_ / 2) continue;
    held_[i] /= 2;
    const auto begin = cells_.begin() + static_cast<ptrdiff_t>(i * kSketchRows * width_);
    std::for_each(begin, begin + kSketchRows * width_, [](uint8_t& cell) { cell >>= 1; });
  }
}

std::span<const uint8_t> Admission::cells(PartitionId partition) const {
  return std::span(cells_).subspan(Base(partition), size_t{kSketchRows} * width_);
}

uint32_t Admission::held(PartitionId partition) const {
  return held_[position_[partition.value()]];
}

void Admission::Restore(PartitionId partition, std::span<const uint8_t> cells, uint32_t held) {
  EMPORIUM_CHECK(cells.size() == size_t{kSketchRows} * width_, "a whole sketch");
  std::copy(cells.begin(), cells.end(), cells_.begin() + static_cast<ptrdiff_t>(Base(partition)));
  held_[position_[partition.value()]] = held;
}

void Admission::Clear() {
  std::fill(cells_.begin(), cells_.end(), uint8_t{0});
  std::fill(held_.begin(), held_.end(), 0);
}

}  // namespace emporium::ps
