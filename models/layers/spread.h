// Distribution-aware pooling (DAP, models.md M11): of the events b_j of a sample, n of them,
//
//   mu = mean_j b_j,   sd = sqrt(mean_j (b_j - mu)^2 + 1e-6)     population deviation
//
// A sample without events has mu = 0 and sd = 0.001.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "models/pass.h"

namespace emporium::models {

// Whose the events of a batch are; lives as long as the pass.
struct EventsOfSamples {
  // `offset` [B + 1] must live as long as the graph.
  EventsOfSamples(Pass& pass, std::span<const int32_t> offset);

  std::span<const int32_t> offset;
  std::span<const int32_t> sample;  // of each event
};

// [B, PooledWidth]: [mu; sd], or without `spread` mu alone, of events [E, width].
at::Tensor PoolSpread(Pass& pass, const at::Tensor& events, const EventsOfSamples& of, bool spread);
inline int64_t PooledWidth(int64_t width, bool spread) { return spread ? 2 * width : width; }

}  // namespace emporium::models
