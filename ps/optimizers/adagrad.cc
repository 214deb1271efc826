// Adagrad: g += l2 * w; a += g^2; w -= lr * g / (sqrt(a) + epsilon), as torch.optim.Adagrad without
// its lr_decay. State: a. Defaults: lr 0.01, a starts at 0, epsilon 1e-10, l2 0.
#include <algorithm>
#include <cmath>

#include "ps/optimizers/row_loops.h"

namespace emporium::ps {
namespace {

struct AdagradRule {
  float rate;
  float epsilon;
  float l2;
  float initial;  // of the state

  explicit AdagradRule(const spec::Optimizer& spec)
      : rate(spec.adagrad().learning_rate()),
        epsilon(spec.adagrad().epsilon()),
        l2(spec.adagrad().l2()),
        initial(spec.adagrad().initial_accumulator()) {}
  static uint32_t StateFloats(uint32_t dim) { return dim; }
  void InitState(std::span<const float> /*weights*/, std::span<float> state) const {
    std::fill(state.begin(), state.end(), initial);
  }

  template <SimdLevel kLevel>
  EMPORIUM_INLINE void Row(float* __restrict w, float* __restrict a, const float* __restrict g,
                           float scale, size_t n, RowClock /*clock*/) const {
    for (size_t i = 0; i < n; ++i) {
      const float slope = scale * g[i] + l2 * w[i];
      a[i] += slope * slope;
      w[i] -= rate * slope / (std::sqrt(a[i]) + epsilon);
    }
  }
};

}  // namespace

std::unique_ptr<Optimizer> MakeAdagrad(const spec::Optimizer& spec) {
  return std::make_unique<RuleOptimizer<AdagradRule>>(spec);
}

}  // namespace emporium::ps
