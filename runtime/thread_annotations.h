// Mutex, MutexLock and CondVar: the standard ones, with the annotations by which clang checks
// (-Wthread-safety) that guarded members are only touched under their lock. gcc knows no such
// attributes; the macros are empty there.
//
//   Mutex mutex_;
//   int value_ EMPORIUM_GUARDED_BY(mutex_);
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define EMPORIUM_ANNOTATE(x) __attribute__((x))
#else
#define EMPORIUM_ANNOTATE(x)
#endif

#define EMPORIUM_CAPABILITY(x) EMPORIUM_ANNOTATE(capability(x))
#define EMPORIUM_SCOPED_CAPABILITY EMPORIUM_ANNOTATE(scoped_lockable)
#define EMPORIUM_GUARDED_BY(x) EMPORIUM_ANNOTATE(guarded_by(x))
#define EMPORIUM_PT_GUARDED_BY(x) EMPORIUM_ANNOTATE(pt_guarded_by(x))
#define EMPORIUM_REQUIRES(...) EMPORIUM_ANNOTATE(requires_capability(__VA_ARGS__))
#define EMPORIUM_EXCLUDES(...) EMPORIUM_ANNOTATE(locks_excluded(__VA_ARGS__))
#define EMPORIUM_ACQUIRE(...) EMPORIUM_ANNOTATE(acquire_capability(__VA_ARGS__))
#define EMPORIUM_RELEASE(...) EMPORIUM_ANNOTATE(release_capability(__VA_ARGS__))

namespace emporium::runtime {

class CondVar;

class EMPORIUM_CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  void Lock() EMPORIUM_ACQUIRE() { mutex_.lock(); }
  void Unlock() EMPORIUM_RELEASE() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class EMPORIUM_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) EMPORIUM_ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() EMPORIUM_RELEASE() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Waits return also without a reason: the caller loops around its condition.
class CondVar {
 public:
  void Wait(Mutex& mutex) EMPORIUM_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  // False when the time was reached.
  bool WaitUntil(Mutex& mutex, std::chrono::steady_clock::time_point deadline)
      EMPORIUM_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const bool in_time = condition_.wait_until(lock, deadline) == std::cv_status::no_timeout;
    lock.release();
    return in_time;
  }
  bool WaitFor(Mutex& mutex, std::chrono::nanoseconds time) EMPORIUM_REQUIRES(mutex) {
    return WaitUntil(mutex, std::chrono::steady_clock::now() + time);
  }
  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace emporium::runtime
