#include "models/layers/transformer.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <limits>
#include <optional>

namespace emporium::models {

namespace {

// [samples, 1, 1, length]: 0 for real positions, -inf for padding; undefined when nothing is
// padded.
at::Tensor PaddingMask(const Pass& pass, std::span<const int32_t> lengths, int64_t length) {
  bool padded = false;
  for (int32_t n : lengths) padded = padded || n < length;
  if (!padded) return at::Tensor();
  const auto samples = static_cast<int64_t>(lengths.size());
  at::Tensor mask = at::empty({samples, 1, 1, length}, at::kFloat);
  float* out = mask.data_ptr<float>();
  for (int64_t b = 0; b < samples; ++b) {
    for (int64_t j = 0; j < length; ++j) {
      *out++ = j < lengths[b] ? 0 : -std::numeric_limits<float>::infinity();
    }
  }
  return pass.ToDevice(mask);
}

}  // namespace

Encoder::Encoder(ParameterList& list, const std::string& name, const EncoderShape& shape)
    : shape_(shape) {
  const int64_t w = shape.width;
  for (int64_t i = 0; i < shape.layers; ++i) {
    const std::string prefix = name + ".layer" + std::to_string(i);
    Layer layer;
    layer.attention_in = Linear(list, prefix + ".attention.in", w, 3 * w);
    layer.attention_out = Linear(list, prefix + ".attention.out", w, w);
    if (shape.norm) layer.norm1 = LayerNorm(list, prefix + ".norm1", w);
    layer.feed_forward_in = Linear(list, prefix + ".feed_forward.in", w, shape.feed_forward);
    layer.feed_forward_out = Linear(list, prefix + ".feed_forward.out", shape.feed_forward, w);
    if (shape.norm) layer.norm2 = LayerNorm(list, prefix + ".norm2", w);
    layers_.push_back(layer);
  }
}

at::Tensor Encoder::Attend(Pass& pass, const Layer& layer, const at::Tensor& x,
                           const at::Tensor& mask, int64_t samples, int64_t length,
                           int64_t queries) const {
  const int64_t w = shape_.width;
  const int64_t h = shape_.heads;
  at::Tensor q;
  at::Tensor kv;  // [2, samples, heads, length, w / heads]
  if (queries == length) {
    const at::Tensor qkv = layer.attention_in.Forward(pass, x)
                               .view({samples, length, 3, h, w / h})
                               .permute({2, 0, 3, 1, 4});
    q = qkv.select(0, 0);
    kv = qkv.narrow(0, 1, 2);
  } else {
    const at::Tensor first = x.view({samples, length, w}).select(1, 0);
    q = layer.attention_in.ForwardPart(pass, first, 0, w).view({samples, h, 1, w / h});
    kv = layer.attention_in.ForwardPart(pass, x, w, 2 * w)
             .view({samples, length, 2, h, w / h})
             .permute({2, 0, 3, 1, 4});
  }
  const std::optional<at::Tensor> given = mask.defined() ? std::optional(mask) : std::nullopt;
  const at::Tensor y = at::scaled_dot_product_attention(q, kv.select(0, 0), kv.select(0, 1), given);
  return layer.attention_out.Forward(pass, y.transpose(1, 2).reshape({samples * queries, w}));
}

at::Tensor Encoder::Rest(Pass& pass, const Layer& layer, const at::Tensor& residual,
                         const at::Tensor& attended) const {
  const float rate = shape_.dropout;
  const auto normal = [&](const LayerNorm& norm, const at::Tensor& x) {
    return shape_.norm ? norm.Forward(pass, x) : x;
  };
  const at::Tensor x = normal(layer.norm1, residual.add(pass.Dropout(attended, rate)));
  const at::Tensor in = layer.feed_forward_in.Forward(pass, x);
  const at::Tensor bent = shape_.leaky ? at::leaky_relu(in, 0.01) : at::gelu(in);
  const at::Tensor inner = pass.Dropout(bent, rate);
  const at::Tensor outer = pass.Dropout(layer.feed_forward_out.Forward(pass, inner), rate);
  return normal(layer.norm2, x.add(outer));
}

at::Tensor Encoder::Through(Pass& pass, size_t layers, const at::Tensor& x, const at::Tensor& mask,
                            int64_t samples, int64_t length) const {
  at::Tensor state = x;
  for (size_t i = 0; i < layers; ++i) {
    state = Rest(pass, layers_[i], state,
                 Attend(pass, layers_[i], state, mask, samples, length, length));
  }
  return state;
}

at::Tensor Encoder::ForwardAll(Pass& pass, const at::Tensor& x, std::span<const int32_t> lengths,
                               int64_t length) const {
  const at::Tensor mask = PaddingMask(pass, lengths, length);
  return Through(pass, layers_.size(), x, mask, static_cast<int64_t>(lengths.size()), length);
}

at::Tensor Encoder::Forward(Pass& pass, const at::Tensor& x, std::span<const int32_t> lengths,
                            int64_t length) const {
  const auto samples = static_cast<int64_t>(lengths.size());
  const at::Tensor mask = PaddingMask(pass, lengths, length);
  const at::Tensor state = Through(pass, layers_.size() - 1, x, mask, samples, length);
  const at::Tensor first = state.view({samples, length, shape_.width}).select(1, 0);
  return Rest(pass, layers_.back(), first,
              Attend(pass, layers_.back(), state, mask, samples, length, 1));
}

}  // namespace emporium::models
