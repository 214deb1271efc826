// How long to wait before another try of something that does not answer: longer each time, up to a
// bound, and not for ever. Belongs to one thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

namespace emporium::runtime {

class Backoff {
 public:
  using milliseconds = std::chrono::milliseconds;

  Backoff(milliseconds first, milliseconds longest, milliseconds patience)
      : first_(first), longest_(longest), patience_(patience), next_(first) {}

  // The next wait, or nothing when the first failure lies longer back than the patience.
  std::optional<milliseconds> Next(std::chrono::nanoseconds now) {
    if (!since_) since_ = now;
    if (now - *since_ > patience_) return std::nullopt;
    return std::exchange(next_, std::min(next_ * 2, longest_));
  }
  void Reset() {
    since_.reset();
    next_ = first_;
  }

 private:
  const milliseconds first_;
  const milliseconds longest_;
  const milliseconds patience_;
  milliseconds next_;
  std::optional<std::chrono::nanoseconds> since_;  // of the first failure
};

}  // namespace emporium::runtime
