// AdamW: w -= lr * weight_decay * w, then Adam on the plain gradient, as torch.optim.AdamW with the
// row's own number of updates as its step. State: m, then v. Defaults: lr 0.001, beta1 0.9,
// beta2 0.999, epsilon 1e-8, weight_decay 0.01.
#include <algorithm>

#include "ps/optimizer.h"
#include "ps/optimizers/adam_rule.h"

namespace emporium::ps {
namespace {

class AdamW : public Optimizer {
 public:
  explicit AdamW(const spec::Optimizer::AdamW& spec)
      : rule_{spec.beta1(), spec.beta2(), spec.epsilon()},
        rate_(spec.learning_rate()),
        weight_decay_(spec.weight_decay()) {}

  uint32_t StateFloats(uint32_t dim) const override { return 2 * dim; }
  bool CountsUpdates() const override { return true; }
  void InitState(std::span<const float> /*weights*/, std::span<float> state) const override {
    std::fill(state.begin(), state.end(), 0.0f);
  }

  void Apply(std::span<float> weights, std::span<float> state, std::span<const float> gradient,
             uint32_t updates, float learning_rate_factor) const override {
    rule_.Apply(weights, state, gradient, updates, rate_ * learning_rate_factor, weight_decay_, 0);
  }

 private:
  const AdamRule rule_;
  const float rate_;
  const float weight_decay_;
};

}  // namespace

std::unique_ptr<Optimizer> MakeAdamW(const spec::Optimizer::AdamW& spec) {
  return std::make_unique<AdamW>(spec);
}

}  // namespace emporium::ps
