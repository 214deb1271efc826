// FTRL-proximal, per coordinate (McMahan et al., "Ad Click Prediction: a View from the Trenches",
// KDD 2013, Algorithm 1). State: z, then n.
//   n' = n + g^2; sigma = (sqrt(n') - sqrt(n)) / alpha; z += f * g - sigma * w
//   w = -sign(z) max(|z| - l1, 0) / ((beta + sqrt(n')) / alpha + l2)
// Defaults: alpha 0.05, beta 1, l1 0, l2 0.
//
// Two things that the paper leaves open. The learning-rate factor f multiplies the gradient in z
// alone: without l1 and l2 that is exactly w -= f * alpha / (beta + sqrt(n')) * g, while a factor
// on alpha would scale the weights that were learned before. And z starts as the value whose w is
// the row's initial value (0 for 0, as in the paper), so that the first update does not forget it;
// with beta and l2 of 0 no z does that, and a row starts at 0.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ps/optimizer.h"

namespace emporium::ps {
namespace {

constexpr float kTiny = std::numeric_limits<float>::min();

class Ftrl : public Optimizer {
 public:
  explicit Ftrl(const spec::Optimizer::Ftrl& spec)
      : alpha_(spec.alpha()), beta_(spec.beta()), l1_(spec.l1()), l2_(spec.l2()) {}

  uint32_t StateFloats(uint32_t dim) const override { return 2 * dim; }

  void InitState(std::span<const float> weights, std::span<float> state) const override {
    const size_t n = weights.size();
    const float scale = beta_ / alpha_ + l2_;
    for (size_t i = 0; i < n; ++i) {
      const float w = weights[i];
      state[i] = w == 0 ? 0 : -(w * scale + std::copysign(l1_, w));
      state[n + i] = 0;
    }
  }

  void Apply(std::span<float> weights, std::span<float> state, std::span<const float> gradient,
             uint32_t /*updates*/, float learning_rate_factor) const override {
    const float factor = learning_rate_factor;
    const float alpha = alpha_;
    const float beta = beta_;
    const float l1 = l1_;
    const float l2 = l2_;
    const size_t count = weights.size();
    float* __restrict w = weights.data();
    float* __restrict z = state.data();
    float* __restrict n = state.data() + count;
    const float* __restrict g = gradient.data();
    for (size_t i = 0; i < count; ++i) {
      const float root_before = std::sqrt(n[i]);
      n[i] += g[i] * g[i];
      const float root = std::sqrt(n[i]);
      z[i] += factor * g[i] - (root - root_before) / alpha * w[i];
      const float shrunk = std::copysign(std::max(std::fabs(z[i]) - l1, 0.0f), z[i]);
      // Subtracted from 0 rather than negated: a weight of zero is +0.
      // With beta and l2 of 0 the divisor of a coordinate that has had no gradient is 0, as is z.
      const float divisor = std::max((beta + root) / alpha + l2, kTiny);
      w[i] = 0.0f - shrunk / divisor;
    }
  }

 private:
  const float alpha_;
  const float beta_;
  const float l1_;
  const float l2_;
};

}  // namespace

std::unique_ptr<Optimizer> MakeFtrl(const spec::Optimizer::Ftrl& spec) {
  return std::make_unique<Ftrl>(spec);
}

}  // namespace emporium::ps
