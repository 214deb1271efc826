// Batch normalisation over the first axis. Its running mean and variance are dense parameters
// (statistics): a step moves them by the mean over its micro-batches, in their order, so they are
// the same bits for any number of workers and lie in checkpoints like every other parameter.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>

#include "models/parameters.h"
#include "models/pass.h"

namespace emporium::models {

// Training: by mean and (biased) variance of the batch; scoring: by the running ones. The running
// variance follows the unbiased one; a batch of one sample has none and leaves it alone. With
// `affine` a learned scale and shift, as torch.nn.BatchNorm1d.
class BatchNorm {
 public:
  BatchNorm() = default;
  BatchNorm(ParameterList& list, const std::string& name, int64_t width, bool affine,
            double epsilon);
  bool exists() const { return mean_.exists(); }
  at::Tensor Forward(Pass& pass, const at::Tensor& x) const {
    return Forward(pass, x, Given(pass, weight_), Given(pass, bias_));
  }
  // An affine one with its scale multiplied by `scale` and `shift` added to its shift.
  at::Tensor ForwardScaled(Pass& pass, const at::Tensor& x, const at::Tensor& scale,
                           const at::Tensor& shift) const;

 private:
  static std::optional<at::Tensor> Given(const Pass& pass, ParameterId id) {
    return id.exists() ? std::optional(pass.dense(id)) : std::nullopt;
  }
  at::Tensor Forward(Pass& pass, const at::Tensor& x, const std::optional<at::Tensor>& weight,
                     const std::optional<at::Tensor>& bias) const;

  ParameterId weight_;
  ParameterId bias_;
  ParameterId mean_;
  ParameterId variance_;
  double epsilon_ = 0;
};

}  // namespace emporium::models
