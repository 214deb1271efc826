// Adagrad: g += l2 * w; a += g^2; w -= lr * g / (sqrt(a) + epsilon), as torch.optim.Adagrad without
// its lr_decay. State: a. Defaults: lr 0.01, a starts at 0, epsilon 1e-10, l2 0.
#include <algorithm>
#include <cmath>

#include "ps/optimizer.h"

namespace emporium::ps {
namespace {

class Adagrad : public Optimizer {
 public:
  explicit Adagrad(const spec::Optimizer::Adagrad& spec)
      : rate_(spec.learning_rate()),
        initial_(spec.initial_accumulator()),
        epsilon_(spec.epsilon()),
        l2_(spec.l2()) {}

  uint32_t StateFloats(uint32_t dim) const override { return dim; }
  void InitState(std::span<const float> /*weights*/, std::span<float> state) const override {
    std::fill(state.begin(), state.end(), initial_);
  }

  void Apply(std::span<float> weights, std::span<float> state, std::span<const float> gradient,
             uint32_t /*updates*/, float learning_rate_factor) const override {
    const float rate = rate_ * learning_rate_factor;
    const float epsilon = epsilon_;
    const float l2 = l2_;
    float* __restrict w = weights.data();
    float* __restrict a = state.data();
    const float* __restrict g = gradient.data();
    for (size_t i = 0; i < weights.size(); ++i) {
      const float slope = g[i] + l2 * w[i];
      a[i] += slope * slope;
      w[i] -= rate * slope / (std::sqrt(a[i]) + epsilon);
    }
  }

 private:
  const float rate_;
  const float initial_;
  const float epsilon_;
  const float l2_;
};

}  // namespace

std::unique_ptr<Optimizer> MakeAdagrad(const spec::Optimizer::Adagrad& spec) {
  return std::make_unique<Adagrad>(spec);
}

}  // namespace emporium::ps
