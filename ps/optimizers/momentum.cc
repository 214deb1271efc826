// Heavy-ball momentum: m = momentum * m + (g + l2 * w); w -= lr * m, as torch.optim.SGD. State: m.
// Defaults: lr 0.01, momentum 0.9, l2 0.
#include <algorithm>

#include "ps/optimizers/row_loops.h"

namespace emporium::ps {
namespace {

struct MomentumRule {
  float rate;
  float momentum;
  float l2;

  explicit MomentumRule(const spec::Optimizer& spec)
      : rate(spec.momentum().learning_rate()),
        momentum(spec.momentum().momentum()),
        l2(spec.momentum().l2()) {}
  static uint32_t StateFloats(uint32_t dim) { return dim; }
  void InitState(std::span<const float> /*weights*/, std::span<float> state) const {
    std::fill(state.begin(), state.end(), 0.0f);
  }

  template <SimdLevel kLevel>
  EMPORIUM_INLINE void Row(float* __restrict w, float* __restrict m, const float* __restrict g,
                           float scale, size_t n, RowClock /*clock*/) const {
    for (size_t i = 0; i < n; ++i) {
      m[i] = momentum * m[i] + (scale * g[i] + l2 * w[i]);
      w[i] -= rate * m[i];
    }
  }
};

}  // namespace

std::unique_ptr<Optimizer> MakeMomentum(const spec::Optimizer& spec) {
  return std::make_unique<RuleOptimizer<MomentumRule>>(spec);
}

}  // namespace emporium::ps
