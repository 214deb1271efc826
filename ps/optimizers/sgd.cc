// Stochastic gradient descent: w -= lr * (g + l2 * w). No state. Defaults: lr 0.01, l2 0.
#include "ps/optimizers/row_loops.h"

namespace emporium::ps {
namespace {

struct SgdRule {
  float rate;
  float l2;

  template <SimdLevel kLevel>
  EMPORIUM_INLINE void Row(float* __restrict w, float* __restrict /*state*/,
                           const float* __restrict g, float scale, size_t n,
                           uint32_t /*updates*/) const {
    for (size_t i = 0; i < n; ++i) w[i] -= rate * (scale * g[i] + l2 * w[i]);
  }
};

class Sgd : public Optimizer {
 public:
  explicit Sgd(const spec::Optimizer& spec)
      : clip_norm_(spec.clip_norm()), rate_(spec.sgd().learning_rate()), l2_(spec.sgd().l2()) {}

  uint32_t StateFloats(uint32_t /*dim*/) const override { return 0; }
  void InitState(std::span<const float> /*weights*/, std::span<float> /*state*/) const override {}

  void ApplyWith(SimdLevel level, const RowBatch& batch) const override {
    RunRule(level, SgdRule{rate_ * batch.learning_rate_factor, l2_}, clip_norm_, batch);
  }

 private:
  const float clip_norm_;
  const float rate_;
  const float l2_;
};

}  // namespace

std::unique_ptr<Optimizer> MakeSgd(const spec::Optimizer& spec) {
  return std::make_unique<Sgd>(spec);
}

}  // namespace emporium::ps
