#include "models/layers/causal_encoder.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "models/rows.h"
#include "proto/check.h"

namespace emporium::models {

namespace {

// Sequences of one group are at most so many times as long as each other, so that little is padded
// and few groups are made.
constexpr int32_t kSpread = 4;

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

struct CausalEncoder::Group {
  int64_t sequences = 0;
  int64_t length = 0;            // of the longest
  std::span<const int32_t> row;  // [sequences * length] of x; -1: padding
  at::Tensor mask;
  std::span<const int32_t> distance;
};

struct CausalEncoder::Groups {
  std::vector<Group> group;
  std::span<const int32_t> place;  // of each row of x among the groups' rows, one after another
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

CausalEncoder::Groups CausalEncoder::GroupByLength(Pass& pass, std::span<const int32_t> offset) {
  const auto length_of = [offset](size_t b) { return offset[b + 1] - offset[b]; };
  std::map<int32_t, std::vector<size_t>> by_bound;  // sequences by the bound of their lengths
  for (size_t b = 0; b + 1 < offset.size(); ++b) {
    if (length_of(b) == 0) continue;
    int32_t bound = kSpread;
    while (bound < length_of(b)) bound *= kSpread;
    by_bound[bound].push_back(b);
  }
  Groups groups;
  std::vector<int32_t> place(static_cast<size_t>(offset.back()), -1);
  int32_t next = 0;
  for (const auto& [bound, sequences] : by_bound) {
    int32_t longest = 0;
    for (size_t b : sequences) longest = std::max(longest, length_of(b));
    std::vector<int32_t> row;
    for (size_t b : sequences) {
      for (int32_t j = 0; j < longest; ++j, ++next) {
        row.push_back(j < length_of(b) ? offset[b] + j : -1);
        if (row.back() >= 0) place[static_cast<size_t>(row.back())] = next;
      }
    }
    Group group;
    group.sequences = static_cast<int64_t>(sequences.size());
    group.length = longest;
    group.row = pass.Keep(std::move(row));
    group.mask = CausalMask(pass, longest);
    group.distance = pass.Keep(Distances(longest));
    groups.group.push_back(std::move(group));
  }
  groups.place = pass.Keep(std::move(place));
  return groups;
}

at::Tensor CausalEncoder::Attend(Pass& pass, const Layer& layer, const at::Tensor& qkv,
                                 const Group& group) const {
  const int64_t n = group.sequences;
  const int64_t t = group.length;
  const int64_t h = shape_.heads;
  const int64_t w = shape_.width;
  const at::Tensor parts =  // [3, n, h, t, w / h]
      TakeRows(pass, qkv, group.row).view({n, t, 3, h, w / h}).permute({2, 0, 3, 1, 4});
  const double scale = std::sqrt(static_cast<double>(h) / static_cast<double>(w));
  at::Tensor scores = at::matmul(parts.select(0, 0).mul(scale), parts.select(0, 1).transpose(2, 3));
  scores = scores.add(group.mask);
  if (layer.relative_bias.exists()) {
    const at::Tensor bias = TakeRows(pass, pass.dense(layer.relative_bias), group.distance);
    scores = scores.add(bias.view({t, t, h}).permute({2, 0, 1}));
  }
  const at::Tensor shares = pass.Dropout(at::softmax(scores, 3), shape_.dropout);
  return at::matmul(shares, parts.select(0, 2)).transpose(1, 2).reshape({n * t, w});
}

at::Tensor CausalEncoder::Forward(Pass& pass, const at::Tensor& x,
                                  std::span<const int32_t> offset) const {
  const Groups groups = GroupByLength(pass, offset);
  for (const Group& group : groups.group) {
    EMPORIUM_CHECK(group.length <= shape_.max_length, "a sequence is at most as long as said");
  }
  at::Tensor state = x;
  for (const Layer& layer : layers_) {
    const at::Tensor qkv = layer.attention_in.Forward(pass, state);
    std::vector<at::Tensor> attended;
    for (const Group& group : groups.group) attended.push_back(Attend(pass, layer, qkv, group));
    const at::Tensor joined = attended.size() == 1 ? attended[0] : at::cat(attended);
    const at::Tensor seen = layer.attention_out.Forward(pass, TakeRows(pass, joined, groups.place));
    state = layer.norm1.Forward(pass, state.add(pass.Dropout(seen, shape_.dropout)));
    const at::Tensor inner = at::gelu(layer.feed_forward_in.Forward(pass, state));
    const at::Tensor outer = layer.feed_forward_out.Forward(pass, inner);
    state = layer.norm2.Forward(pass, state.add(pass.Dropout(outer, shape_.dropout)));
  }
  return state;
}

}  // namespace emporium::models
