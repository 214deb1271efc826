#include "models/layers/target_attention.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include <utility>
#include <vector>

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

struct TargetAttention::Pairs {
  std::span<const int32_t> offset;  // sample b has the pairs offset[b] .. offset[b + 1]
  std::span<const int32_t> sample;  // of each pair
  std::span<const int32_t> event;   // of each pair; empty: pair i is of event i
};

TargetAttention::Pairs TargetAttention::PairsOf(Pass& pass, const Histories& histories) {
  if (histories.of.empty()) {
    return {histories.offset, SampleOfEvents(pass, histories.offset), {}};
  }
  std::vector<int32_t> offset{0};
  std::vector<int32_t> event;
  for (int32_t k : histories.of) {
    for (int32_t e = histories.offset[k]; e < histories.offset[k + 1]; ++e) event.push_back(e);
    offset.push_back(static_cast<int32_t>(event.size()));
  }
  const std::span<const int32_t> kept = pass.Keep(std::move(offset));
  return {kept, SampleOfEvents(pass, kept), pass.Keep(std::move(event))};
}

at::Tensor TargetAttention::FirstLayer(Pass& pass, const at::Tensor& target,
                                       const at::Tensor& events, const at::Tensor& of_pairs,
                                       const Pairs& pairs) const {
  const at::Tensor& w = mlp_.first().weight(pass);
  const auto part = [&](int64_t i) { return w.narrow(1, i * width_, width_); };
  const at::Tensor of_target =
      at::linear(target, part(0).add(part(2)), mlp_.first().bias(pass));  // [B, H]
  const at::Tensor product = TakeRows(pass, target, pairs.sample).mul(of_pairs);
  const at::Tensor of_event = part(1).sub(part(2));  // [H, width]
  at::Tensor sum = TakeRows(pass, of_target, pairs.sample);
  // What is computed once an event is then gathered for each pair, which pays where the layer is
  // narrower than the rows.
  if (pairs.event.empty() || width_ <= of_target.size(1)) {
    const at::Tensor weights = at::cat({of_event, part(3)}, 1);
    return sum.addmm_(at::cat({of_pairs, product}, 1), weights.t());
  }
  sum.add_(TakeRows(pass, at::linear(events, of_event), pairs.event));
  return sum.addmm_(product, part(3).t());
}

at::Tensor TargetAttention::Forward(Pass& pass, const at::Tensor& target, const at::Tensor& events,
                                    const Histories& histories) const {
  const Pairs pairs = PairsOf(pass, histories);
  if (pairs.sample.empty()) return at::zeros({target.size(0), width_}, pass.options());
  const at::Tensor of_pairs =
      pairs.event.empty() ? events : TakeRows(pass, events, pairs.event);  // [pairs, width]
  const at::Tensor first = FirstLayer(pass, target, events, of_pairs, pairs);
  at::Tensor a = mlp_.ForwardFromFirst(pass, first);  // [pairs, 1]
  if (softmax_) a = SharesOf(pass, a, pairs.offset);
  return PoolRows(pass, of_pairs.mul(a), pairs.offset, PoolKind::kSum);
}

}  // namespace emporium::models
