// A bounded queue between threads that can be closed: the only way in which stages of a pipeline
// hand work on. Any number of producers and consumers.
//
// Invariants: never more than `capacity` elements; what was pushed before Close is still popped;
// after Close nothing blocks.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

#include "proto/check.h"
#include "runtime/thread_annotations.h"

namespace emporium::runtime {

template <class T>
class Queue {
 public:
  explicit Queue(size_t capacity) : capacity_(capacity) {
    EMPORIUM_CHECK(capacity > 0, "a queue needs room for one element");
  }
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  // Waits for room. False when the queue is closed; the element is then dropped.
  bool Push(T element) EMPORIUM_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    while (!closed_ && elements_.size() >= capacity_) room_.Wait(mutex_);
    if (closed_) return false;
    elements_.push_back(std::move(element));
    filled_.NotifyOne();
    return true;
  }

  // False, and `element` untouched, when there is no room or the queue is closed.
  bool TryPush(T& element) EMPORIUM_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (closed_ || elements_.size() >= capacity_) return false;
    elements_.push_back(std::move(element));
    filled_.NotifyOne();
    return true;
  }

  // Waits for an element; nothing when the queue is closed and empty.
  std::optional<T> Pop() EMPORIUM_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    while (!closed_ && elements_.empty()) filled_.Wait(mutex_);
    return Take();
  }

  std::optional<T> TryPop() EMPORIUM_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return Take();
  }

  void Close() EMPORIUM_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    closed_ = true;
    room_.NotifyAll();
    filled_.NotifyAll();
  }

  bool closed() const EMPORIUM_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return closed_;
  }
  size_t size() const EMPORIUM_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return elements_.size();
  }

 private:
  std::optional<T> Take() EMPORIUM_REQUIRES(mutex_) {
    if (elements_.empty()) return std::nullopt;
    std::optional<T> element(std::move(elements_.front()));
    elements_.pop_front();
    room_.NotifyOne();
    return element;
  }

  const size_t capacity_;
  mutable Mutex mutex_;
  CondVar room_;
  CondVar filled_;
  std::deque<T> elements_ EMPORIUM_GUARDED_BY(mutex_);
  bool closed_ EMPORIUM_GUARDED_BY(mutex_) = false;
};

}  // namespace emporium::runtime
