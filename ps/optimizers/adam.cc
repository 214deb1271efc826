// Adam: g += l2 * w; m and v move to g and g^2; w -= lr * corrected m / (corrected sqrt(v) +
// epsilon), as torch.optim.Adam with the row's own number of updates as its step. State: m, then v.
// With decay_untouched a row first decays for the steps that left it out (adam_rule.h).
// Defaults: lr 0.001, beta1 0.9, beta2 0.999, epsilon 1e-8, l2 0.
#include "ps/optimizers/adam_rule.h"

namespace emporium::ps {

std::unique_ptr<Optimizer> MakeAdam(const spec::Optimizer& spec) {
  return std::make_unique<AdamOptimizer>(spec.adam(), /*weight_decay=*/0, /*l2=*/spec.adam().l2(),
                                         spec.clip_norm(), spec.adam().decay_untouched());
}

}  // namespace emporium::ps
