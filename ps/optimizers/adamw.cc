// AdamW: w -= lr * weight_decay * w, then Adam on the plain gradient, as torch.optim.AdamW with the
// row's own number of updates as its step. State: m, then v. Defaults: lr 0.001, beta1 0.9,
// beta2 0.999, epsilon 1e-8, weight_decay 0.01.
#include <algorithm>

#include "ps/optimizers/adam_rule.h"

namespace emporium::ps {
namespace {

class AdamW : public Optimizer {
 public:
  explicit AdamW(const spec::Optimizer& spec)
      : clip_norm_(spec.clip_norm()),
        rate_(spec.adamw().learning_rate()),
        weight_decay_(spec.adamw().weight_decay()),
        corrections_(spec.adamw().beta1(), spec.adamw().beta2()),
        rule_(AdamRule::Of(spec.adamw(), corrections_)) {}

  uint32_t StateFloats(uint32_t dim) const override { return 2 * dim; }
  bool CountsUpdates() const override { return true; }
  void InitState(std::span<const float> /*weights*/, std::span<float> state) const override {
    std::fill(state.begin(), state.end(), 0.0f);
  }

  void ApplyWith(SimdLevel level, const RowBatch& batch) const override {
    RunRule(level, rule_.With(rate_ * batch.learning_rate_factor, weight_decay_, 0), clip_norm_,
            batch);
  }

 private:
  const float clip_norm_;
  const float rate_;
  const float weight_decay_;
  const AdamCorrections corrections_;
  const AdamRule rule_;
};

}  // namespace

std::unique_ptr<Optimizer> MakeAdamW(const spec::Optimizer& spec) {
  return std::make_unique<AdamW>(spec);
}

}  // namespace emporium::ps
