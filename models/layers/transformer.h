// Post-norm transformer encoder, read at its first position (CLS) or at all, as
// torch.nn.TransformerEncoderLayer(norm_first=False, activation="gelu") stacked, except that
// dropout falls on the outputs of attention and feed-forward, not on the attention weights.
//
// Where only the first position is read, the last layer computes its queries, feed-forward and
// norms for it alone: the same function, a third less work.
//
// Sequences lie one after another without padding; only the attention pads, within groups of
// sequences of like length. Where elements of several sequences are the same row, the first layer
// computes its keys and values once for them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/layers/layers.h"

namespace emporium::models {

struct EncoderShape {
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t width = 0;
  int64_t feed_forward = 0;
  float dropout = 0;
  bool norm = true;    // without: no layer norms
  bool leaky = false;  // LeakyReLU in place of GELU
};

class Encoder {
 public:
  Encoder() = default;
  Encoder(ParameterList& list, const std::string& name, const EncoderShape& shape);

  // x [n, width]; sequence b is the elements offset[b] .. offset[b + 1], at least one of each, and
  // element i is row[i] of x; without `row`, row i. Result [samples, width].
  at::Tensor Forward(Pass& pass, const at::Tensor& x, std::span<const int32_t> offset,
                     std::span<const int32_t> row = {}) const;
  // The same at every element; sequences may be empty, but not all.
  at::Tensor ForwardAll(Pass& pass, const at::Tensor& x, std::span<const int32_t> offset,
                        std::span<const int32_t> row = {}) const;

 private:
  struct Layer {
    Linear attention_in;  // [query; key; value]
    Linear attention_out;
    LayerNorm norm1;
    Linear feed_forward_in;
    Linear feed_forward_out;
    LayerNorm norm2;
  };

  struct Sequences;  // of a batch, by length

  // Attention of all elements over their sequences; x are the rows that they are read from.
  at::Tensor AttendAll(Pass& pass, const Layer& layer, const at::Tensor& x,
                       const Sequences& sequences, bool rows_repeat) const;
  // Attention of the first element of each: `first` [samples, width].
  at::Tensor AttendFirst(Pass& pass, const Layer& layer, const at::Tensor& x,
                         const at::Tensor& first, const Sequences& sequences,
                         bool rows_repeat) const;
  // All elements through the first so many layers.
  at::Tensor Through(Pass& pass, size_t layers, const at::Tensor& x, const Sequences& sequences,
                     std::span<const int32_t> row) const;
  at::Tensor Rest(Pass& pass, const Layer& layer, const at::Tensor& residual,
                  const at::Tensor& attended) const;

  EncoderShape shape_;
  std::vector<Layer> layers_;
};

}  // namespace emporium::models
