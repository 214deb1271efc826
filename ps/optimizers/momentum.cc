// Heavy-ball momentum: m = momentum * m + (g + l2 * w); w -= lr * m, as torch.optim.SGD. State: m.
// Defaults: lr 0.01, momentum 0.9, l2 0.
#include <algorithm>

#include "ps/optimizer.h"

namespace emporium::ps {
namespace {

class Momentum : public Optimizer {
 public:
  explicit Momentum(const spec::Optimizer::Momentum& spec)
      : rate_(spec.learning_rate()), momentum_(spec.momentum()), l2_(spec.l2()) {}

  uint32_t StateFloats(uint32_t dim) const override { return dim; }
  void InitState(std::span<const float> /*weights*/, std::span<float> state) const override {
    std::fill(state.begin(), state.end(), 0.0f);
  }

  void Apply(std::span<float> weights, std::span<float> state, std::span<const float> gradient,
             uint32_t /*updates*/, float learning_rate_factor) const override {
    const float rate = rate_ * learning_rate_factor;
    const float momentum = momentum_;
    const float l2 = l2_;
    float* __restrict w = weights.data();
    float* __restrict m = state.data();
    const float* __restrict g = gradient.data();
    for (size_t i = 0; i < weights.size(); ++i) {
      m[i] = momentum * m[i] + (g[i] + l2 * w[i]);
      w[i] -= rate * m[i];
    }
  }

 private:
  const float rate_;
  const float momentum_;
  const float l2_;
};

}  // namespace

std::unique_ptr<Optimizer> MakeMomentum(const spec::Optimizer::Momentum& spec) {
  return std::make_unique<Momentum>(spec);
}

}  // namespace emporium::ps
