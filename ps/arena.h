// Memory for rows and index, taken from the kernel in extents and handed out in blocks of any size.
//
// Belongs to its table's thread; no locks. Invariants:
//  1. Blocks start on a cache line and are a whole number of lines; what they hold at first is
//     undefined.
//  2. Extents start on a huge page. The first one asks for small pages, so that a table of a few
//     rows costs a few of them; the others ask for huge pages.
//  3. Free space next to free space is one hole; the smallest hole that fits is used first.
//  4. Pages without a block go back to the kernel once free pages are more than a fixed share of
//     those in use (which keeps growth from giving back what it takes again at once), one with
//     each block that is taken or freed.
//  5. With a PageAhead, the huge pages that blocks will take next are asked for ahead of need: four
//     at first, twice as many each time that one was needed before it had come. None while less
//     than kLeastUsed is in use; else at most 8 MiB + 1/32 of what is in use, and 16 MiB. They
//     count as resident from the time they are asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "ps/page_ahead.h"

namespace emporium::ps {

class Arena {
 public:
  static constexpr size_t kLine = 64;
  static constexpr size_t kHugePage = size_t{2} << 20;
  static constexpr size_t kLeastUsed = size_t{16} << 20;

  // Null: no page is asked for ahead. Else it outlives the arena.
  explicit Arena(PageAhead* page_ahead = nullptr) : page_ahead_(page_ahead) {}
  ~Arena() { Clear(); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Rounds up to whole lines. Memory that the kernel does not have ends the process.
  std::byte* Allocate(size_t bytes);
  // A block that Allocate(bytes) returned.
  void Free(std::byte* block, size_t bytes);
  // Gives everything back.
  void Clear();

  // Lines by number, which is half as long as their address: those of the first 1023 extents, so of
  // 255 GiB.
  using Line = uint32_t;
  static constexpr Line kNoLine = ~Line{0};
  Line LineOf(const std::byte* address) const;
  // Good until the next Allocate.
  class Lines {
   public:
    explicit Lines(std::byte* const* extents) : extents_(extents) {}
    std::byte* operator[](Line line) const {
      return extents_[line >> kLineBits] + size_t{line & ((1u << kLineBits) - 1)} * kLine;
    }

   private:
    std::byte* const* extents_;
  };
  Lines lines() const { return Lines(begin_of_.data()); }

  uint64_t used() const { return used_; }          // bytes of blocks
  uint64_t resident() const { return resident_; }  // bytes of pages that the kernel has given
  uint64_t ahead() const { return ahead_.size() * kHugePage; }  // of these, ahead of need

 private:
  static constexpr size_t kSmallPage = 4096;
  static constexpr size_t kLargestExtent = size_t{256} << 20;
  static constexpr uint32_t kLineBits = 22;
  static_assert(kLargestExtent / kLine == size_t{1} << kLineBits);
  // One less than there is room for: kNoLine.
  static constexpr size_t kMostExtents = (size_t{1} << (32 - kLineBits)) - 1;
  static constexpr size_t kFirstAhead = 4;  // pages
  static constexpr size_t kMostAhead = 8;

  struct Extent {
    std::byte* begin = nullptr;
    size_t bytes = 0;
    uint32_t number = 0;
    size_t page = kHugePage;
    std::vector<bool> touched;  // by page
  };
  using Holes = std::map<std::byte*, size_t>;

  void AddExtent(size_t at_least);
  Extent& ExtentOf(std::byte* address) {
    return const_cast<Extent&>(std::as_const(*this).ExtentOf(address));
  }
  const Extent& ExtentOf(const std::byte* address) const;
  void AddHole(std::byte* begin, size_t bytes);
  void RemoveHole(Holes::iterator hole);
  // Whether it took pages that were not in use.
  bool Touch(std::byte* begin, size_t bytes);
  // Whether more pages are free than are kept.
  bool KeepsTooMuch() const;
  // The whole pages of a hole are to go back to the kernel.
  void Return(std::byte* begin, size_t bytes);
  // Gives one of them back: each costs the kernel about a tenth of a millisecond, and a hole may
  // have a hundred.
  void ReturnOne();
  void ReturnPage(Extent& extent, std::byte* page);
  // The most pages that may be ahead when so much is in use.
  static size_t MostAhead(uint64_t used);
  // Asks for pages until as many are ahead as are wanted.
  void AskAhead();
  // The same as far as there are holes; false when there are too few.
  bool AskInHoles(size_t wanted);
  // Gives back the pages that are ahead of far more need than there is.
  void DropAhead();

  PageAhead* const page_ahead_;
  std::vector<Extent> extents_;       // by address
  std::vector<std::byte*> begin_of_;  // by number
  size_t next_extent_ = kHugePage;
  Holes holes_;                                      // by address
  std::set<std::pair<size_t, std::byte*>> by_size_;  // the same holes
  std::set<std::byte*> ahead_;                       // pages in holes that have been asked for
  std::set<std::byte*> returning_;  // pages that are to go back if they are still free
  size_t wanted_ahead_ = kFirstAhead;
  uint64_t used_ = 0;
  uint64_t resident_ = 0;
};

}  // namespace emporium::ps
