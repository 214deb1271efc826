#include "ps/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <iterator>

#include "proto/check.h"

namespace emporium::ps {
namespace {

size_t RoundUp(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

// Free pages that are kept: this share of the bytes in use, and a few more.
constexpr size_t kKeptShare = 16;
constexpr size_t kKeptBytes = 2 * Arena::kHugePage;
// Pages that are asked for ahead: at most this share, and a few more.
constexpr size_t kAheadShare = 32;

}  // namespace

std::byte* Arena::Allocate(size_t bytes) {
  bytes = RoundUp(bytes, kLine);
  EMPORIUM_CHECK(bytes > 0, "a block has a size");
  auto best = by_size_.lower_bound({bytes, nullptr});
  if (best == by_size_.end()) {
    AddExtent(bytes);
    best = by_size_.lower_bound({bytes, nullptr});
  }
  const auto hole = holes_.find(best->second);
  std::byte* const begin = hole->first;
  const size_t rest = hole->second - bytes;
  RemoveHole(hole);
  if (rest > 0) AddHole(begin + bytes, rest);
  used_ += bytes;
  if (Touch(begin, bytes) && page_ahead_ != nullptr) AskAhead();
  ReturnOne();
  return begin;
}

void Arena::Free(std::byte* block, size_t bytes) {
  bytes = RoundUp(bytes, kLine);
  EMPORIUM_CHECK(bytes > 0 && bytes <= used_, "a block that was handed out");
  used_ -= bytes;
  const Extent& extent = ExtentOf(block);
  std::byte* begin = block;
  std::byte* end = block + bytes;
  auto next = holes_.lower_bound(block);
  EMPORIUM_CHECK(next == holes_.end() || next->first >= end, "a block is freed once");
  if (next != holes_.begin()) {
    const auto before = std::prev(next);
    std::byte* const before_end = before->first + before->second;
    EMPORIUM_CHECK(before_end <= block, "a block is freed once");
    if (before_end == begin && before->first >= extent.begin) {
      begin = before->first;
      RemoveHole(before);
    }
  }
  if (next != holes_.end() && next->first == end && end < extent.begin + extent.bytes) {
    end = next->first + next->second;
    RemoveHole(next);
  }
  AddHole(begin, static_cast<size_t>(end - begin));
  if (KeepsTooMuch()) Return(begin, static_cast<size_t>(end - begin));
  ReturnOne();
  DropAhead();
}

void Arena::Clear() {
  for (const Extent& extent : extents_) {
    if (page_ahead_ != nullptr) page_ahead_->Cancel(extent.begin, extent.bytes);
    munmap(extent.begin, extent.bytes);
  }
  extents_.clear();
  begin_of_.clear();
  holes_.clear();
  by_size_.clear();
  next_extent_ = kHugePage;
  ahead_.clear();
  returning_.clear();
  wanted_ahead_ = kFirstAhead;
  used_ = 0;
  resident_ = 0;
}

void Arena::AddExtent(size_t at_least) {
  const size_t bytes = RoundUp(std::max(at_least, next_extent_), kHugePage);
  // Room for a start on a huge page; what is too much is given back at once.
  void* const mapped = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  EMPORIUM_CHECK(mapped != MAP_FAILED, "the kernel has memory for a table's rows");
  auto* const base = static_cast<std::byte*>(mapped);
  const size_t before =
      RoundUp(reinterpret_cast<uintptr_t>(base), kHugePage) - reinterpret_cast<uintptr_t>(base);
  if (before > 0) munmap(base, before);
  if (before < kHugePage) munmap(base + before + bytes, kHugePage - before);
  Extent extent;
  extent.begin = base + before;
  extent.bytes = bytes;
  extent.number = static_cast<uint32_t>(begin_of_.size());
  begin_of_.push_back(extent.begin);
  extent.page = extents_.empty() ? kSmallPage : kHugePage;
  extent.touched.resize(bytes / extent.page);
  // A kernel without huge pages says so; the memory is good all the same.
  madvise(extent.begin, bytes, extents_.empty() ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
  if (!extents_.empty()) next_extent_ = std::min(2 * next_extent_, kLargestExtent);
  AddHole(extent.begin, bytes);
  const auto at =
      std::lower_bound(extents_.begin(), extents_.end(), extent.begin,
                       [](const Extent& a, const std::byte* address) { return a.begin < address; });
  extents_.insert(at, std::move(extent));
}

Arena::Line Arena::LineOf(const std::byte* address) const {
  const Extent& extent = ExtentOf(address);
  const size_t line = static_cast<size_t>(address - extent.begin) / kLine;
  EMPORIUM_CHECK(extent.number < kMostExtents && line < size_t{1} << kLineBits,
                 "a table has at most 255 GiB of rows on a shard; use more shards");
  return (extent.number << kLineBits) | static_cast<Line>(line);
}

const Arena::Extent& Arena::ExtentOf(const std::byte* address) const {
  const auto after = std::upper_bound(
      extents_.begin(), extents_.end(), address,
      [](const std::byte* wanted, const Extent& extent) { return wanted < extent.begin; });
  EMPORIUM_CHECK(after != extents_.begin(), "an address of this arena");
  return *std::prev(after);
}

void Arena::AddHole(std::byte* begin, size_t bytes) {
  holes_.emplace(begin, bytes);
  by_size_.emplace(bytes, begin);
}

void Arena::RemoveHole(Holes::iterator hole) {
  by_size_.erase({hole->second, hole->first});
  holes_.erase(hole);
}

bool Arena::Touch(std::byte* begin, size_t bytes) {
  Extent& extent = ExtentOf(begin);
  const auto offset = static_cast<size_t>(begin - extent.begin);
  bool took = false;
  for (size_t p = offset / extent.page; p * extent.page < offset + bytes; ++p) {
    if (!extent.touched[p]) {
      extent.touched[p] = true;
      resident_ += extent.page;
      took = true;
    } else if (!ahead_.empty() && ahead_.erase(extent.begin + p * extent.page) > 0) {
      took = true;
      const bool late = page_ahead_->IsPending(extent.begin + p * extent.page);
      if (late) wanted_ahead_ = std::min(2 * wanted_ahead_, kMostAhead);
    }
  }
  return took;
}

bool Arena::KeepsTooMuch() const {
  return resident_ - ahead() - used_ > used_ / kKeptShare + kKeptBytes;
}

void Arena::Return(std::byte* begin, size_t bytes) {
  const Extent& extent = ExtentOf(begin);
  const auto offset = static_cast<size_t>(begin - extent.begin);
  const size_t first = RoundUp(offset, extent.page) / extent.page;
  const size_t end = (offset + bytes) / extent.page;
  for (size_t p = first; p < end; ++p) {
    if (extent.touched[p]) returning_.insert(extent.begin + p * extent.page);
  }
}

void Arena::ReturnOne() {
  while (!returning_.empty() && KeepsTooMuch()) {
    std::byte* const page = *returning_.begin();
    returning_.erase(returning_.begin());
    Extent& extent = ExtentOf(page);
    const auto after = holes_.upper_bound(page);
    const bool free = after != holes_.begin() &&
                      std::prev(after)->first + std::prev(after)->second >= page + extent.page;
    const bool touched = extent.touched[static_cast<size_t>(page - extent.begin) / extent.page];
    if (!free || !touched || ahead_.count(page) > 0) continue;
    ReturnPage(extent, page);
    return;
  }
}

void Arena::ReturnPage(Extent& extent, std::byte* page) {
  // It may have been used before it had come.
  if (page_ahead_ != nullptr) page_ahead_->Cancel(page, extent.page);
  madvise(page, extent.page, MADV_DONTNEED);
  extent.touched[static_cast<size_t>(page - extent.begin) / extent.page] = false;
  resident_ -= extent.page;
}

size_t Arena::MostAhead(uint64_t used) {
  if (used < kLeastUsed) return 0;
  return std::min<size_t>(kFirstAhead + used / kAheadShare / kHugePage, kMostAhead);
}

void Arena::AskAhead() {
  const size_t wanted = std::min(wanted_ahead_, MostAhead(used_));
  if (ahead_.size() >= wanted || AskInHoles(wanted)) return;
  AddExtent(kHugePage);
  AskInHoles(wanted);
}

bool Arena::AskInHoles(size_t wanted) {
  // In the order in which Allocate will use them. A page that nothing lies in is part of one hole.
  for (auto hole = by_size_.lower_bound({kHugePage, nullptr}); hole != by_size_.end(); ++hole) {
    Extent& extent = ExtentOf(hole->second);
    if (extent.page != kHugePage) continue;
    const auto offset = static_cast<size_t>(hole->second - extent.begin);
    const size_t end = (offset + hole->first) / kHugePage;
    for (size_t p = RoundUp(offset, kHugePage) / kHugePage; p < end; ++p) {
      if (extent.touched[p]) continue;
      std::byte* const page = extent.begin + p * kHugePage;
      if (!page_ahead_->Populate(page, kHugePage)) return true;  // busy: another time
      extent.touched[p] = true;
      resident_ += kHugePage;
      ahead_.insert(page);
      if (ahead_.size() >= wanted) return true;
    }
  }
  return false;
}

void Arena::DropAhead() {
  // As many as twice the need allows, so that little changes do not drop what is asked for again.
  while (!ahead_.empty() && ahead_.size() > MostAhead(2 * used_)) {
    std::byte* const page = *std::prev(ahead_.end());
    ahead_.erase(page);
    ReturnPage(ExtentOf(page), page);
  }
}

}  // namespace emporium::ps
