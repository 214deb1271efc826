#include "models/pass.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "proto/check.h"

namespace emporium::models {

namespace {

constexpr int64_t kAlignFloats = 16;  // 64 bytes

}  // namespace

Pass::Pass(const ParameterList& parameters, const Batch& batch, const RowSet& rows,
           const DenseSet& dense, std::optional<uint64_t> random_seed)
    : parameters_(parameters), batch_(batch), rows_(rows), dense_gradient_(dense.gradient) {
  EMPORIUM_CHECK(static_cast<int64_t>(dense.values.size()) == parameters.total(),
                 "the dense buffer holds every parameter");
  if (random_seed) {
    random_.emplace(*random_seed);
    EMPORIUM_CHECK(dense.gradient.size() == dense.values.size(), "training needs dense gradients");
    for (const TableRows& table : rows) {
      const size_t floats = static_cast<size_t>(table.rows) * table.dim;
      EMPORIUM_CHECK(floats == 0 || table.gradient != nullptr, "training needs row gradients");
      std::fill_n(table.gradient, floats, 0.0f);
    }
  }
  const auto& list = parameters.parameters();
  int64_t floats = 0;
  for (const DenseParameter& p : list) {
    floats += (p.size + kAlignFloats - 1) / kAlignFloats * kAlignFloats;
  }
  at::NoGradGuard no_grad;
  const at::Tensor storage = at::empty({floats}, at::kFloat);
  int64_t at = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    const int64_t size = list[i].size;
    std::memcpy(storage.data_ptr<float>() + at, dense.values.data() + parameters.offset(i),
                sizeof(float) * static_cast<size_t>(size));
    at::Tensor leaf = storage.narrow(0, at, size).view(list[i].shape).detach();
    leaf.set_requires_grad(training());
    dense_.push_back(std::move(leaf));
    at += (size + kAlignFloats - 1) / kAlignFloats * kAlignFloats;
  }
}

const TableRows& Pass::table(TableId id) const {
  for (const TableRows& table : rows_) {
    if (table.table == id) return table;
  }
  EMPORIUM_CHECK(false, "the rows of every table of the batch are given");
  std::abort();  // unreachable: the check does not return
}

std::span<const int32_t> Pass::Keep(std::vector<int32_t> indices) {
  return kept_.emplace_back(std::move(indices));
}

at::Tensor Pass::Dropout(const at::Tensor& x, float rate) {
  if (!training() || rate == 0) return x;
  // Four decisions from one random word; the rate is a multiple of 2^-16, and the scale fits it.
  const auto threshold = static_cast<uint64_t>(rate * 65536.0f);
  const float scale = 65536.0f / static_cast<float>(65536 - threshold);
  const at::Tensor mask = at::empty(x.sizes(), at::kFloat);
  float* out = mask.data_ptr<float>();
  const int64_t n = mask.numel();
  const auto decide = [threshold, scale](uint64_t word, int64_t k) {
    return ((word >> (16 * k)) & 0xffff) < threshold ? 0 : scale;
  };
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const uint64_t word = random_->Next();
    for (int64_t k = 0; k < 4; ++k) out[i + k] = decide(word, k);
  }
  const uint64_t word = random_->Next();
  for (int64_t k = 0; i < n; ++i, ++k) out[i] = decide(word, k);
  return x.mul(mask);
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
  for (size_t i = 0; i < list.size(); ++i) {
    float* out = dense_gradient_.data() + parameters_.offset(i);
    const at::Tensor& gradient = dense_[i].grad();
    if (!gradient.defined()) {
      std::fill_n(out, list[i].size, 0.0f);
      continue;
    }
    const at::Tensor flat = gradient.contiguous();
    std::memcpy(out, flat.data_ptr<float>(), sizeof(float) * static_cast<size_t>(list[i].size));
  }
}

}  // namespace emporium::models
