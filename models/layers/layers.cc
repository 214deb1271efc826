#include "models/layers/layers.h"

#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/norm.h>

namespace emporium::models {

namespace {

constexpr float kNormalStddev = 0.02f;

}  // namespace

Linear::Linear(ParameterList& list, const std::string& name, int64_t in, int64_t out, From from,
               bool train_only) {
  const Start zero = Start::Constant(0);
  const Start weight = from == From::kZero     ? zero
                       : from == From::kNormal ? Start::Normal(kNormalStddev)
                                               : Start::FanIn(in);
  weight_ = list.Add(name + ".weight", {out, in}, weight, train_only);
  bias_ = list.Add(name + ".bias", {out}, from == From::kFanIn ? weight : zero, train_only);
}

at::Tensor Linear::Forward(const Pass& pass, const at::Tensor& x) const {
  return at::linear(x, pass.dense(weight_), pass.dense(bias_));
}

at::Tensor Linear::ForwardPart(const Pass& pass, const at::Tensor& x, int64_t first,
                               int64_t count) const {
  return at::linear(x, pass.dense(weight_).narrow(0, first, count),
                    pass.dense(bias_).narrow(0, first, count));
}

LayerNorm::LayerNorm(ParameterList& list, const std::string& name, int64_t width) : width_(width) {
  weight_ = list.Add(name + ".weight", {width}, Start::Constant(1));
  bias_ = list.Add(name + ".bias", {width}, Start::Constant(0));
}

at::Tensor LayerNorm::Forward(const Pass& pass, const at::Tensor& x) const {
  return at::layer_norm(x, {width_}, pass.dense(weight_), pass.dense(bias_), 1e-5);
}

at::Tensor NormalizeRows(const at::Tensor& x) {
  return x.div(at::norm(x, 2, {1}, /*keepdim=*/true).clamp_min(1e-6));
}

}  // namespace emporium::models
