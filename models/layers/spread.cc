#include "models/layers/spread.h"

#include <ATen/ops/cat.h>

#include <utility>
#include <vector>

#include "models/rows.h"

namespace emporium::models {

namespace {

constexpr double kLeastVariance = 1e-6;

}  // namespace

EventsOfSamples::EventsOfSamples(Pass& pass, std::span<const int32_t> offset_of)
    : offset(offset_of) {
  std::vector<int32_t> samples;
  samples.reserve(static_cast<size_t>(offset.back()));
  for (size_t b = 0; b + 1 < offset.size(); ++b) {
    samples.insert(samples.end(), static_cast<size_t>(offset[b + 1] - offset[b]),
                   static_cast<int32_t>(b));
  }
  sample = pass.Keep(std::move(samples));
}

at::Tensor PoolSpread(Pass& pass, const at::Tensor& events, const EventsOfSamples& of,
                      bool spread) {
  at::Tensor mean = PoolRows(pass, events, of.offset, PoolKind::kMean);
  if (!spread) return mean;
  const at::Tensor from_mean = events.sub(TakeRows(pass, mean, of.sample));
  const at::Tensor variance = PoolRows(pass, from_mean.mul(from_mean), of.offset, PoolKind::kMean);
  return at::cat({mean, variance.add(kLeastVariance).sqrt()}, 1);
}

}  // namespace emporium::models
