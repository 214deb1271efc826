// A gate in front of something that will be taken down: work that is inside is waited for, work
// that comes later is refused. Any thread.
//
//   if (Gate::Pass pass = gate.Enter()) { ... use it ... }
#pragma once

#include <utility>

#include "runtime/thread_annotations.h"

namespace emporium::runtime {

class Gate {
 public:
  // Being inside, for as long as the object lives. False when the gate was closed.
  class Pass {
   public:
    explicit Pass(Gate* gate) : gate_(gate) {}
    Pass(Pass&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    Pass& operator=(Pass&&) = delete;
    ~Pass() {
      if (gate_ != nullptr) gate_->Leave();
    }
    explicit operator bool() const { return gate_ != nullptr; }

   private:
    Gate* gate_;
  };

  Pass Enter() EMPORIUM_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (closed_) return Pass(nullptr);
    ++inside_;
    return Pass(this);
  }

  // Refuses from now on, and returns when nobody is inside. May be called again.
  void Close() EMPORIUM_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    closed_ = true;
    while (inside_ > 0) empty_.Wait(mutex_);
  }

 private:
  void Leave() EMPORIUM_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (--inside_ == 0) empty_.NotifyAll();
  }

  Mutex mutex_;
  CondVar empty_;
  int inside_ EMPORIUM_GUARDED_BY(mutex_) = 0;
  bool closed_ EMPORIUM_GUARDED_BY(mutex_) = false;
};

}  // namespace emporium::runtime
