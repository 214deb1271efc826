#include "models/layers/scenario.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>

#include <utility>

#include "models/rows.h"
#include "proto/check.h"

namespace emporium::models {

namespace {

constexpr float kVectorStddev = 0.1f;
constexpr double kNormEpsilon = 1e-5;

}  // namespace

ScenarioOrder::ScenarioOrder(Pass& pass, int32_t scenarios)
    : begin_(static_cast<size_t>(scenarios) + 1, 0) {
  const std::vector<int32_t>& scenario = pass.batch().scenario;
  EMPORIUM_CHECK(scenario.size() == static_cast<size_t>(pass.batch().samples),
                 "every sample of a batch has a scenario");
  for (const int32_t s : scenario) {
    EMPORIUM_CHECK(s >= 0 && s < scenarios, "a sample's scenario is one of the job's");
    ++begin_[static_cast<size_t>(s) + 1];
  }
  for (size_t s = 1; s < begin_.size(); ++s) begin_[s] += begin_[s - 1];
  std::vector<int32_t> next(begin_.begin(), begin_.end() - 1);
  std::vector<int32_t> order(scenario.size());
  std::vector<int32_t> places;
  places.reserve(scenario.size());
  for (size_t b = 0; b < scenario.size(); ++b) {
    places.push_back(next[static_cast<size_t>(scenario[b])]++);
    order[static_cast<size_t>(places.back())] = static_cast<int32_t>(b);
  }
  order_ = pass.Keep(std::move(order));
  places_ = pass.Keep(std::move(places));
}

at::Tensor ScenarioOrder::Sort(Pass& pass, const at::Tensor& x) const {
  return TakeRows(pass, x, order_);
}

at::Tensor ScenarioOrder::Restore(Pass& pass, const at::Tensor& sorted) const {
  return TakeRows(pass, sorted, places_);
}

ScenarioVectors::ScenarioVectors(ParameterList& list, int32_t scenarios, int64_t width)
    : vectors_(list.Add("scenario", {scenarios, width}, Start::Normal(kVectorStddev))) {}

at::Tensor ScenarioVectors::Forward(Pass& pass) const {
  const std::vector<int32_t>& scenario = pass.batch().scenario;
  EMPORIUM_CHECK(scenario.size() == static_cast<size_t>(pass.batch().samples),
                 "every sample of a batch has a scenario");
  return TakeRows(pass, pass.dense(vectors_), scenario);
}

GateUnit::GateUnit(ParameterList& list, const std::string& name, int64_t in, int64_t hidden,
                   int64_t out, bool neutral)
    : in_(list, name + ".in", in, hidden),
      out_(list, name + ".out", hidden, out, neutral ? Linear::From::kZero : Linear::From::kFanIn) {
}

at::Tensor GateUnit::Forward(const Pass& pass, const at::Tensor& x) const {
  return at::sigmoid(out_.Forward(pass, at::relu(in_.Forward(pass, x)))).mul(2);
}

PartitionedNorm::PartitionedNorm(ParameterList& list, const std::string& name, int64_t width,
                                 int32_t scenarios)
    : scale_(list.Add(name + ".weight", {width}, Start::Constant(1))),
      shift_(list.Add(name + ".bias", {width}, Start::Constant(0))) {
  for (int32_t s = 0; s < scenarios; ++s) {
    own_.emplace_back(list, name + "." + ScenarioName(s), width, /*affine=*/true, kNormEpsilon);
  }
}

at::Tensor PartitionedNorm::Forward(Pass& pass, const at::Tensor& sorted,
                                    const ScenarioOrder& order) const {
  return at::cat(order.ForEach(sorted, [&](int32_t s, const at::Tensor& x) {
    return own_[static_cast<size_t>(s)].ForwardScaled(pass, x, pass.dense(scale_),
                                                      pass.dense(shift_));
  }));
}

}  // namespace emporium::models
