// A tower for each scenario (models.md M12) [CODE: Scenario-Wise-Rec, alipay MMLRec]. A bottom
// makes one vector y_i of the inputs for each scenario (models/zoo/bottoms.h), z_i = MLP_i(y_i),
// and a sample of scenario s has the logit
//
//   scenario_bottom, scenario_mmoe, scenario_ple   z_s, so that it trains tower s alone
//   hmoe     sum_i w_i z_i, w = softmax(MLP_s(x)), over a mixture of experts; z_i, i != s, without
//            gradient, so that other scenarios' towers help and are not trained by it
#include <ATen/ops/cat.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "models/layers/mlp.h"
#include "models/layers/scenario.h"
#include "models/registry.h"
#include "models/rows.h"
#include "models/zoo/bottoms.h"
#include "models/zoo/pointwise_model.h"

namespace emporium::models {

namespace {

std::vector<std::string> NamesOf(const PointwiseInputs& inputs) {
  std::vector<std::string> names;
  names.reserve(static_cast<size_t>(inputs.scenarios));
  for (int32_t s = 0; s < inputs.scenarios; ++s) names.push_back(ScenarioName(s));
  return names;
}

class ScenarioTowers : public PointwiseModel {
 public:
  ScenarioTowers(PointwiseInputs given, const BottomPlan& plan, Device& device)
      : PointwiseModel(std::move(given), device) {
    bottom_ = plan.make(list(), inputs().width());
    for (const std::string& name : NamesOf(inputs())) {
      towers_.emplace_back(list(), name + ".tower", bottom_->width(), plan.tower, 1);
    }
  }

 protected:
  const Bottom& bottom() const { return *bottom_; }
  const std::vector<Mlp>& towers() const { return towers_; }

 private:
  at::Tensor Logits(Pass& pass) const override {
    const std::vector<at::Tensor> y = bottom_->Forward(pass, Inputs(pass));
    const ScenarioOrder order(pass, inputs().scenarios);
    std::vector<at::Tensor> z;
    for (int32_t s = 0; s < order.scenarios(); ++s) {
      if (order.count(s) == 0) continue;
      const auto i = static_cast<size_t>(s);
      z.push_back(towers_[i].Forward(pass, TakeRows(pass, y[i], order.samples(s))));
    }
    return order.Restore(pass, at::cat(z)).select(1, 0);
  }

  std::unique_ptr<Bottom> bottom_;
  std::vector<Mlp> towers_;
};

class HmoeModel final : public ScenarioTowers {
 public:
  HmoeModel(PointwiseInputs given, const BottomPlan& plan, Device& device)
      : ScenarioTowers(std::move(given), plan, device) {
    for (const std::string& name : NamesOf(inputs())) {
      mixes_.emplace_back(list(), name + ".mix", inputs().width(), plan.gate, inputs().scenarios);
    }
  }

 private:
  at::Tensor Logits(Pass& pass) const override {
    const at::Tensor x = Inputs(pass);
    const std::vector<at::Tensor> y = bottom().Forward(pass, x);
    std::vector<at::Tensor> towers;
    for (size_t i = 0; i < y.size(); ++i) towers.push_back(this->towers()[i].Forward(pass, y[i]));
    const at::Tensor z = at::cat(towers, 1);  // [B, S]
    const at::Tensor own = OwnOnly(pass);
    const at::Tensor seen = z.mul(own).add(z.detach().mul(own.neg().add(1)));
    return seen.mul(Weights(pass, x)).sum(1);
  }

  // 1 at each sample's own scenario: [B, S].
  at::Tensor OwnOnly(Pass& pass) const {
    const at::Tensor own = at::zeros({pass.batch().samples, inputs().scenarios}, at::kFloat);
    float* at = own.data_ptr<float>();
    for (const int32_t s : pass.batch().scenario) {
      at[s] = 1;
      at += inputs().scenarios;
    }
    return pass.ToDevice(own);
  }

  // w of each sample, by its own scenario's gate: [B, S].
  at::Tensor Weights(Pass& pass, const at::Tensor& x) const {
    const ScenarioOrder order(pass, inputs().scenarios);
    const at::Tensor mixed =
        at::cat(order.ForEach(order.Sort(pass, x), [&](int32_t s, const at::Tensor& of) {
          return mixes_[static_cast<size_t>(s)].Forward(pass, of);
        }));
    return at::softmax(order.Restore(pass, mixed), 1);
  }

  std::vector<Mlp> mixes_;
};

template <class T>
Result<std::unique_ptr<Model>> Make(const PointwiseInputs& inputs, const BottomPlan& plan,
                                    const Complaints& complaints, Device& device) {
  EMPORIUM_RETURN_IF_ERROR(complaints.ToStatus());
  return std::unique_ptr<Model>(std::make_unique<T>(inputs, plan, device));
}

}  // namespace

Result<std::unique_ptr<Model>> MakeScenarioBottom(const spec::Job& job, Device& device) {
  Complaints complaints;
  const PointwiseInputs inputs = ParseInputs(job, TaskCount::kOne, complaints);
  return Make<ScenarioTowers>(
      inputs, PlanSharedMlp(inputs, job.model().scenario_bottom(), NamesOf(inputs), complaints),
      complaints, device);
}

Result<std::unique_ptr<Model>> MakeScenarioMmoe(const spec::Job& job, Device& device) {
  Complaints complaints;
  const PointwiseInputs inputs = ParseInputs(job, TaskCount::kOne, complaints);
  return Make<ScenarioTowers>(
      inputs, PlanMixture(inputs, job.model().scenario_mmoe(), NamesOf(inputs), complaints),
      complaints, device);
}

Result<std::unique_ptr<Model>> MakeScenarioPle(const spec::Job& job, Device& device) {
  Complaints complaints;
  const PointwiseInputs inputs = ParseInputs(job, TaskCount::kOne, complaints);
  return Make<ScenarioTowers>(
      inputs, PlanExtraction(inputs, job.model().scenario_ple(), NamesOf(inputs), complaints),
      complaints, device);
}

Result<std::unique_ptr<Model>> MakeHmoe(const spec::Job& job, Device& device) {
  Complaints complaints;
  const PointwiseInputs inputs = ParseInputs(job, TaskCount::kOne, complaints);
  return Make<HmoeModel>(inputs,
                         PlanMixture(inputs, job.model().hmoe(), NamesOf(inputs), complaints),
                         complaints, device);
}

}  // namespace emporium::models
