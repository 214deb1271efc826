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

  template <SimdLevel kLevel>
  EMPORIUM_INLINE void Row(float* __restrict w, float* __restrict m, const float* __restrict g,
                           float scale, size_t n, uint32_t /*updates*/) const {
    for (size_t i = 0; i < n; ++i) {
      m[i] = momentum * m[i] + (scale * g[i] + l2 * w[i]);
      w[i] -= rate * m[i];
    }
  }
};

class Momentum : public Optimizer {
 public:
  explicit Momentum(const spec::Optimizer& spec)
      : clip_norm_(spec.clip_norm()),
        rate_(spec.momentum().learning_rate()),
        momentum_(spec.momentum().momentum()),
        l2_(spec.momentum().l2()) {}

  uint32_t StateFloats(uint32_t dim) const override { return dim; }
  void InitState(std::span<const float> /*weights*/, std::span<float> state) const override {
    std::fill(state.begin(), state.end(), 0.0f);
  }

  void ApplyWith(SimdLevel level, const RowBatch& batch) const override {
    RunRule(level, MomentumRule{rate_ * batch.learning_rate_factor, momentum_, l2_}, clip_norm_,
            batch);
  }

 private:
  const float clip_norm_;
  const float rate_;
  const float momentum_;
  const float l2_;
};

}  // namespace

std::unique_ptr<Optimizer> MakeMomentum(const spec::Optimizer& spec) {
  return std::make_unique<Momentum>(spec);
}

}  // namespace emporium::ps
