// Dense layers: names and shapes of their parameters, and what they compute. A layer holds
// positions in the ParameterList, no tensors, so one layer serves any number of lanes.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "models/parameters.h"
#include "models/pass.h"

namespace emporium::models {

// y = x W^T + b; W [out, in] starts as torch.nn.Linear's does, or at zero, or (kNormal) normal with
// standard deviation 0.02 and b at zero.
class Linear {
 public:
  enum class From : uint8_t { kFanIn, kZero, kNormal };

  Linear() = default;
  Linear(ParameterList& list, const std::string& name, int64_t in, int64_t out,
         From from = From::kFanIn, bool train_only = false);
  at::Tensor Forward(const Pass& pass, const at::Tensor& x) const;
  // Only the outputs [first, first + count).
  at::Tensor ForwardPart(const Pass& pass, const at::Tensor& x, int64_t first, int64_t count) const;
  const at::Tensor& weight(const Pass& pass) const { return pass.dense(weight_); }
  const at::Tensor& bias(const Pass& pass) const { return pass.dense(bias_); }

 private:
  ParameterId weight_;
  ParameterId bias_;
};

// Over the last axis, epsilon 1e-5.
class LayerNorm {
 public:
  LayerNorm() = default;
  LayerNorm(ParameterList& list, const std::string& name, int64_t width);
  at::Tensor Forward(const Pass& pass, const at::Tensor& x) const;

 private:
  ParameterId weight_;
  ParameterId bias_;
  int64_t width_ = 0;
};

// x / |x| by row; a row shorter than 1e-6 is divided by that instead, so zeros stay zeros.
at::Tensor NormalizeRows(const at::Tensor& x);

}  // namespace emporium::models
