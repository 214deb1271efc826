#include "models/layers/target_attention.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "models/rows.h"

namespace emporium::models {

namespace {

// Softmax of scores [E, 1] sample by sample.
at::Tensor SharesOf(Pass& pass, const at::Tensor& scores, std::span<const int32_t> offset) {
  const auto samples = static_cast<int64_t>(offset.size()) - 1;
  int64_t longest = 0;
  for (int64_t b = 0; b < samples; ++b) {
    longest = std::max<int64_t>(longest, offset[b + 1] - offset[b]);
  }
  std::vector<int32_t> event(static_cast<size_t>(samples * longest), -1);  // of each place
  std::vector<int32_t> place;                                              // of each event
  at::Tensor mask = at::zeros({samples, longest}, at::kFloat);
  for (int64_t b = 0; b < samples; ++b) {
    const int64_t length = offset[b + 1] - offset[b];
    for (int64_t j = 0; j < length; ++j) {
      place.push_back(static_cast<int32_t>(b * longest + j));
      event[static_cast<size_t>(place.back())] = offset[b] + static_cast<int32_t>(j);
    }
    // Nobody reads the shares of a sample without events: they need be no more than finite.
    std::fill_n(mask.data_ptr<float>() + b * longest + length, length == 0 ? 0 : longest - length,
                -std::numeric_limits<float>::infinity());
  }
  const at::Tensor padded = TakeRows(pass, scores, pass.Keep(std::move(event)));
  const at::Tensor shares =
      at::softmax(padded.view({samples, longest}).add(pass.ToDevice(mask)), 1);
  return TakeRows(pass, shares.view({samples * longest, 1}), pass.Keep(std::move(place)));
}

}  // namespace

TargetAttention::TargetAttention(ParameterList& list, const std::string& name, int64_t width,
                                 const spec::Mlp& options, bool softmax)
    : width_(width), softmax_(softmax), mlp_(list, name, 4 * width, options, 1) {}

at::Tensor TargetAttention::FirstLayer(Pass& pass, const at::Tensor& target,
                                       const at::Tensor& events,
                                       std::span<const int32_t> sample_of) const {
  const at::Tensor& w = mlp_.first().weight(pass);
  const auto part = [&](int64_t i) { return w.narrow(1, i * width_, width_); };
  const at::Tensor of_target =
      at::linear(target, part(0).add(part(2)), mlp_.first().bias(pass));  // [B, H]
  const at::Tensor product = TakeRows(pass, target, sample_of).mul(events);
  const at::Tensor weights = at::cat({part(1).sub(part(2)), part(3)}, 1);  // [H, 2 width]
  return TakeRows(pass, of_target, sample_of).addmm_(at::cat({events, product}, 1), weights.t());
}

at::Tensor TargetAttention::Forward(Pass& pass, const at::Tensor& target, const at::Tensor& events,
                                    std::span<const int32_t> offset) const {
  const auto samples = static_cast<int64_t>(offset.size()) - 1;
  if (events.size(0) == 0) return at::zeros({samples, width_}, pass.options());
  std::vector<int32_t> sample_of;
  sample_of.reserve(static_cast<size_t>(events.size(0)));
  for (int64_t b = 0; b < samples; ++b) {
    sample_of.insert(sample_of.end(), static_cast<size_t>(offset[b + 1] - offset[b]),
                     static_cast<int32_t>(b));
  }
  const at::Tensor first = FirstLayer(pass, target, events, pass.Keep(std::move(sample_of)));
  at::Tensor a = mlp_.ForwardFromFirst(pass, first);  // [E, 1]
  if (softmax_) a = SharesOf(pass, a, offset);
  return PoolRows(pass, events.mul(a), offset, PoolKind::kSum);
}

}  // namespace emporium::models
