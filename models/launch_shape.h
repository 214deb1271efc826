// How a task's elements are spread over a GPU's threads. Pure; any thread. C++17: nvcc reads it.
#pragma once

#include <cstdint>

namespace emporium::models {

// blocks x (threads_x * threads_y) threads. threads_x neighbours take neighbouring columns of an
// item, so that they read memory side by side; threads_y items share a block; a thread goes on with
// further columns and items until there are none.
struct LaunchShape {
  uint32_t blocks = 1;
  uint32_t threads_x = 1;
  uint32_t threads_y = 1;
};

inline LaunchShape ShapeOf(int64_t items, int32_t width) {
  constexpr uint32_t kThreads = 256;    // of a block
  constexpr uint32_t kWarp = 32;        // threads that run in step
  constexpr int64_t kBlocks = 1 << 16;  // more only queue up
  LaunchShape shape;
  while (shape.threads_x < kWarp && static_cast<int32_t>(shape.threads_x) < width) {
    shape.threads_x *= 2;
  }
  shape.threads_y = kThreads / shape.threads_x;
  const int64_t blocks = (items + shape.threads_y - 1) / shape.threads_y;
  shape.blocks = static_cast<uint32_t>(blocks < 1 ? 1 : blocks < kBlocks ? blocks : kBlocks);
  return shape;
}

}  // namespace emporium::models
