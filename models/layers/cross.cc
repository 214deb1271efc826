#include "models/layers/cross.h"

#include <ATen/ops/addcmul.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mv.h>
#include <ATen/ops/softmax.h>

#include <cmath>
#include <tuple>

namespace emporium::models {

namespace {

std::string LayerName(const std::string& name, int64_t layer) {
  return name + ".layer" + std::to_string(layer);
}

// As torch.nn.init.xavier_normal_.
Start Xavier(int64_t in, int64_t out) {
  return Start::Normal(std::sqrt(2.0f / static_cast<float>(in + out)));
}

}  // namespace

VectorCross::VectorCross(ParameterList& list, const std::string& name, int64_t width,
                         int64_t layers) {
  for (int64_t i = 0; i < layers; ++i) {
    const std::string layer = LayerName(name, i);
    layers_.push_back({list.Add(layer + ".weight", {width}, Start::FanIn(width)),
                       list.Add(layer + ".bias", {width}, Start::Constant(0))});
  }
}

at::Tensor VectorCross::Forward(const Pass& pass, const at::Tensor& x0) const {
  at::Tensor x = x0;
  for (const Layer& layer : layers_) {
    const at::Tensor along = at::mv(x, pass.dense(layer.weight)).unsqueeze(1);  // [B, 1]
    x = at::addcmul(x.add(pass.dense(layer.bias)), x0, along);
  }
  return x;
}

MatrixCross::MatrixCross(ParameterList& list, const std::string& name, int64_t width,
                         int64_t layers) {
  for (int64_t i = 0; i < layers; ++i) {
    layers_.emplace_back(list, LayerName(name, i), width, width);
  }
}

at::Tensor MatrixCross::Forward(const Pass& pass, const at::Tensor& x0) const {
  at::Tensor x = x0;
  for (const Linear& layer : layers_) x = at::addcmul(x, x0, layer.Forward(pass, x));
  return x;
}

MixedCross::MixedCross(ParameterList& list, const std::string& name, const MixedCrossShape& shape)
    : shape_(shape) {
  const auto [d, r, e] = std::tuple(shape.width, shape.rank, shape.experts);
  ParameterId shared;
  if (!shape.gate_per_layer) shared = list.Add(name + ".gate", {e, d}, Start::FanIn(d));
  for (int64_t i = 0; i < shape.layers; ++i) {
    const std::string layer = LayerName(name, i);
    Layer made;
    made.v = list.Add(layer + ".v", {e * r, d}, Xavier(d, r));
    made.c = list.Add(layer + ".c", {e, r, r}, Xavier(r, r));
    made.u = list.Add(layer + ".u", {d, e * r}, Xavier(r, d));
    made.bias = list.Add(layer + ".bias", {d}, Start::Constant(0));
    made.gate = shape.gate_per_layer ? list.Add(layer + ".gate", {e, d}, Start::FanIn(d)) : shared;
    layers_.push_back(made);
  }
}

at::Tensor MixedCross::Forward(const Pass& pass, const at::Tensor& x0) const {
  const auto [r, e] = std::tuple(shape_.rank, shape_.experts);
  const int64_t samples = x0.size(0);
  const auto bend = [this](const at::Tensor& v) { return shape_.tanh ? v.tanh() : v; };
  at::Tensor x = x0;
  for (const Layer& layer : layers_) {
    const at::Tensor p = at::softmax(at::linear(x, pass.dense(layer.gate)), 1);  // [B, E]
    at::Tensor v = bend(at::linear(x, pass.dense(layer.v)));                     // [B, E r]
    v = v.view({samples, e, r}).transpose(0, 1);                                 // [E, B, r]
    v = bend(at::bmm(v, pass.dense(layer.c).transpose(1, 2))).transpose(0, 1);   // [B, E, r]
    v = v.mul(p.unsqueeze(2)).reshape({samples, e * r});
    x = at::addcmul(x, x0, at::linear(v, pass.dense(layer.u), pass.dense(layer.bias)));
  }
  return x;
}

}  // namespace emporium::models
