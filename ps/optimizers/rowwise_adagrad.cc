// Row-wise Adagrad: g += l2 * w; a += mean(g^2); w -= lr * g / (sqrt(a) + epsilon), as FBGEMM's
// EXACT_ROWWISE_ADAGRAD. State: a, one float a row. Defaults: lr 0.01, a starts at 0, epsilon 1e-8,
// l2 0.
#include <algorithm>
#include <cmath>

#include "ps/optimizer.h"

namespace emporium::ps {
namespace {

// Sum of squares of g + l2 * w in a fixed order: element i goes to the partial sum i mod 4, and the
// four are added in pairs. Four chains, so that it runs at the width of a vector.
float SumOfSquares(const float* __restrict g, const float* __restrict w, float l2, size_t n) {
  float partial[4] = {0, 0, 0, 0};
  size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (size_t j = 0; j < 4; ++j) {
      const float slope = g[i + j] + l2 * w[i + j];
      partial[j] += slope * slope;
    }
  }
  for (size_t j = 0; i < n; ++i, ++j) {
    const float slope = g[i] + l2 * w[i];
    partial[j] += slope * slope;
  }
  return (partial[0] + partial[1]) + (partial[2] + partial[3]);
}

class RowwiseAdagrad : public Optimizer {
 public:
  explicit RowwiseAdagrad(const spec::Optimizer::RowwiseAdagrad& spec)
      : rate_(spec.learning_rate()),
        initial_(spec.initial_accumulator()),
        epsilon_(spec.epsilon()),
        l2_(spec.l2()) {}

  uint32_t StateFloats(uint32_t /*dim*/) const override { return 1; }
  void InitState(std::span<const float> /*weights*/, std::span<float> state) const override {
    state[0] = initial_;
  }

  void Apply(std::span<float> weights, std::span<float> state, std::span<const float> gradient,
             uint32_t /*updates*/, float learning_rate_factor) const override {
    const size_t n = weights.size();
    float* __restrict w = weights.data();
    const float* __restrict g = gradient.data();
    const float l2 = l2_;
    state[0] += SumOfSquares(g, w, l2, n) / static_cast<float>(n);
    const float rate = rate_ * learning_rate_factor / (std::sqrt(state[0]) + epsilon_);
    for (size_t i = 0; i < n; ++i) w[i] -= rate * (g[i] + l2 * w[i]);
  }

 private:
  const float rate_;
  const float initial_;
  const float epsilon_;
  const float l2_;
};

}  // namespace

std::unique_ptr<Optimizer> MakeRowwiseAdagrad(const spec::Optimizer::RowwiseAdagrad& spec) {
  return std::make_unique<RowwiseAdagrad>(spec);
}

}  // namespace emporium::ps
