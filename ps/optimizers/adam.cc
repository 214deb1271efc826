// Adam: g += l2 * w; m and v move to g and g^2; w -= lr * corrected m / (corrected sqrt(v) +
// epsilon), as torch.optim.Adam with the row's own number of updates as its step. State: m, then v.
// Defaults: lr 0.001, beta1 0.9, beta2 0.999, epsilon 1e-8, l2 0.
#include <algorithm>

#include "ps/optimizers/adam_rule.h"

namespace emporium::ps {
namespace {

class Adam : public Optimizer {
 public:
  explicit Adam(const spec::Optimizer& spec)
      : clip_norm_(spec.clip_norm()),
        rate_(spec.adam().learning_rate()),
        l2_(spec.adam().l2()),
        corrections_(spec.adam().beta1(), spec.adam().beta2()),
        rule_(AdamRule::Of(spec.adam(), corrections_)) {}

  uint32_t StateFloats(uint32_t dim) const override { return 2 * dim; }
  bool CountsUpdates() const override { return true; }
  void InitState(std::span<const float> /*weights*/, std::span<float> state) const override {
    std::fill(state.begin(), state.end(), 0.0f);
  }

  void ApplyWith(SimdLevel level, const RowBatch& batch) const override {
    RunRule(level, rule_.With(rate_ * batch.learning_rate_factor, 0, l2_), clip_norm_, batch);
  }

 private:
  const float clip_norm_;
  const float rate_;
  const float l2_;
  const AdamCorrections corrections_;
  const AdamRule rule_;
};

}  // namespace

std::unique_ptr<Optimizer> MakeAdam(const spec::Optimizer& spec) {
  return std::make_unique<Adam>(spec);
}

}  // namespace emporium::ps
