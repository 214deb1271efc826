// What Adam and AdamW share. With t the row's own number of updates,
//   m = beta1 * m + (1 - beta1) * g;  v = beta2 * v + (1 - beta2) * g^2
//   w -= rate / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)
// State: m, then v. Values only; safe from any thread.
#pragma once

#include <cstdint>
#include <span>

namespace emporium::ps {

struct AdamRule {
  float beta1 = 0;
  float beta2 = 0;
  float epsilon = 0;

  // `weight_decay` shrinks weights by 1 - rate * weight_decay first; `l2` times the weights is
  // added to the gradient.
  void Apply(std::span<float> weights, std::span<float> state, std::span<const float> gradient,
             uint32_t updates, float rate, float weight_decay, float l2) const;
};

}  // namespace emporium::ps
