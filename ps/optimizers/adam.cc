// Adam: g += l2 * w; m and v move to g and g^2; w -= lr * corrected m / (corrected sqrt(v) +
// epsilon), as torch.optim.Adam with the row's own number of updates as its step. State: m, then v.
// Defaults: lr 0.001, beta1 0.9, beta2 0.999, epsilon 1e-8, l2 0.
#include <algorithm>
#include <cmath>

#include "ps/optimizer.h"
#include "ps/optimizers/adam_rule.h"

namespace emporium::ps {
namespace {

// By squaring, in double: no libm, so the same on every machine.
double Power(double base, uint32_t exponent) {
  double power = 1;
  for (; exponent > 0; exponent >>= 1) {
    if (exponent & 1) power *= base;
    base *= base;
  }
  return power;
}

class Adam : public Optimizer {
 public:
  explicit Adam(const spec::Optimizer::Adam& spec)
      : rule_{spec.beta1(), spec.beta2(), spec.epsilon()},
        rate_(spec.learning_rate()),
        l2_(spec.l2()) {}

  uint32_t StateFloats(uint32_t dim) const override { return 2 * dim; }
  bool CountsUpdates() const override { return true; }
  void InitState(std::span<const float> /*weights*/, std::span<float> state) const override {
    std::fill(state.begin(), state.end(), 0.0f);
  }

  void Apply(std::span<float> weights, std::span<float> state, std::span<const float> gradient,
             uint32_t updates, float learning_rate_factor) const override {
    rule_.Apply(weights, state, gradient, updates, rate_ * learning_rate_factor, 0, l2_);
  }

 private:
  const AdamRule rule_;
  const float rate_;
  const float l2_;
};

}  // namespace

void AdamRule::Apply(std::span<float> weights, std::span<float> state,
                     std::span<const float> gradient, uint32_t updates, float rate,
                     float weight_decay, float l2) const {
  const double correction1 = 1 - Power(beta1, updates);
  const double correction2 = 1 - Power(beta2, updates);
  const auto step_size = static_cast<float>(rate / correction1);
  const auto root_correction = static_cast<float>(std::sqrt(correction2));
  const float keep = 1 - rate * weight_decay;
  const float keep1 = beta1;
  const float keep2 = beta2;
  const float take1 = 1 - beta1;
  const float take2 = 1 - beta2;
  const float small = epsilon;
  const size_t n = weights.size();
  float* __restrict w = weights.data();
  float* __restrict m = state.data();
  float* __restrict v = state.data() + n;
  const float* __restrict g = gradient.data();
  for (size_t i = 0; i < n; ++i) {
    const float slope = g[i] + l2 * w[i];
    m[i] = keep1 * m[i] + take1 * slope;
    v[i] = keep2 * v[i] + take2 * slope * slope;
    w[i] = keep * w[i] - step_size * m[i] / (std::sqrt(v[i]) / root_correction + small);
  }
}

std::unique_ptr<Optimizer> MakeAdam(const spec::Optimizer::Adam& spec) {
  return std::make_unique<Adam>(spec);
}

}  // namespace emporium::ps
