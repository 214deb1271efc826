#include "models/layers/norm.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/var_mean.h>

#include <tuple>

namespace emporium::models {

BatchNorm::BatchNorm(ParameterList& list, const std::string& name, int64_t width, bool affine,
                     double epsilon)
    : epsilon_(epsilon) {
  if (affine) {
    weight_ = list.Add(name + ".weight", {width}, Start::Constant(1));
    bias_ = list.Add(name + ".bias", {width}, Start::Constant(0));
  }
  mean_ = list.AddStatistic(name + ".mean", {width}, 0);
  variance_ = list.AddStatistic(name + ".variance", {width}, 1);
}

at::Tensor BatchNorm::ForwardScaled(Pass& pass, const at::Tensor& x, const at::Tensor& scale,
                                    const at::Tensor& shift) const {
  return Forward(pass, x, pass.dense(weight_).mul(scale), pass.dense(bias_).add(shift));
}

at::Tensor BatchNorm::Forward(Pass& pass, const at::Tensor& x,
                              const std::optional<at::Tensor>& weight,
                              const std::optional<at::Tensor>& bias) const {
  if (!pass.training()) {
    return at::batch_norm(x, weight, bias, pass.dense(mean_), pass.dense(variance_),
                          /*training=*/false, /*momentum=*/0, epsilon_,
                          /*cudnn_enabled=*/false);
  }
  {
    at::NoGradGuard no_grad;
    if (x.size(0) > 1) {
      constexpr int64_t kSamples[] = {0};
      const auto [variance, mean] =
          at::var_mean(x, at::IntArrayRef(kSamples), /*unbiased=*/true, /*keepdim=*/false);
      pass.Observe(mean_, mean);
      pass.Observe(variance_, variance);
    } else {
      pass.Observe(mean_, x.select(0, 0));
    }
  }
  return at::batch_norm(x, weight, bias, std::nullopt, std::nullopt,
                        /*training=*/true, /*momentum=*/0, epsilon_, /*cudnn_enabled=*/false);
}

}  // namespace emporium::models
