#include "models/pass.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "models/dropout.h"
#include "proto/check.h"

namespace emporium::models {

namespace {

constexpr int64_t kAlignFloats = 16;  // 64 bytes

at::TensorOptions OptionsOf(const Device& device) {
  const at::TensorOptions options(at::kFloat);
  const int32_t gpu = device.place().gpu;
  if (gpu < 0) return options;
  return options.device(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(gpu)));
}

}  // namespace

Pass::Pass(Device& device, const ParameterList& parameters, const Batch& batch, const RowSet& rows,
           const DenseSet& dense, std::optional<uint64_t> random_seed)
    : device_(device),
      options_(OptionsOf(device)),
      parameters_(parameters),
      batch_(batch),
      given_(rows),
      rows_(rows),
      dense_gradient_(dense.gradient) {
  EMPORIUM_CHECK(static_cast<int64_t>(dense.values.size()) == parameters.total(),
                 "the dense buffer holds every parameter");
  if (const Device::Place& place = device.place(); place.gpu >= 0) {
    stream_.emplace(c10::Stream(c10::Stream::UNSAFE, options_.device(), place.stream));
  }
  device_.Begin();
  if (random_seed) {
    random_.emplace(*random_seed);
    EMPORIUM_CHECK(dense.gradient.size() == dense.values.size(), "training needs dense gradients");
  }
  at::NoGradGuard no_grad;
  TakeRows();
  TakeDense(dense);
}

void Pass::TakeRows() {
  for (TableRows& table : rows_) {
    const size_t floats = static_cast<size_t>(table.rows) * table.dim;
    if (training()) {
      EMPORIUM_CHECK(floats == 0 || table.gradient != nullptr, "training needs row gradients");
    }
    if (!device_.place().remote) {
      if (training()) std::fill_n(table.gradient, floats, 0.0f);
      continue;
    }
    const void* values = device_.Put(table.values, floats * sizeof(float));
    table.values = static_cast<float*>(const_cast<void*>(values));
    if (!training()) continue;
    row_gradients_.push_back(at::zeros({table.rows, table.dim}, options_));
    table.gradient = row_gradients_.back().data_ptr<float>();
  }
}

void Pass::TakeDense(const DenseSet& dense) {
  const auto& list = parameters_.parameters();
  int64_t floats = 0;
  for (const DenseParameter& p : list) {
    floats += (p.size + kAlignFloats - 1) / kAlignFloats * kAlignFloats;
  }
  at::Tensor storage = at::empty({floats}, at::kFloat);
  int64_t at = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    std::memcpy(storage.data_ptr<float>() + at, dense.values.data() + parameters_.offset(i),
                sizeof(float) * static_cast<size_t>(list[i].size));
    at += (list[i].size + kAlignFloats - 1) / kAlignFloats * kAlignFloats;
  }
  storage = ToDevice(storage);
  at = 0;
  for (const DenseParameter& p : list) {
    at::Tensor leaf = storage.narrow(0, at, p.size).view(p.shape).detach();
    leaf.set_requires_grad(training() && !p.statistic);
    dense_.push_back(std::move(leaf));
    at += (p.size + kAlignFloats - 1) / kAlignFloats * kAlignFloats;
  }
}

const TableRows& Pass::table(TableId id) const {
  for (const TableRows& table : rows_) {
    if (table.table == id) return table;
  }
  EMPORIUM_CHECK(false, "the rows of every table of the batch are given");
  std::abort();  // unreachable: the check does not return
}

at::Tensor Pass::ToDevice(const at::Tensor& host) const {
  if (!device_.place().remote) return host;
  const void* copy = device_.Put(host.data_ptr<float>(), host.nbytes());
  return at::for_blob(const_cast<void*>(copy), host.sizes())
      .options(options_)
      .target_device(options_.device())
      .make_tensor();
}

at::Tensor Pass::ToHost(const at::Tensor& tensor) const {
  if (!device_.place().remote) return tensor;
  const at::Tensor values = tensor.detach().contiguous();
  at::Tensor host = at::empty(values.sizes(), at::kFloat);
  const Device::Copy copy = {values.data_ptr<float>(), host.data_ptr<float>(), values.nbytes()};
  device_.Get({&copy, 1});
  return host;
}

std::span<const int32_t> Pass::Keep(std::vector<int32_t> indices) {
  return kept_.emplace_back(std::move(indices));
}

at::Tensor Pass::Dropout(const at::Tensor& x, float rate) {
  if (!training() || rate == 0) return x;
  // The rate is a multiple of 2^-16, and the scale fits it.
  const auto threshold = static_cast<int32_t>(rate * 65536.0f);
  const float scale = 65536.0f / static_cast<float>(65536 - threshold);
  const at::Tensor mask = at::empty(x.sizes(), at::kFloat);
  DropoutMask(*random_, threshold, scale, mask.numel(), mask.data_ptr<float>());
  return x.mul(ToDevice(mask));
}

void Pass::Observe(ParameterId id, const at::Tensor& value) {
  EMPORIUM_CHECK(training() && parameters_.parameters()[id.index].statistic,
                 "statistics are made of training batches");
  at::NoGradGuard no_grad;
  dense_[id.index].mutable_grad() = dense_[id.index].sub(value.detach());
}

void Pass::ObserveSum(ParameterId id, const at::Tensor& value) {
  EMPORIUM_CHECK(training() && parameters_.parameters()[id.index].statistic,
                 "statistics are made of training batches");
  at::NoGradGuard no_grad;
  dense_[id.index].mutable_grad() = value.detach().neg();
}

void Pass::Backward(const std::vector<at::Tensor>& roots,
                    const std::vector<at::Tensor>& gradients) {
  EMPORIUM_CHECK(training(), "only a training pass goes backwards");
  torch::autograd::variable_list differentiable;
  torch::autograd::variable_list given;
  for (size_t i = 0; i < roots.size(); ++i) {
    if (!roots[i].requires_grad()) continue;
    differentiable.push_back(roots[i]);
    given.push_back(gradients[i]);
  }
  if (!differentiable.empty()) torch::autograd::backward(differentiable, given);
  const auto& list = parameters_.parameters();
  std::vector<at::Tensor> kept;
  std::vector<Device::Copy> copies;
  for (size_t i = 0; i < list.size(); ++i) {
    float* out = dense_gradient_.data() + parameters_.offset(i);
    const at::Tensor& gradient = dense_[i].grad();
    if (!gradient.defined()) {
      std::fill_n(out, list[i].size, 0.0f);
      continue;
    }
    kept.push_back(gradient.contiguous());
    copies.push_back(
        {kept.back().data_ptr<float>(), out, sizeof(float) * static_cast<size_t>(list[i].size)});
  }
  for (size_t t = 0; t < row_gradients_.size(); ++t) {
    copies.push_back({rows_[t].gradient, given_[t].gradient, row_gradients_[t].nbytes()});
  }
  device_.Get(copies);
}

}  // namespace emporium::models
