// The dense-only ceiling of a CTR network: forward, backward and Adam of the same MLP on a constant
// leaf tensor in place of looked-up rows, so no table, no data and no synchronisation. What no
// system with this network and this library can pass.
//
// An object belongs to one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace emporium::bench {

class Ceiling {
 public:
  // `width`: inputs of the MLP (fields * dim + dense values); `hidden`: widths of hidden layers.
  Ceiling(int64_t batch, int64_t width, const std::vector<int64_t>& hidden);
  ~Ceiling();
  Ceiling(const Ceiling&) = delete;
  Ceiling& operator=(const Ceiling&) = delete;
  // One training step; returns the loss.
  float Step();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace emporium::bench
