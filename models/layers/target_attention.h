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
// function, of half the columns, the first term once a sample, and the second once an event where
// samples share their history.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>

#include "models/layers/event_padding.h"
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

  // target [B, width], events [E, width] of the histories, which must live as long as the graph.
  // Result [B, width].
  at::Tensor Forward(Pass& pass, const at::Tensor& target, const at::Tensor& events,
                     const Histories& histories) const;

 private:
  struct Pairs;  // of a sample and an event

  static Pairs PairsOf(Pass& pass, const Histories& histories);
  at::Tensor FirstLayer(Pass& pass, const at::Tensor& target, const at::Tensor& events,
                        const at::Tensor& of_pairs, const Pairs& pairs) const;

  int64_t width_ = 0;
  bool softmax_ = false;
  Mlp mlp_;
};

}  // namespace emporium::models
