// Has the kernel give pages before they are needed: the first touch of a huge page costs more than
// all else that making a batch of rows does, so a thread of its own pays for it.
//
// The object may be used by any thread. One is shared by all arenas of a server, which it outlives.
// Invariants:
//  1. A range waits, is in hand, or is forgotten. Its contents are never changed, so its owner may
//     use it at any time: who comes first makes the kernel give the page.
//  2. A range that waits or is in hand stays mapped; the owner calls Cancel before it is not.
//  3. At most kMostWaiting ranges wait.
// A kernel without MADV_POPULATE_WRITE (before 5.14), or without memory to give, refuses: the pages
// are then given at their first touch, as without this class.
#pragma once

#include <cstddef>
#include <deque>
#include <thread>

#include "runtime/thread_annotations.h"

namespace emporium::ps {

class PageAhead {
 public:
  static constexpr size_t kMostWaiting = 256;

  PageAhead();
  // Forgets what waits.
  ~PageAhead();
  PageAhead(const PageAhead&) = delete;
  PageAhead& operator=(const PageAhead&) = delete;

  // False, and nothing is done, when too many ranges wait. A range is in hand as a whole, so that
  // Cancel waits for no more than the pages of one: give them page by page.
  bool Populate(std::byte* begin, size_t bytes) EMPORIUM_EXCLUDES(mutex_);
  // Whether a range that begins there waits or is in hand.
  bool IsPending(const std::byte* begin) const EMPORIUM_EXCLUDES(mutex_);
  // Forgets what begins in this range; waits for what is in hand of it.
  void Cancel(const std::byte* begin, size_t bytes) EMPORIUM_EXCLUDES(mutex_);
  // Waits until nothing waits nor is in hand: for measurements of memory.
  void WaitUntilIdle() EMPORIUM_EXCLUDES(mutex_);

 private:
  struct Range {
    std::byte* begin = nullptr;
    size_t bytes = 0;
  };

  void Run() EMPORIUM_EXCLUDES(mutex_);

  mutable runtime::Mutex mutex_;
  runtime::CondVar changed_;
  std::deque<Range> waiting_ EMPORIUM_GUARDED_BY(mutex_);
  Range in_hand_ EMPORIUM_GUARDED_BY(mutex_);  // begin is null: none
  bool stop_ EMPORIUM_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace emporium::ps
