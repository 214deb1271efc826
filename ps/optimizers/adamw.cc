// AdamW: w -= lr * weight_decay * w, then Adam on the plain gradient, as torch.optim.AdamW with the
// row's own number of updates as its step. State: m, then v. Defaults: lr 0.001, beta1 0.9,
// beta2 0.999, epsilon 1e-8, weight_decay 0.01.
#include "ps/optimizers/adam_rule.h"

namespace emporium::ps {

std::unique_ptr<Optimizer> MakeAdamW(const spec::Optimizer& spec) {
  return std::make_unique<AdamOptimizer>(spec.adamw(), /*weight_decay=*/spec.adamw().weight_decay(),
                                         /*l2=*/0, spec.clip_norm());
}

}  // namespace emporium::ps
