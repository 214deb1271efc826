#include "models/layers/norm.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/var_mean.h>

#include <optional>
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

at::Tensor BatchNorm::Forward(Pass& pass, const at::Tensor& x) const {
  const auto given = [&pass](ParameterId id) {
    return id.exists() ? std::optional(pass.dense(id)) : std::nullopt;
  };
  if (!pass.training()) {
    return at::batch_norm(x, given(weight_), given(bias_), pass.dense(mean_), pass.dense(variance_),
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
  return at::batch_norm(x, given(weight_), given(bias_), std::nullopt, std::nullopt,
                        /*training=*/true, /*momentum=*/0, epsilon_, /*cudnn_enabled=*/false);
}

}  // namespace emporium::models
