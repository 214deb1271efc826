// What Adam and AdamW share. With t the row's own number of updates,
//   m = beta1 * m + (1 - beta1) * g;  v = beta2 * v + (1 - beta2) * g^2
//   w -= rate / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)
// With decay_untouched, and n the steps that left the row out since its last update, first
//   w /= 1 + n * rate * l2 / (sqrt(v) / sqrt(1 - beta2^(t-1)) + epsilon)
// State: m, then v. Values only; safe from any thread.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "ps/optimizers/row_loops.h"

namespace emporium::ps {

// What the bias correction needs of t, kept for the first few thousand t.
class AdamCorrections {
 public:
  struct At {
    double first = 0;  // 1 - beta1^t
    float root = 0;    // sqrt(1 - beta2^t)
  };

  AdamCorrections(float beta1, float beta2) : beta1_(beta1), beta2_(beta2) {
    known_.reserve(kKnown);
    for (uint32_t t = 0; t < kKnown; ++t) known_.push_back(Compute(t));
  }
  At Of(uint32_t t) const { return t < kKnown ? known_[t] : Compute(t); }

 private:
  static constexpr uint32_t kKnown = 4096;

  // By squaring, in double: no libm, so the same on every machine.
  static double Power(double base, uint32_t exponent) {
    double power = 1;
    for (; exponent > 0; exponent >>= 1) {
      if (exponent & 1) power *= base;
      base *= base;
    }
    return power;
  }
  At Compute(uint32_t t) const {
    return {1 - Power(beta1_, t), static_cast<float>(std::sqrt(1 - Power(beta2_, t)))};
  }

  const double beta1_;
  const double beta2_;
  std::vector<At> known_;
};

struct AdamRule {
  const AdamCorrections* corrections = nullptr;  // the optimizer's
  float beta1 = 0;
  float beta2 = 0;
  float epsilon = 0;
  float rate = 0;
  float weight_decay = 0;  // shrinks weights by 1 - rate * weight_decay first
  float l2 = 0;            // times the weights is added to the gradient
  float l2_missed = 0;     // the same for steps that left the row out

  template <SimdLevel kLevel>
  EMPORIUM_INLINE void Row(float* __restrict w, float* __restrict state, const float* __restrict g,
                           float scale, size_t n, RowClock clock) const {
    if (l2_missed > 0 && clock.missed > 0 && clock.updates > 1) Decay(w, state + n, n, clock);
    const AdamCorrections::At correction = corrections->Of(clock.updates);
    const auto step_size = static_cast<float>(rate / correction.first);
    const float root_correction = correction.root;
    const float keep = 1 - rate * weight_decay;
    const float take1 = 1 - beta1;
    const float take2 = 1 - beta2;
    float* __restrict m = state;
    float* __restrict v = state + n;
    for (size_t i = 0; i < n; ++i) {
      const float slope = scale * g[i] + l2 * w[i];
      m[i] = beta1 * m[i] + take1 * slope;
      v[i] = beta2 * v[i] + take2 * slope * slope;
      w[i] = keep * w[i] - step_size * m[i] / (std::sqrt(v[i]) / root_correction + epsilon);
    }
  }

  EMPORIUM_INLINE void Decay(float* __restrict w, const float* __restrict v, size_t n,
                             RowClock clock) const {
    const float root_correction = corrections->Of(clock.updates - 1).root;
    const float pull = static_cast<float>(clock.missed) * rate * l2_missed;
    for (size_t i = 0; i < n; ++i) {
      w[i] /= 1 + pull / (std::sqrt(v[i]) / root_correction + epsilon);
    }
  }
};

// Adam and AdamW, which differ in what is done beside it: `spec` is the one's or the other's.
class AdamOptimizer final : public Optimizer {
 public:
  template <class Spec>
  AdamOptimizer(const Spec& spec, float weight_decay, float l2, float clip_norm,
                bool decay_untouched = false)
      : clip_norm_(clip_norm),
        corrections_(spec.beta1(), spec.beta2()),
        rule_{&corrections_,        spec.beta1(), spec.beta2(), spec.epsilon(),
              spec.learning_rate(), weight_decay, l2,           decay_untouched ? l2 : 0} {}

  uint32_t StateFloats(uint32_t dim) const override { return 2 * dim; }
  bool CountsUpdates() const override { return true; }
  bool CountsMissed() const override { return rule_.l2_missed > 0; }
  void InitState(std::span<const float> /*weights*/, std::span<float> state) const override {
    std::fill(state.begin(), state.end(), 0.0f);
  }

  void ApplyWith(SimdLevel level, const RowBatch& batch) const override {
    AdamRule rule = rule_;
    rule.rate *= batch.learning_rate_factor;
    RunRule(level, rule, clip_norm_, batch);
  }

 private:
  const float clip_norm_;
  const AdamCorrections corrections_;
  const AdamRule rule_;
};

}  // namespace emporium::ps
