// Mixtures of experts (models.md 3.7, M7). Layers hold positions in the ParameterList, no tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "models/layers/mlp.h"

namespace emporium::models {

// f_e(x), e < count: MLPs of one shape without a final linear layer.
class Experts {
 public:
  Experts() = default;
  Experts(ParameterList& list, const std::string& name, int64_t in, const spec::Mlp& options,
          int64_t count);
  int64_t width() const { return experts_.front().width(); }
  // Appends count tensors [B, width] to `out`.
  void Forward(Pass& pass, const at::Tensor& x, std::vector<at::Tensor>* out) const;

 private:
  std::vector<Mlp> experts_;
};

// y = sum_e g_e f_e with g = softmax(MLP(x)) over all that it is given.
class Gate {
 public:
  Gate() = default;
  Gate(ParameterList& list, const std::string& name, int64_t in, const spec::Mlp& options,
       int64_t experts);
  at::Tensor Forward(Pass& pass, const at::Tensor& x, const std::vector<at::Tensor>& experts) const;

 private:
  Mlp mlp_;
};

}  // namespace emporium::models
