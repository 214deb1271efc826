#include "ps/page_ahead.h"

#include <sys/mman.h>

#include <algorithm>

#include "proto/check.h"

namespace emporium::ps {

using runtime::MutexLock;

PageAhead::PageAhead() {
  thread_ = std::thread([this] { Run(); });
}

PageAhead::~PageAhead() {
  {
    MutexLock lock(mutex_);
    stop_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

bool PageAhead::Populate(std::byte* begin, size_t bytes) {
  EMPORIUM_CHECK(begin != nullptr && bytes > 0, "a range of mapped pages");
  MutexLock lock(mutex_);
  if (waiting_.size() >= kMostWaiting) return false;
  waiting_.push_back({begin, bytes});
  changed_.NotifyAll();
  return true;
}

bool PageAhead::IsPending(const std::byte* begin) const {
  MutexLock lock(mutex_);
  return in_hand_.begin == begin ||
         std::any_of(waiting_.begin(), waiting_.end(),
                     [begin](const Range& range) { return range.begin == begin; });
}

void PageAhead::Cancel(const std::byte* begin, size_t bytes) {
  const auto is_inside = [begin, bytes](const Range& range) {
    return range.begin >= begin && range.begin < begin + bytes;
  };
  MutexLock lock(mutex_);
  waiting_.erase(std::remove_if(waiting_.begin(), waiting_.end(), is_inside), waiting_.end());
  while (is_inside(in_hand_)) changed_.Wait(mutex_);
  changed_.NotifyAll();
}

void PageAhead::WaitUntilIdle() {
  MutexLock lock(mutex_);
  while (!waiting_.empty() || in_hand_.begin != nullptr) changed_.Wait(mutex_);
}

void PageAhead::Run() {
  mutex_.Lock();
  while (true) {
    while (!stop_ && waiting_.empty()) changed_.Wait(mutex_);
    if (stop_) break;
    const Range range = waiting_.front();
    waiting_.pop_front();
    in_hand_ = range;
    mutex_.Unlock();
    // A refusal changes nothing but who waits for the pages.
    static_cast<void>(madvise(range.begin, range.bytes, MADV_POPULATE_WRITE));
    mutex_.Lock();
    in_hand_ = Range();
    changed_.NotifyAll();
  }
  mutex_.Unlock();
}

}  // namespace emporium::ps
