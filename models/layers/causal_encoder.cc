#include "models/layers/causal_encoder.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>

#include <cmath>
#include <limits>

#include "models/rows.h"
#include "proto/check.h"

namespace emporium::models {

namespace {

// [length, length]: -inf where the column comes after the row.
at::Tensor CausalMask(const Pass& pass, int64_t length) {
  at::Tensor mask = at::empty({length, length}, at::kFloat);
  float* out = mask.data_ptr<float>();
  for (int64_t i = 0; i < length; ++i) {
    for (int64_t j = 0; j < length; ++j) {
      *out++ = j <= i ? 0 : -std::numeric_limits<float>::infinity();
    }
  }
  return pass.ToDevice(mask);
}

// Row i * length + j: the distance i - j; negative where j comes after i.
std::vector<int32_t> Distances(int64_t length) {
  std::vector<int32_t> distances;
  for (int64_t i = 0; i < length; ++i) {
    for (int64_t j = 0; j < length; ++j) distances.push_back(static_cast<int32_t>(i - j));
  }
  return distances;
}

}  // namespace

struct CausalEncoder::Shifts {
  at::Tensor mask;
  std::span<const int32_t> distance;  // of each pair of elements, for the relative bias
};

CausalEncoder::CausalEncoder(ParameterList& list, const std::string& name,
                             const CausalEncoderShape& shape)
    : shape_(shape) {
  const int64_t w = shape.width;
  constexpr Linear::From kFrom = Linear::From::kNormal;
  for (int64_t i = 0; i < shape.layers; ++i) {
    const std::string prefix = name + ".layer" + std::to_string(i);
    Layer layer;
    layer.attention_in = Linear(list, prefix + ".attention.in", w, 3 * w, kFrom);
    layer.attention_out = Linear(list, prefix + ".attention.out", w, w, kFrom);
    if (shape.relative_bias) {
      layer.relative_bias = list.Add(prefix + ".attention.relative_bias",
                                     {shape.max_length, shape.heads}, Start::Constant(0));
    }
    layer.norm1 = LayerNorm(list, prefix + ".norm1", w);
    layer.feed_forward_in = Linear(list, prefix + ".feed_forward.in", w, shape.feed_forward, kFrom);
    layer.feed_forward_out =
        Linear(list, prefix + ".feed_forward.out", shape.feed_forward, w, kFrom);
    layer.norm2 = LayerNorm(list, prefix + ".norm2", w);
    layers_.push_back(layer);
  }
}

at::Tensor CausalEncoder::Attend(Pass& pass, const Layer& layer, const at::Tensor& qkv,
                                 const LengthGroup& group, const Shifts& shifts) const {
  const int64_t n = group.size();
  const int64_t t = group.length;
  const int64_t h = shape_.heads;
  const int64_t w = shape_.width;
  const std::vector<at::Tensor> parts =  // each [n, h, t, w / h]
      TakeRows(pass, qkv, group.row).view({n, t, 3, h, w / h}).permute({2, 0, 3, 1, 4}).unbind(0);
  const double scale = std::sqrt(static_cast<double>(h) / static_cast<double>(w));
  at::Tensor scores = at::matmul(parts[0].mul(scale), parts[1].transpose(2, 3));
  scores = scores.add(shifts.mask);
  if (layer.relative_bias.exists()) {
    const at::Tensor bias = TakeRows(pass, pass.dense(layer.relative_bias), shifts.distance);
    scores = scores.add(bias.view({t, t, h}).permute({2, 0, 1}));
  }
  const at::Tensor shares = pass.Dropout(at::softmax(scores, 3), shape_.dropout);
  return at::matmul(shares, parts[2]).transpose(1, 2).reshape({n * t, w});
}

at::Tensor CausalEncoder::Forward(Pass& pass, const at::Tensor& x,
                                  std::span<const int32_t> offset) const {
  const LengthGroups by_length(pass, offset);
  const std::vector<LengthGroup>& groups = by_length.groups();
  std::vector<Shifts> shifts;
  for (const LengthGroup& group : groups) {
    EMPORIUM_CHECK(group.length <= shape_.max_length, "a sequence is at most as long as said");
    shifts.push_back({CausalMask(pass, group.length), pass.Keep(Distances(group.length))});
  }
  at::Tensor state = x;
  for (const Layer& layer : layers_) {
    const at::Tensor qkv = layer.attention_in.Forward(pass, state);
    std::vector<at::Tensor> attended;
    for (size_t g = 0; g < groups.size(); ++g) {
      attended.push_back(Attend(pass, layer, qkv, groups[g], shifts[g]));
    }
    const at::Tensor seen = layer.attention_out.Forward(pass, by_length.Join(attended));
    state = layer.norm1.Forward(pass, state.add(pass.Dropout(seen, shape_.dropout)));
    const at::Tensor inner = at::gelu(layer.feed_forward_in.Forward(pass, state));
    const at::Tensor outer = layer.feed_forward_out.Forward(pass, inner);
    state = layer.norm2.Forward(pass, state.add(pass.Dropout(outer, shape_.dropout)));
  }
  return state;
}

}  // namespace emporium::models
