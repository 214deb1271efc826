// Post-norm transformer encoder over sequences of events in which an event sees itself and what
// came before it, so that its output is what could be known just after it. Of every event, where
// Encoder (layers/transformer.h) reads one position:
//
//   a   = softmax_{k <= j}(<q_j, k_k> / sqrt(width / heads) + r[j - k]),  dropout on a
//   x_j = LN(x_j + dropout(W_o [sum_k a_k v_k of every head]))
//   x_j = LN(x_j + dropout(W_2 gelu(W_1 x_j)))
//
// r, one number a head and distance, starts at 0 and is there if the shape says so.
//
// Sequences lie one after another without padding; only the attention pads, within groups of
// sequences of like length. Padding stands behind a sequence's events, which therefore never see
// it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/layers/layers.h"
#include "models/layers/length_groups.h"

namespace emporium::models {

struct CausalEncoderShape {
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t width = 0;
  int64_t feed_forward = 0;
  int64_t max_length = 0;  // of a sequence
  bool relative_bias = false;
  float dropout = 0;
};

class CausalEncoder {
 public:
  CausalEncoder() = default;
  CausalEncoder(ParameterList& list, const std::string& name, const CausalEncoderShape& shape);

  // x [P, width]; sequence b is the rows [offset[b], offset[b + 1]), at least one row in all.
  // Result [P, width].
  at::Tensor Forward(Pass& pass, const at::Tensor& x, std::span<const int32_t> offset) const;

 private:
  struct Layer {
    Linear attention_in;  // [query; key; value]
    Linear attention_out;
    ParameterId relative_bias;  // [max_length, heads]
    LayerNorm norm1;
    Linear feed_forward_in;
    Linear feed_forward_out;
    LayerNorm norm2;
  };
  struct Shifts;  // what a group's scores are shifted by

  // Attention within the sequences of one group: [sequences * length, width].
  at::Tensor Attend(Pass& pass, const Layer& layer, const at::Tensor& qkv, const LengthGroup& group,
                    const Shifts& shifts) const;

  CausalEncoderShape shape_;
  std::vector<Layer> layers_;
};

}  // namespace emporium::models
