// What is taken over a sample's own events: which they are, and all as one rectangle. Belongs to
// one pass; what Pad gives keeps its place in the graph.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "models/pass.h"

namespace emporium::models {

// Which events each sample has. Samples may share a history.
struct Histories {
  std::span<const int32_t> offset;  // history k has the events offset[k] .. offset[k + 1]
  std::span<const int32_t> of;      // [B] the history of each sample; empty: sample b has history b
};

class EventPadding {
 public:
  // Sample b has the events offset[b] .. offset[b + 1]; there is at least one in all.
  EventPadding(Pass& pass, std::span<const int32_t> offset);

  // [E, n] as [B, longest, n], zeros where a sample has no event.
  at::Tensor Pad(const at::Tensor& events) const;
  // Back: the places that hold events.
  at::Tensor Unpad(const at::Tensor& padded) const;
  // [B, longest, 1]: minus infinity where there is no event, else 0. All 0 for a sample without
  // events: what comes of it must be finite, and nobody reads it.
  const at::Tensor& mask() const { return mask_; }

 private:
  Pass& pass_;
  int64_t samples_ = 0;
  int64_t longest_ = 0;
  std::span<const int32_t> event_;  // of each place; -1: none
  std::span<const int32_t> place_;  // of each event
  at::Tensor mask_;
};

// The sample of each event.
std::span<const int32_t> SampleOfEvents(Pass& pass, std::span<const int32_t> offset);

}  // namespace emporium::models
