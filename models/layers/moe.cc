#include "models/layers/moe.h"

#include <ATen/ops/bmm.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>

namespace emporium::models {

Experts::Experts(ParameterList& list, const std::string& name, int64_t in, const spec::Mlp& options,
                 int64_t count) {
  for (int64_t e = 0; e < count; ++e) {
    experts_.emplace_back(list, name + std::to_string(e), in, options, 0);
  }
}

void Experts::Forward(Pass& pass, const at::Tensor& x, std::vector<at::Tensor>* out) const {
  for (const Mlp& expert : experts_) out->push_back(expert.Forward(pass, x));
}

Gate::Gate(ParameterList& list, const std::string& name, int64_t in, const spec::Mlp& options,
           int64_t experts)
    : mlp_(list, name, in, options, experts) {}

at::Tensor Gate::Forward(Pass& pass, const at::Tensor& x,
                         const std::vector<at::Tensor>& experts) const {
  const at::Tensor g = at::softmax(mlp_.Forward(pass, x), 1);  // [B, E]
  return at::bmm(g.unsqueeze(1), at::stack(experts, 1)).select(1, 0);
}

}  // namespace emporium::models
