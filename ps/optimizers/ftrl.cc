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

#include "ps/optimizers/row_loops.h"

namespace emporium::ps {
namespace {

constexpr float kTiny = std::numeric_limits<float>::min();

struct FtrlRule {
  float rate = 1;  // the learning-rate factor
  float alpha;
  float beta;
  float l1;
  float l2;

  explicit FtrlRule(const spec::Optimizer& spec)
      : alpha(spec.ftrl().alpha()),
        beta(spec.ftrl().beta()),
        l1(spec.ftrl().l1()),
        l2(spec.ftrl().l2()) {}
  static uint32_t StateFloats(uint32_t dim) { return 2 * dim; }
  void InitState(std::span<const float> weights, std::span<float> state) const {
    const size_t n = weights.size();
    const float scale = beta / alpha + l2;
    for (size_t i = 0; i < n; ++i) {
      const float w = weights[i];
      state[i] = w == 0 ? 0 : -(w * scale + std::copysign(l1, w));
      state[n + i] = 0;
    }
  }

  template <SimdLevel kLevel>
  EMPORIUM_INLINE void Row(float* __restrict w, float* __restrict state, const float* __restrict g,
                           float scale, size_t n, RowClock /*clock*/) const {
    float* __restrict z = state;
    float* __restrict squares = state + n;
    for (size_t i = 0; i < n; ++i) {
      const float slope = scale * g[i];
      const float root_before = std::sqrt(squares[i]);
      squares[i] += slope * slope;
      const float root = std::sqrt(squares[i]);
      z[i] += rate * slope - (root - root_before) / alpha * w[i];
      const float shrunk = std::copysign(std::max(std::fabs(z[i]) - l1, 0.0f), z[i]);
      // Subtracted from 0 rather than negated: a weight of zero is +0.
      // With beta and l2 of 0 the divisor of a coordinate that has had no gradient is 0, as is z.
      const float divisor = std::max((beta + root) / alpha + l2, kTiny);
      w[i] = 0.0f - shrunk / divisor;
    }
  }
};

}  // namespace

std::unique_ptr<Optimizer> MakeFtrl(const spec::Optimizer& spec) {
  return std::make_unique<RuleOptimizer<FtrlRule>>(spec);
}

}  // namespace emporium::ps
