// Time that only moves forward, behind an interface, so that state machines can be run by tests at
// any speed. Safe from any thread.
#pragma once

#include <chrono>
#include <cstdint>

namespace emporium::runtime {

class Clock {
 public:
  virtual ~Clock() = default;
  // Monotonic, since an arbitrary moment.
  virtual std::chrono::nanoseconds now() const = 0;
  int64_t now_ms() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(now()).count();
  }
};

class SystemClock final : public Clock {
 public:
  std::chrono::nanoseconds now() const override {
    return std::chrono::steady_clock::now().time_since_epoch();
  }
};

// The time of day, in milliseconds since 1970.
inline int64_t UnixMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Seconds of wall time since construction or the last Restart.
class Stopwatch {
 public:
  Stopwatch() : start_(std::chrono::steady_clock::now()) {}
  double Seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  // Seconds so far; counts from now on again.
  double Restart() {
    const double seconds = Seconds();
    start_ = std::chrono::steady_clock::now();
    return seconds;
  }

 private:
  std::chrono::steady_clock::time_point start_;
};

}  // namespace emporium::runtime
