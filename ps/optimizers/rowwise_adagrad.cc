// Row-wise Adagrad: g += l2 * w; a += mean(g^2); w -= lr * g / (sqrt(a) + epsilon), as FBGEMM's
// EXACT_ROWWISE_ADAGRAD. State: a, one float a row. Defaults: lr 0.01, a starts at 0, epsilon 1e-8,
// l2 0.
#include <algorithm>
#include <cmath>

#include "ps/optimizers/row_loops.h"

namespace emporium::ps {
namespace {

struct RowwiseAdagradRule {
  float rate;
  float epsilon;
  float l2;
  float initial;  // of the state

  explicit RowwiseAdagradRule(const spec::Optimizer& spec)
      : rate(spec.rowwise_adagrad().learning_rate()),
        epsilon(spec.rowwise_adagrad().epsilon()),
        l2(spec.rowwise_adagrad().l2()),
        initial(spec.rowwise_adagrad().initial_accumulator()) {}
  static uint32_t StateFloats(uint32_t /*dim*/) { return 1; }
  void InitState(std::span<const float> /*weights*/, std::span<float> state) const {
    std::fill(state.begin(), state.end(), initial);
  }

  template <SimdLevel kLevel>
  EMPORIUM_INLINE void Row(float* __restrict w, float* __restrict a, const float* __restrict g,
                           float scale, size_t n, RowClock /*clock*/) const {
    *a += SumOfSquares<kLevel>::Of(g, scale, w, l2, n) / static_cast<float>(n);
    const float row_rate = rate / (std::sqrt(*a) + epsilon);
    for (size_t i = 0; i < n; ++i) w[i] -= row_rate * (scale * g[i] + l2 * w[i]);
  }
};

}  // namespace

std::unique_ptr<Optimizer> MakeRowwiseAdagrad(const spec::Optimizer& spec) {
  return std::make_unique<RuleOptimizer<RowwiseAdagradRule>>(spec);
}

}  // namespace emporium::ps
