#include "models/layers/target_attention.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include "models/layers/event_padding.h"
#include "models/rows.h"

namespace emporium::models {

namespace {

// Softmax of scores [E, 1] sample by sample.
at::Tensor SharesOf(Pass& pass, const at::Tensor& scores, std::span<const int32_t> offset) {
  const EventPadding padding(pass, offset);
  const at::Tensor padded = padding.Pad(scores).add(padding.mask());
  return padding.Unpad(at::softmax(padded.squeeze(2), 1));
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
  const at::Tensor first = FirstLayer(pass, target, events, SampleOfEvents(pass, offset));
  at::Tensor a = mlp_.ForwardFromFirst(pass, first);  // [E, 1]
  if (softmax_) a = SharesOf(pass, a, offset);
  return PoolRows(pass, events.mul(a), offset, PoolKind::kSum);
}

}  // namespace emporium::models
