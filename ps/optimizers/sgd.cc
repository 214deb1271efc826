// Stochastic gradient descent: w -= lr * (g + l2 * w). No state. Defaults: lr 0.01, l2 0.
#include "ps/optimizers/row_loops.h"

namespace emporium::ps {
namespace {

struct SgdRule {
  float rate;
  float l2;

  explicit SgdRule(const spec::Optimizer& spec)
      : rate(spec.sgd().learning_rate()), l2(spec.sgd().l2()) {}
  static uint32_t StateFloats(uint32_t /*dim*/) { return 0; }
  void InitState(std::span<const float> /*weights*/, std::span<float> /*state*/) const {}

  template <SimdLevel kLevel>
  EMPORIUM_INLINE void Row(float* __restrict w, float* __restrict /*state*/,
                           const float* __restrict g, float scale, size_t n,
                           RowClock /*clock*/) const {
    for (size_t i = 0; i < n; ++i) w[i] -= rate * (scale * g[i] + l2 * w[i]);
  }
};

}  // namespace

std::unique_ptr<Optimizer> MakeSgd(const spec::Optimizer& spec) {
  return std::make_unique<RuleOptimizer<SgdRule>>(spec);
}

}  // namespace emporium::ps
