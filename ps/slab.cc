#include "ps/slab.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "proto/check.h"

namespace emporium::ps {
namespace {

// A full chunk has about this size: large enough that the directories stay in the processor's
// second cache, small enough that what the last chunks leave free is little.
constexpr size_t kChunkBytes = size_t{64} << 10;
constexpr uint32_t kMostRows = 256;
// A full chunk has as many times the rows of a bin's first.
constexpr uint32_t kFirstShare = 64;

uint32_t RowBits(const RowShape& shape) {
  const size_t row = size_t{shape.stride()} + shape.tail_bytes();
  const auto rows = static_cast<uint32_t>(std::bit_floor(std::max<size_t>(kChunkBytes / row, 1)));
  return static_cast<uint32_t>(std::countr_zero(std::min(rows, kMostRows)));
}

size_t TailBytes(const RowShape& shape, uint32_t rows) {
  const size_t bytes = size_t{rows} * shape.tail_bytes();
  return (bytes + Arena::kLine - 1) / Arena::kLine * Arena::kLine;
}

size_t ChunkBytes(const RowShape& shape, uint32_t rows) {
  return TailBytes(shape, rows) + size_t{rows} * shape.stride();
}

}  // namespace

Slabs::Slabs(const RowLayout& layout, uint32_t bins, uint32_t number_bits, PageAhead* page_ahead)
    : shape_(layout),
      number_bits_(number_bits),
      number_mask_((1u << number_bits) - 1),
      row_bits_(RowBits(shape_)),
      row_mask_((1u << row_bits_) - 1),
      first_rows_(std::max(full_rows() / kFirstShare, 1u)),
      directories_(bins, nullptr),
      bins_(bins),
      arena_(page_ahead) {
  EMPORIUM_CHECK(number_bits < 32 && bins > 0 && ((bins - 1) >> (32 - number_bits)) == 0,
                 "a slot has room for bin and number");
}

Slot Slabs::Allocate(uint32_t bin_number) {
  Bin& bin = bins_[bin_number];
  if (bin.first_partial == kNoChunk && bin.empty > 0) Refill(bin);
  uint32_t number = 0;
  if (bin.first_partial != kNoChunk) {
    const uint32_t c = bin.first_partial;
    Chunk& chunk = bin.chunks[c];
    number = (c << row_bits_) + chunk.first_free;
    chunk.first_free = NextFree(ChunkAt(bin.directory[c]), chunk.first_free);
    ++chunk.live;
    if (chunk.first_free == kNoRow) Unlink(bin, c);
  } else {
    EMPORIUM_CHECK(bin.used < number_mask_, "a partition has fewer rows than a slot can name");
    Extend(bin);
    directories_[bin_number] = bin.directory.data();
    number = bin.used++;
    ++bin.chunks.back().live;
  }
  ++live_;
  return (bin_number << number_bits_) | number;
}

void Slabs::Free(Slot slot) {
  const uint32_t bin_number = slot >> number_bits_;
  EMPORIUM_CHECK(bin_number < bins_.size(), "a slot that was handed out");
  Bin& bin = bins_[bin_number];
  const uint32_t number = slot & number_mask_;
  const uint32_t c = number >> row_bits_;
  EMPORIUM_CHECK(number < bin.used && bin.directory[c] != Arena::kNoLine,
                 "a slot that was handed out");
  Chunk& chunk = bin.chunks[c];
  EMPORIUM_CHECK(chunk.live > 0, "a row is freed once");
  if (chunk.first_free == kNoRow) chunk.next_partial = std::exchange(bin.first_partial, c);
  const auto row = static_cast<uint16_t>(number & row_mask_);
  SetNextFree(ChunkAt(bin.directory[c]), row, std::exchange(chunk.first_free, row));
  --live_;
  if (--chunk.live == 0) GiveBack(bin, c);
}

void Slabs::Compact(uint32_t bin_number, std::span<Slot> slots) {
  Bin& bin = bins_[bin_number];
  const auto rows = static_cast<uint32_t>(slots.size());
  Bin fresh;
  for (uint32_t i = 0; i < rows; ++i) {
    const uint32_t row = i & row_mask_;
    if (row == 0) {
      const uint32_t wanted = std::min(rows - i, full_rows());
      uint32_t capacity = first_rows_;
      while (capacity < wanted) capacity = LargerCapacity(capacity);
      fresh.directory.push_back(NewChunk(capacity));
      fresh.chunks.emplace_back();
      fresh.last_capacity = capacity;
    }
    const uint32_t old = slots[i] & number_mask_;
    EMPORIUM_CHECK(slots[i] >> number_bits_ == bin_number && old < bin.used, "a row of the bin");
    CopyRow(ChunkAt(bin.directory[old >> row_bits_]), old & row_mask_,
            ChunkAt(fresh.directory.back()), row, 1);
    ++fresh.chunks.back().live;
    slots[i] = (bin_number << number_bits_) | i;
  }
  fresh.used = rows;
  uint32_t live = 0;
  for (uint32_t c = 0; c < bin.directory.size(); ++c) {
    live += bin.chunks[c].live;
    if (bin.directory[c] != Arena::kNoLine) ReleaseChunk(bin.directory[c], CapacityOf(bin, c));
  }
  EMPORIUM_CHECK(live == rows, "every row of the bin is moved");
  bin = std::move(fresh);
  directories_[bin_number] = bin.directory.data();
}

void Slabs::Clear() {
  bins_ = std::vector<Bin>(bins_.size());
  directories_.assign(directories_.size(), nullptr);
  arena_.Clear();
  live_ = 0;
}

uint64_t Slabs::bytes() const { return arena_.used() + directory_bytes(); }

uint64_t Slabs::directory_bytes() const {
  uint64_t bytes = bins_.size() * (sizeof(Bin) + sizeof(directories_[0]));
  for (const Bin& bin : bins_) {
    bytes += bin.directory.capacity() * sizeof(Arena::Line) + bin.chunks.capacity() * sizeof(Chunk);
  }
  return bytes;
}

Arena::Line Slabs::NewChunk(uint32_t rows) {
  return arena_.LineOf(arena_.Allocate(ChunkBytes(shape_, rows)) + TailBytes(shape_, rows));
}

void Slabs::ReleaseChunk(Arena::Line chunk, uint32_t rows) {
  arena_.Free(ChunkAt(chunk) - TailBytes(shape_, rows), ChunkBytes(shape_, rows));
}

uint32_t Slabs::LargerCapacity(uint32_t rows) const {
  const uint32_t quarter = full_rows() / 4;
  return rows < quarter || quarter == 0 ? 2 * rows : rows + quarter;
}

void Slabs::Extend(Bin& bin) {
  if (bin.used == bin.directory.size() << row_bits_) {
    // A bin that has filled a chunk has many rows: what it may leave free is small beside them.
    bin.last_capacity = bin.directory.empty() ? first_rows_ : std::max(full_rows() / 4, 1u);
    bin.directory.push_back(NewChunk(bin.last_capacity));
    bin.chunks.emplace_back();
    return;
  }
  const auto rows = static_cast<uint32_t>(bin.used - ((bin.directory.size() - 1) << row_bits_));
  if (rows < bin.last_capacity) return;
  const uint32_t larger = LargerCapacity(bin.last_capacity);
  const Arena::Line moved = NewChunk(larger);
  CopyRow(ChunkAt(bin.directory.back()), 0, ChunkAt(moved), 0, rows);
  ReleaseChunk(bin.directory.back(), bin.last_capacity);
  bin.directory.back() = moved;
  bin.last_capacity = larger;
}

void Slabs::Refill(Bin& bin) {
  const auto at = std::find(bin.directory.begin(), bin.directory.end(), Arena::kNoLine);
  const auto c = static_cast<uint32_t>(at - bin.directory.begin());
  *at = NewChunk(full_rows());
  --bin.empty;
  Chunk& chunk = bin.chunks[c];
  for (uint32_t row = full_rows(); row-- > 0;) {
    SetNextFree(ChunkAt(*at), row, std::exchange(chunk.first_free, static_cast<uint16_t>(row)));
  }
  chunk.next_partial = std::exchange(bin.first_partial, c);
}

void Slabs::Unlink(Bin& bin, uint32_t chunk) {
  uint32_t* link = &bin.first_partial;
  while (*link != chunk) link = &bin.chunks[*link].next_partial;
  *link = std::exchange(bin.chunks[chunk].next_partial, kNoChunk);
}

void Slabs::GiveBack(Bin& bin, uint32_t chunk) {
  Unlink(bin, chunk);
  ReleaseChunk(bin.directory[chunk], CapacityOf(bin, chunk));
  bin.directory[chunk] = Arena::kNoLine;
  bin.chunks[chunk] = Chunk();
  ++bin.empty;
  if (chunk + 1 != bin.directory.size()) return;
  while (!bin.directory.empty() && bin.directory.back() == Arena::kNoLine) {
    bin.directory.pop_back();
    bin.chunks.pop_back();
    --bin.empty;
  }
  bin.used = static_cast<uint32_t>(bin.directory.size() << row_bits_);
  bin.last_capacity = full_rows();
}

void Slabs::CopyRow(const std::byte* from, uint32_t from_row, std::byte* to, uint32_t to_row,
                    uint32_t rows) const {
  const size_t stride = shape_.stride();
  const size_t tail = shape_.tail_bytes();
  std::memcpy(to + to_row * stride, from + from_row * stride, rows * stride);
  std::memcpy(to - (to_row + rows) * tail, from - (from_row + rows) * tail, rows * tail);
}

uint16_t Slabs::NextFree(const std::byte* chunk, uint32_t row) const {
  uint16_t next = 0;
  std::memcpy(&next, chunk + size_t{row} * shape_.stride(), sizeof(next));
  return next;
}

void Slabs::SetNextFree(std::byte* chunk, uint32_t row, uint16_t next) const {
  std::memcpy(chunk + size_t{row} * shape_.stride(), &next, sizeof(next));
}

}  // namespace emporium::ps
