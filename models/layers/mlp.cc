#include "models/layers/mlp.h"

#include <ATen/ops/addcmul.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/prelu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>

#include <cstdlib>

#include "proto/check.h"

namespace emporium::models {

namespace {

constexpr double kDiceEpsilon = 1e-9;
constexpr double kNormEpsilon = 1e-5;

}  // namespace

Activation::Activation(ParameterList& list, const std::string& name, int64_t width,
                       spec::Mlp::Activation kind)
    : kind_(kind) {
  if (kind == spec::Mlp::PRELU) {
    slope_ = list.Add(name + ".prelu.slope", {width}, Start::Constant(0.25f));
  } else if (kind == spec::Mlp::DICE) {
    norm_ = BatchNorm(list, name + ".dice", width, /*affine=*/false, kDiceEpsilon);
    slope_ = list.Add(name + ".dice.alpha", {width}, Start::Constant(0));
  }
}

at::Tensor Activation::Forward(Pass& pass, const at::Tensor& x) const {
  switch (kind_) {
    case spec::Mlp::RELU:
      return at::Tensor(x).relu_();
    case spec::Mlp::LEAKY_RELU:
      return at::leaky_relu(x, 0.01);
    case spec::Mlp::PRELU:
      return at::prelu(x, pass.dense(slope_));
    case spec::Mlp::GELU:
      return at::gelu(x);
    case spec::Mlp::SILU:
      return at::silu(x);
    case spec::Mlp::SIGMOID:
      return at::sigmoid(x);
    case spec::Mlp::DICE: {
      const at::Tensor& alpha = pass.dense(slope_);
      const at::Tensor p = at::sigmoid(norm_.Forward(pass, x));
      return x.mul(at::addcmul(alpha, p, alpha.neg().add(1)));  // p + (1 - p) alpha
    }
  }
  EMPORIUM_CHECK(false, "a parsed job has a known activation");
  std::abort();  // unreachable: the check does not return
}

Mlp::Mlp(ParameterList& list, const std::string& name, int64_t in, const spec::Mlp& options,
         int64_t out)
    : width_(in), dropout_(options.dropout()) {
  for (int i = 0; i < options.hidden_size(); ++i) {
    const std::string layer = name + ".hidden" + std::to_string(i);
    const auto width = static_cast<int64_t>(options.hidden(i));
    Hidden hidden;
    hidden.linear = Linear(list, layer, width_, width);
    if (options.batch_norm()) {
      hidden.norm = BatchNorm(list, layer + ".norm", width, /*affine=*/true, kNormEpsilon);
    }
    hidden.activation = Activation(list, layer, width, options.activation());
    hidden_.push_back(hidden);
    input_widths_.push_back(width_);
    width_ = width;
  }
  if (out == 0) return;
  out_ = Linear(list, name + ".out", width_, out);
  input_widths_.push_back(width_);
  width_ = out;
}

at::Tensor Mlp::Forward(Pass& pass, const at::Tensor& x) const {
  if (hidden_.empty()) return out_ ? out_->Forward(pass, x) : x;
  return ForwardFromFirst(pass, first().Forward(pass, x));
}

at::Tensor Mlp::ForwardGated(Pass& pass, const at::Tensor& x,
                             std::span<const at::Tensor> gates) const {
  EMPORIUM_CHECK(gates.size() == input_widths_.size(), "every linear layer has a gate");
  if (gates.empty()) return x;
  return Rest(pass, first().Forward(pass, x.mul(gates[0])), gates);
}

at::Tensor Mlp::Rest(Pass& pass, const at::Tensor& y, std::span<const at::Tensor> gates) const {
  const auto gated = [&gates](const at::Tensor& h, size_t i) {
    return gates.empty() ? h : h.mul(gates[i]);
  };
  at::Tensor h = y;
  for (size_t i = 0; i < hidden_.size(); ++i) {
    const Hidden& layer = hidden_[i];
    if (i > 0) h = layer.linear.Forward(pass, gated(h, i));
    if (layer.norm.exists()) h = layer.norm.Forward(pass, h);
    h = pass.Dropout(layer.activation.Forward(pass, h), dropout_);
  }
  return out_ && !hidden_.empty() ? out_->Forward(pass, gated(h, hidden_.size())) : h;
}

void CheckMlp(const spec::Mlp& options, const std::string& field, Complaints& complaints) {
  for (uint32_t width : options.hidden()) {
    if (width > 0) continue;
    complaints.Add(field + ".hidden", "a layer of width 0; give at least 1");
  }
  CheckRate(field + ".dropout", options.dropout(), complaints);
}

spec::Mlp MlpOr(const spec::Mlp& given, bool is_given, std::initializer_list<uint32_t> widths,
                const std::string& field, Complaints& complaints) {
  spec::Mlp mlp = given;
  if (!is_given) {
    for (const uint32_t width : widths) mlp.add_hidden(width);
  }
  CheckMlp(mlp, field, complaints);
  return mlp;
}

}  // namespace emporium::models
