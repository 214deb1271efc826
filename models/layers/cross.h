// Cross networks (models.md M2) [CODE: FuxiCTR, DeepCTR]: x_0 [B, D] -> x_L [B, D] by layers
//
//   vector   x' = x_0 (x . w) + b + x                                    w, b [D]            DCN
//   matrix   x' = x_0 (.) (W x + b) + x                                  W [D, D]            DCNv2
//   mixed    v_i = tanh(C_i tanh(V_i^T x)),  p = softmax_i(g_i . x)      V_i, U_i [D, r] DCN-mix
//            x' = sum_i p_i x_0 (.) (U_i v_i + b) + x                    C_i [r, r], g_i [D]
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "models/layers/layers.h"
#include "models/parameters.h"
#include "models/pass.h"

namespace emporium::models {

class CrossLayers {
 public:
  virtual ~CrossLayers() = default;
  virtual at::Tensor Forward(const Pass& pass, const at::Tensor& x0) const = 0;
};

class VectorCross final : public CrossLayers {
 public:
  VectorCross(ParameterList& list, const std::string& name, int64_t width, int64_t layers);
  at::Tensor Forward(const Pass& pass, const at::Tensor& x0) const override;

 private:
  struct Layer {
    ParameterId weight;
    ParameterId bias;
  };
  std::vector<Layer> layers_;
};

class MatrixCross final : public CrossLayers {
 public:
  MatrixCross(ParameterList& list, const std::string& name, int64_t width, int64_t layers);
  at::Tensor Forward(const Pass& pass, const at::Tensor& x0) const override;

 private:
  std::vector<Linear> layers_;
};

struct MixedCrossShape {
  int64_t width = 0;  // D
  int64_t layers = 0;
  int64_t rank = 0;     // r
  int64_t experts = 0;  // E
  bool gate_per_layer = false;
  bool tanh = true;
};

// The experts of a layer are computed together: V [E r, D] and U [D, E r] hold them side by side,
// and because p sums to 1, sum_i p_i (U_i v_i + b) = U [p_1 v_1; ...; p_E v_E] + b.
class MixedCross final : public CrossLayers {
 public:
  MixedCross(ParameterList& list, const std::string& name, const MixedCrossShape& shape);
  at::Tensor Forward(const Pass& pass, const at::Tensor& x0) const override;

 private:
  struct Layer {
    ParameterId v;     // [E r, D]
    ParameterId c;     // [E, r, r]
    ParameterId u;     // [D, E r]
    ParameterId bias;  // [D]
    ParameterId gate;  // [E, D]
  };
  MixedCrossShape shape_;
  std::vector<Layer> layers_;
};

}  // namespace emporium::models
