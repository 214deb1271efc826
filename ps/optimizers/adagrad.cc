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

  template <SimdLevel kLevel>
  EMPORIUM_INLINE void Row(float* __restrict w, float* __restrict a, const float* __restrict g,
                           float scale, size_t n, uint32_t /*updates*/) const {
    for (size_t i = 0; i < n; ++i) {
      const float slope = scale * g[i] + l2 * w[i];
      a[i] += slope * slope;
      w[i] -= rate * slope / (std::sqrt(a[i]) + epsilon);
    }
  }
};

class Adagrad : public Optimizer {
 public:
  explicit Adagrad(const spec::Optimizer& spec)
      : clip_norm_(spec.clip_norm()),
        rate_(spec.adagrad().learning_rate()),
        initial_(spec.adagrad().initial_accumulator()),
        epsilon_(spec.adagrad().epsilon()),
        l2_(spec.adagrad().l2()) {}

  uint32_t StateFloats(uint32_t dim) const override { return dim; }
  void InitState(std::span<const float> /*weights*/, std::span<float> state) const override {
    std::fill(state.begin(), state.end(), initial_);
  }

  void ApplyWith(SimdLevel level, const RowBatch& batch) const override {
    RunRule(level, AdagradRule{rate_ * batch.learning_rate_factor, epsilon_, l2_}, clip_norm_,
            batch);
  }

 private:
  const float clip_norm_;
  const float rate_;
  const float initial_;
  const float epsilon_;
  const float l2_;
};

}  // namespace

std::unique_ptr<Optimizer> MakeAdagrad(const spec::Optimizer& spec) {
  return std::make_unique<Adagrad>(spec);
}

}  // namespace emporium::ps
