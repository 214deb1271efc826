// Multi-layer perceptrons. Layers hold positions in the ParameterList, no tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/job_view.h"
#include "models/layers/layers.h"
#include "models/layers/norm.h"
#include "proto/job.pb.h"

namespace emporium::models {

// y = f(x) channel by channel; see spec::Mlp::Activation.
class Activation {
 public:
  Activation() = default;
  Activation(ParameterList& list, const std::string& name, int64_t width,
             spec::Mlp::Activation kind);
  // May overwrite x.
  at::Tensor Forward(Pass& pass, const at::Tensor& x) const;

 private:
  spec::Mlp::Activation kind_ = spec::Mlp::RELU;
  ParameterId slope_;  // PReLU's, Dice's alpha
  BatchNorm norm_;     // of Dice
};

// Linear -> batch norm -> activation -> dropout for each hidden width, then, with out > 0, a Linear
// to `out` without activation.
class Mlp {
 public:
  Mlp() = default;
  Mlp(ParameterList& list, const std::string& name, int64_t in, const spec::Mlp& options,
      int64_t out);
  bool exists() const { return width_ > 0; }
  // Columns of the result.
  int64_t width() const { return width_; }
  at::Tensor Forward(Pass& pass, const at::Tensor& x) const;
  // For who computes the first linear layer in another way: the layer, and the rest of the way from
  // its result (which may be overwritten).
  const Linear& first() const { return hidden_.empty() ? *out_ : hidden_[0].linear; }
  at::Tensor ForwardFromFirst(Pass& pass, const at::Tensor& y) const { return Rest(pass, y, {}); }
  // The result of x where the input of each linear layer is first multiplied by its gate.
  at::Tensor ForwardGated(Pass& pass, const at::Tensor& x, std::span<const at::Tensor> gates) const;
  // Columns of the input of each linear layer.
  const std::vector<int64_t>& input_widths() const { return input_widths_; }

 private:
  struct Hidden {
    Linear linear;
    BatchNorm norm;
    Activation activation;
  };
  at::Tensor Rest(Pass& pass, const at::Tensor& y, std::span<const at::Tensor> gates) const;

  std::vector<Hidden> hidden_;
  std::optional<Linear> out_;
  int64_t width_ = 0;
  std::vector<int64_t> input_widths_;
  float dropout_ = 0;
};

// Complains of what makes no sense; `field` is the option's path.
void CheckMlp(const spec::Mlp& options, const std::string& field, Complaints& complaints);
// `given` or, where it is not there, these hidden widths; complains of what makes no sense.
spec::Mlp MlpOr(const spec::Mlp& given, bool is_given, std::initializer_list<uint32_t> widths,
                const std::string& field, Complaints& complaints);

}  // namespace emporium::models
