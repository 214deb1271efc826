#include "models/layers/transformer.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "models/layers/length_groups.h"
#include "models/rows.h"

namespace emporium::models {

namespace {

// [size, 1, 1, length]: 0 for elements, -inf for padding; nothing when nothing is padded.
std::optional<at::Tensor> PaddingMask(const Pass& pass, const LengthGroup& group) {
  const bool padded =
      std::any_of(group.row.begin(), group.row.end(), [](int32_t r) { return r < 0; });
  if (!padded) return std::nullopt;
  at::Tensor mask = at::empty({group.size(), 1, 1, group.length}, at::kFloat);
  float* out = mask.data_ptr<float>();
  for (int32_t row : group.row) *out++ = row >= 0 ? 0 : -std::numeric_limits<float>::infinity();
  return pass.ToDevice(mask);
}

}  // namespace

struct Encoder::Sequences {
  struct Group {
    const LengthGroup& of;
    std::optional<at::Tensor> mask;
    std::span<const int32_t> row;  // of.row as rows of x
  };

  Sequences(Pass& pass, std::span<const int32_t> offset, std::span<const int32_t> row)
      : by_length(pass, offset) {
    for (const LengthGroup& group : by_length.groups()) {
      groups.push_back({group, PaddingMask(pass, group), group.row});
      if (row.empty()) continue;
      std::vector<int32_t> of_x;
      of_x.reserve(group.row.size());
      for (int32_t i : group.row) of_x.push_back(i < 0 ? -1 : row[i]);
      groups.back().row = pass.Keep(std::move(of_x));
    }
  }

  Sequences(const Sequences&) = delete;  // groups refer to by_length
  Sequences& operator=(const Sequences&) = delete;

  const LengthGroups by_length;
  std::vector<Group> groups;
};

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

at::Tensor Encoder::AttendAll(Pass& pass, const Layer& layer, const at::Tensor& x,
                              const Sequences& sequences, bool rows_repeat) const {
  const int64_t w = shape_.width;
  const int64_t h = shape_.heads;
  const at::Tensor qkv = layer.attention_in.Forward(pass, x);
  std::vector<at::Tensor> seen;
  for (const Sequences::Group& group : sequences.groups) {
    const int64_t n = group.of.size();
    const int64_t t = group.of.length;
    const std::vector<at::Tensor> parts =  // each [n, heads, t, w / heads]
        TakeRows(pass, qkv, rows_repeat ? group.row : group.of.row)
            .view({n, t, 3, h, w / h})
            .permute({2, 0, 3, 1, 4})
            .unbind(0);
    const at::Tensor y = at::scaled_dot_product_attention(parts[0], parts[1], parts[2], group.mask);
    seen.push_back(y.transpose(1, 2).reshape({n * t, w}));
  }
  return layer.attention_out.Forward(pass, sequences.by_length.Join(seen));
}

at::Tensor Encoder::AttendFirst(Pass& pass, const Layer& layer, const at::Tensor& x,
                                const at::Tensor& first, const Sequences& sequences,
                                bool rows_repeat) const {
  const int64_t w = shape_.width;
  const int64_t h = shape_.heads;
  const at::Tensor q = layer.attention_in.ForwardPart(pass, first, 0, w);
  const at::Tensor kv = layer.attention_in.ForwardPart(pass, x, w, 2 * w);
  std::vector<at::Tensor> seen;
  for (const Sequences::Group& group : sequences.groups) {
    const int64_t n = group.of.size();
    const at::Tensor queries = TakeRows(pass, q, group.of.sequences).view({n, h, 1, w / h});
    const std::vector<at::Tensor> parts =  // each [n, heads, length, w / heads]
        TakeRows(pass, kv, rows_repeat ? group.row : group.of.row)
            .view({n, group.of.length, 2, h, w / h})
            .permute({2, 0, 3, 1, 4})
            .unbind(0);
    const at::Tensor y = at::scaled_dot_product_attention(queries, parts[0], parts[1], group.mask);
    seen.push_back(y.reshape({n, w}));
  }
  return layer.attention_out.Forward(pass, sequences.by_length.JoinSequences(seen));
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

at::Tensor Encoder::ForwardAll(Pass& pass, const at::Tensor& x, std::span<const int32_t> offset,
                               std::span<const int32_t> row) const {
  return Through(pass, layers_.size(), x, Sequences(pass, offset, row), row);
}

at::Tensor Encoder::Through(Pass& pass, size_t layers, const at::Tensor& x,
                            const Sequences& sequences, std::span<const int32_t> row) const {
  at::Tensor state = x;
  for (size_t i = 0; i < layers; ++i) {
    const bool rows_repeat = i == 0 && !row.empty();
    const at::Tensor attended = AttendAll(pass, layers_[i], state, sequences, rows_repeat);
    const at::Tensor residual = rows_repeat ? TakeRows(pass, state, row) : state;
    state = Rest(pass, layers_[i], residual, attended);
  }
  return state;
}

at::Tensor Encoder::Forward(Pass& pass, const at::Tensor& x, std::span<const int32_t> offset,
                            std::span<const int32_t> row) const {
  const Sequences sequences(pass, offset, row);
  const at::Tensor state = Through(pass, layers_.size() - 1, x, sequences, row);
  const bool rows_repeat = layers_.size() == 1 && !row.empty();
  std::vector<int32_t> begins(offset.begin(), offset.end() - 1);
  if (rows_repeat) {
    for (int32_t& i : begins) i = row[i];
  }
  const at::Tensor first = TakeRows(pass, state, pass.Keep(std::move(begins)));
  return Rest(pass, layers_.back(), first,
              AttendFirst(pass, layers_.back(), state, first, sequences, rows_repeat));
}

}  // namespace emporium::models
