// The gradients of steps that are not complete yet, by (step, micro-batch).
//
// Belongs to the shard's thread. Invariants:
//  1. Only the present step and the one after it are held.
//  2. A (step, micro-batch) is held once; all pushes of a step agree on how many there are and on
//     the learning-rate factor.
//  3. Never more than `max_bytes`, of which the step after may take half, so that it cannot keep
//     the present one from becoming complete.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "proto/frame.h"
#include "proto/ids.h"
#include "proto/status.h"
#include "ps/frame_bytes.h"

namespace emporium::ps {

// A push whose sections have been checked; `frame` views `bytes`.
struct StagedPush {
  FrameBytes bytes;
  FrameView frame;
};

class Barrier {
 public:
  enum class Outcome { kStaged, kKnown };

  explicit Barrier(uint64_t max_bytes) : max_bytes_(max_bytes) {}

  // Forgets everything and stands at `step`.
  void Reset(Step step);
  Step step() const { return step_; }

  // Holds a push of step() or the one after (anything else is the caller's to answer). kKnown: it
  // was here before, and is dropped. Busy at the bound; InvalidArgument against invariant 2.
  Result<Outcome> Stage(StagedPush push);

  // Every micro-batch of step() is here.
  bool complete() const { return !present().pushes.empty() && present().missing == 0; }
  // The pushes of the complete step in order of micro-batch; step() moves on by one.
  std::vector<StagedPush> Take();

  bool empty() const { return staged_bytes_ == 0; }
  uint64_t staged_bytes() const { return staged_bytes_; }

 private:
  struct Window {
    std::vector<std::optional<StagedPush>> pushes;  // index: micro-batch
    uint32_t missing = 0;
    float learning_rate_factor = 0;
    uint64_t bytes = 0;
  };
  const Window& present() const { return windows_[step_.value() % 2]; }

  const uint64_t max_bytes_;
  Step step_;
  std::array<Window, 2> windows_;  // index: step % 2
  uint64_t staged_bytes_ = 0;
};

}  // namespace emporium::ps
