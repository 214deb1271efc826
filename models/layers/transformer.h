// Post-norm transformer encoder, read at its first position (CLS) or at all, as
// torch.nn.TransformerEncoderLayer(norm_first=False, activation="gelu") stacked, except that
// dropout falls on the outputs of attention and feed-forward, not on the attention weights.
//
// Where only the first position is read, the last layer computes its queries, feed-forward and
// norms for it alone: the same function, a third less work.
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

  // x [samples * length, width], sample by sample; lengths[b] >= 1 positions of sample b are real,
  // the others are never attended to. Result [samples, width].
  at::Tensor Forward(Pass& pass, const at::Tensor& x, std::span<const int32_t> lengths,
                     int64_t length) const;
  // The same at every position, [samples * length, width]; at padding it means nothing.
  at::Tensor ForwardAll(Pass& pass, const at::Tensor& x, std::span<const int32_t> lengths,
                        int64_t length) const;

 private:
  struct Layer {
    Linear attention_in;  // [query; key; value]
    Linear attention_out;
    LayerNorm norm1;
    Linear feed_forward_in;
    Linear feed_forward_out;
    LayerNorm norm2;
  };

  // Attention of `queries` positions of every sample over all of them: [samples * queries, width].
  at::Tensor Attend(Pass& pass, const Layer& layer, const at::Tensor& x, const at::Tensor& mask,
                    int64_t samples, int64_t length, int64_t queries) const;
  // All positions through the first so many layers.
  at::Tensor Through(Pass& pass, size_t layers, const at::Tensor& x, const at::Tensor& mask,
                     int64_t samples, int64_t length) const;
  at::Tensor Rest(Pass& pass, const Layer& layer, const at::Tensor& residual,
                  const at::Tensor& attended) const;

  EncoderShape shape_;
  std::vector<Layer> layers_;
};

}  // namespace emporium::models
