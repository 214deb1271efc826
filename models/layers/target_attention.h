// Target attention, the unit of DIN (models.md 3.4) [CODE: FuxiCTR]: of a target t and the events
// h_j of a sample
//
//   a_j = MLP([t; h_j; t - h_j; t * h_j])
//   r   = sum_j a_j h_j    or, with softmax,    sum_j softmax_j(a_j) h_j
//
// Events come without padding, so nothing needs a mask, and the statistics of a batch norm or Dice
// are those of real events. A sample without events gets zeros.
//
// The first layer W is computed as (W_t + W_d) t + (W_h - W_d) h_j + W_p (t * h_j): the same
// function, of half the columns, the first term once a sample.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>

#include "models/layers/mlp.h"
#include "models/parameters.h"
#include "models/pass.h"

namespace emporium::models {

class TargetAttention {
 public:
  TargetAttention() = default;
  // `options` are the hidden layers; without any, a_j is linear.
  TargetAttention(ParameterList& list, const std::string& name, int64_t width,
                  const spec::Mlp& options, bool softmax);

  // target [B, width]; sample b has the rows offset[b] .. offset[b + 1] of `events` [E, width].
  // `offset` must live as long as the graph. Result [B, width].
  at::Tensor Forward(Pass& pass, const at::Tensor& target, const at::Tensor& events,
                     std::span<const int32_t> offset) const;

 private:
  at::Tensor FirstLayer(Pass& pass, const at::Tensor& target, const at::Tensor& events,
                        std::span<const int32_t> sample_of) const;

  int64_t width_ = 0;
  bool softmax_ = false;
  Mlp mlp_;
};

}  // namespace emporium::models
