// Stochastic gradient descent: w -= lr * (g + l2 * w). No state. Defaults: lr 0.01, l2 0.
#include "ps/optimizer.h"

namespace emporium::ps {
namespace {

class Sgd : public Optimizer {
 public:
  explicit Sgd(const spec::Optimizer::Sgd& spec) : rate_(spec.learning_rate()), l2_(spec.l2()) {}

  uint32_t StateFloats(uint32_t /*dim*/) const override { return 0; }
  void InitState(std::span<const float> /*weights*/, std::span<float> /*state*/) const override {}

  void Apply(std::span<float> weights, std::span<float> /*state*/, std::span<const float> gradient,
             uint32_t /*updates*/, float learning_rate_factor) const override {
    const float rate = rate_ * learning_rate_factor;
    const float l2 = l2_;
    float* __restrict w = weights.data();
    const float* __restrict g = gradient.data();
    for (size_t i = 0; i < weights.size(); ++i) w[i] -= rate * (g[i] + l2 * w[i]);
  }

 private:
  const float rate_;
  const float l2_;
};

}  // namespace

std::unique_ptr<Optimizer> MakeSgd(const spec::Optimizer::Sgd& spec) {
  return std::make_unique<Sgd>(spec);
}

}  // namespace emporium::ps
