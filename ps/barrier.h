// The gradients of steps that are not complete yet, by (step, micro-batch), and the order in which
// they are to be added up.
//
// Belongs to the shard's thread. Invariants:
//  1. Only the present step and the one after it are held.
//  2. A (step, micro-batch) is held once; all pushes of a step agree on how many there are, on the
//     learning-rate factor and on whether the step awaits a scale.
//  3. Never more than `max_bytes`, of which the step after may take half, so that it cannot keep
//     the present one from becoming complete. What has been taken counts until the step is over:
//     its gradients are still there.
//  4. Pushes are taken in the order of micro-batches, each once.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "proto/frame.h"
#include "proto/ids.h"
#include "proto/status.h"
#include "ps/frame_bytes.h"
#include "ps/pull_memory.h"

namespace emporium::ps {

// A push whose sections have been checked; `frame` views `bytes`.
struct StagedPush {
  FrameBytes bytes;
  FrameView frame;
  // Of the same micro-batch: where the keys are that `frame` leaves out.
  std::optional<PullMemory::Pull> pull;
};

class Barrier {
 public:
  enum class Outcome { kStaged, kKnown };

  explicit Barrier(uint64_t max_bytes) : max_bytes_(max_bytes) {}

  // Forgets everything and stands at `step`.
  void Reset(Step step);
  Step step() const { return step_; }

  // Whether the push (of step() or the one after) was staged before.
  bool Knows(const FrameHeader& header) const;
  // Holds a push of step() or the one after (anything else is the caller's to answer). kKnown: it
  // was here before, and is dropped. Busy at the bound; InvalidArgument against invariant 2. The
  // push is moved from only when it is kStaged.
  Result<Outcome> Stage(StagedPush&& push);

  // The next push of step() in order of micro-batch; nothing while it is not here.
  std::optional<StagedPush> TakeNext();
  // Every micro-batch of step() has been taken.
  bool complete() const { return present().micro_batches > 0 && present().missing() == 0; }
  // Of step(): micro-batches below it have been taken.
  uint32_t lowest_missing() const { return present().taken; }
  // Of the pushes of step(), one of which has been staged.
  float learning_rate_factor() const { return present().learning_rate_factor; }
  // False too while no push of step() has been staged.
  bool awaits_scale() const { return present().awaits_scale; }
  // Ends the complete step.
  void Advance();

  // Nothing is held, and nothing of step() has been taken.
  bool empty() const { return staged_bytes_ == 0; }
  uint64_t staged_bytes() const { return staged_bytes_; }

 private:
  struct Window {
    uint32_t micro_batches = 0;                     // of the step; 0: no push yet
    uint32_t taken = 0;                             // micro-batches 0 .. taken - 1
    std::vector<std::optional<StagedPush>> pushes;  // index: micro-batch
    float learning_rate_factor = 0;
    bool awaits_scale = false;
    uint64_t bytes = 0;
    uint32_t missing() const { return micro_batches - taken; }
    bool Knows(uint32_t m) const { return m < taken || pushes[m].has_value(); }
  };
  const Window& present() const { return windows_[step_.value() % 2]; }

  const uint64_t max_bytes_;
  Step step_;
  std::array<Window, 2> windows_;  // index: step % 2
  uint64_t staged_bytes_ = 0;
};

}  // namespace emporium::ps
