// STAR (models.md M12) [THIRD-PARTY]: every layer of the main network has weights of all scenarios
// and weights of the sample's own,
//
//   h <- act(h (W (.) W_s)^T + b + b_s)        W_s starts at ones, both biases at zero
//
// before it, with batch_norm, partitioned normalisation of the inputs (models/layers/scenario.h);
// the last layer is a plain one to the logit, to which that of a small network on [scenario; x] is
// added. A sample trains its own scenario's weights alone.
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>

#include <memory>
#include <utility>
#include <vector>

#include "models/layers/mlp.h"
#include "models/layers/scenario.h"
#include "models/registry.h"
#include "models/zoo/pointwise_model.h"

namespace emporium::models {

namespace {

class StarLinear {
 public:
  StarLinear(ParameterList& list, const std::string& name, int64_t in, int64_t out,
             int32_t scenarios)
      : shared_(Add(list, name, in, out, Start::FanIn(in))) {
    for (int32_t s = 0; s < scenarios; ++s) {
      own_.push_back(Add(list, name + "." + ScenarioName(s), in, out, Start::Constant(1)));
    }
  }

  // Of rows in the order.
  at::Tensor Forward(const Pass& pass, const at::Tensor& sorted, const ScenarioOrder& order) const {
    return at::cat(order.ForEach(sorted, [&](int32_t s, const at::Tensor& x) {
      const Part& own = own_[static_cast<size_t>(s)];
      return at::linear(x, pass.dense(shared_.weight).mul(pass.dense(own.weight)),
                        pass.dense(shared_.bias).add(pass.dense(own.bias)));
    }));
  }

 private:
  struct Part {
    ParameterId weight;
    ParameterId bias;
  };
  static Part Add(ParameterList& list, const std::string& name, int64_t in, int64_t out,
                  Start start) {
    const ParameterId weight = list.Add(name + ".weight", {out, in}, start);
    return {weight, list.Add(name + ".bias", {out}, Start::Constant(0))};
  }

  Part shared_;
  std::vector<Part> own_;  // by scenario
};

class StarModel final : public PointwiseModel {
 public:
  StarModel(PointwiseInputs given, const spec::Mlp& mlp, const spec::Mlp& auxiliary,
            int64_t scenario_width, Device& device)
      : PointwiseModel(std::move(given), device), dropout_(mlp.dropout()) {
    const int32_t scenarios = inputs().scenarios;
    int64_t width = inputs().width();
    if (mlp.batch_norm()) norm_ = PartitionedNorm(list(), "norm", width, scenarios);
    for (int i = 0; i < mlp.hidden_size(); ++i) {
      const std::string name = "mlp.hidden" + std::to_string(i);
      const auto out = static_cast<int64_t>(mlp.hidden(i));
      layers_.emplace_back(list(), name, width, out, scenarios);
      activations_.emplace_back(list(), name, out, mlp.activation());
      width = out;
    }
    layers_.emplace_back(list(), "mlp.out", width, 1, scenarios);
    vectors_ = ScenarioVectors(list(), scenarios, scenario_width);
    auxiliary_ = Mlp(list(), "auxiliary", scenario_width + inputs().width(), auxiliary, 1);
  }

 private:
  at::Tensor Logits(Pass& pass) const override {
    const at::Tensor x = Inputs(pass);
    const ScenarioOrder order(pass, inputs().scenarios);
    at::Tensor h = order.Sort(pass, x);
    if (norm_.exists()) h = norm_.Forward(pass, h, order);
    for (size_t l = 0; l < activations_.size(); ++l) {
      h = activations_[l].Forward(pass, layers_[l].Forward(pass, h, order));
      h = pass.Dropout(h, dropout_);
    }
    const at::Tensor main = order.Restore(pass, layers_.back().Forward(pass, h, order));
    const at::Tensor beside = auxiliary_.Forward(pass, at::cat({vectors_.Forward(pass), x}, 1));
    return main.add(beside).select(1, 0);
  }

  const float dropout_;
  PartitionedNorm norm_;
  std::vector<StarLinear> layers_;  // one more than activations
  std::vector<Activation> activations_;
  ScenarioVectors vectors_;
  Mlp auxiliary_;
};

}  // namespace

Result<std::unique_ptr<Model>> MakeStar(const spec::Job& job, Device& device) {
  const spec::Star& options = job.model().star();
  Complaints complaints;
  PointwiseInputs inputs = ParseInputs(job, TaskCount::kOne, complaints);
  const spec::Mlp mlp =
      MlpOr(options.mlp(), options.has_mlp(), {512, 256, 128}, "model.star.mlp", complaints);
  const spec::Mlp auxiliary =
      MlpOr(options.auxiliary(), options.has_auxiliary(), {64}, "model.star.auxiliary", complaints);
  ExpectWidth("model.star.scenario_width", options.scenario_width(), complaints);
  EMPORIUM_RETURN_IF_ERROR(complaints.ToStatus());
  return std::unique_ptr<Model>(std::make_unique<StarModel>(std::move(inputs), mlp, auxiliary,
                                                            options.scenario_width(), device));
}

}  // namespace emporium::models
