// Several tasks over shared rows (models.md M7, M8, M9) [CODE: FuxiCTR; ESMM: PAPER]. A model is a
// bottom, which makes one vector y_k of the inputs for each task (models/zoo/bottoms.h), and a
// tower on each: z_k = MLP_k(y_k).
//
//   esmm            y_k = x
//   shared_bottom   a shared MLP
//   mmoe            a mixture of experts
//   ple             layers of customised gate control
#include <ATen/ops/cat.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "models/layers/mlp.h"
#include "models/registry.h"
#include "models/zoo/bottoms.h"
#include "models/zoo/pointwise_model.h"

namespace emporium::models {

namespace {

// y_k = x.
class Direct final : public Bottom {
 public:
  Direct(int64_t width, size_t tasks) : width_(width), tasks_(tasks) {}
  int64_t width() const override { return width_; }
  std::vector<at::Tensor> Forward(Pass& /*pass*/, const at::Tensor& x) const override {
    return std::vector<at::Tensor>(tasks_, x);
  }

 private:
  const int64_t width_;
  const size_t tasks_;
};

class MultiTaskModel final : public PointwiseModel {
 public:
  MultiTaskModel(PointwiseInputs given, const BottomPlan& plan, Device& device)
      : PointwiseModel(std::move(given), device) {
    bottom_ = plan.make(list(), inputs().width());
    for (const Task& task : inputs().tasks) {
      towers_.emplace_back(list(), task.name + ".tower", bottom_->width(), plan.tower, 1);
    }
  }

 private:
  at::Tensor Logits(Pass& pass) const override {
    const std::vector<at::Tensor> y = bottom_->Forward(pass, Inputs(pass));
    std::vector<at::Tensor> logits;
    for (size_t k = 0; k < towers_.size(); ++k) {
      logits.push_back(towers_[k].Forward(pass, y[k]).select(1, 0));
    }
    return at::cat(logits);
  }

  std::unique_ptr<Bottom> bottom_;
  std::vector<Mlp> towers_;
};

std::vector<std::string> NamesOf(const PointwiseInputs& inputs) {
  std::vector<std::string> names;
  for (const Task& task : inputs.tasks) names.push_back(task.name);
  return names;
}

Result<std::unique_ptr<Model>> Make(const PointwiseInputs& inputs, const BottomPlan& plan,
                                    const Complaints& complaints, Device& device) {
  EMPORIUM_RETURN_IF_ERROR(complaints.ToStatus());
  return std::unique_ptr<Model>(std::make_unique<MultiTaskModel>(inputs, plan, device));
}

}  // namespace

Result<std::unique_ptr<Model>> MakeSharedBottom(const spec::Job& job, Device& device) {
  Complaints complaints;
  const PointwiseInputs inputs = ParseInputs(job, TaskCount::kSeveral, complaints);
  return Make(inputs,
              PlanSharedMlp(inputs, job.model().shared_bottom(), NamesOf(inputs), complaints),
              complaints, device);
}

Result<std::unique_ptr<Model>> MakeMmoe(const spec::Job& job, Device& device) {
  Complaints complaints;
  const PointwiseInputs inputs = ParseInputs(job, TaskCount::kSeveral, complaints);
  return Make(inputs, PlanMixture(inputs, job.model().mmoe(), NamesOf(inputs), complaints),
              complaints, device);
}

Result<std::unique_ptr<Model>> MakePle(const spec::Job& job, Device& device) {
  Complaints complaints;
  const PointwiseInputs inputs = ParseInputs(job, TaskCount::kSeveral, complaints);
  return Make(inputs, PlanExtraction(inputs, job.model().ple(), NamesOf(inputs), complaints),
              complaints, device);
}

Result<std::unique_ptr<Model>> MakeEsmm(const spec::Job& job, Device& device) {
  const spec::Esmm& given = job.model().esmm();
  Complaints complaints;
  const PointwiseInputs inputs = ParseInputs(job, TaskCount::kSeveral, complaints);
  for (size_t k = 1; k < inputs.tasks.size(); ++k) {
    if (inputs.tasks[k].entire_space) continue;
    complaints.Add("task '" + inputs.tasks[k].name + "'",
                   "an esmm model trains every task but the first on all samples; set "
                   "entire_space: true and given");
  }
  const spec::Mlp tower =
      MlpOr(given.tower(), given.has_tower(), {360, 200, 80}, inputs.path("tower"), complaints);
  const auto direct = [&inputs](ParameterList& /*list*/, int64_t width) {
    return std::make_unique<Direct>(width, inputs.tasks.size());
  };
  return Make(inputs, {direct, tower, spec::Mlp()}, complaints, device);
}

}  // namespace emporium::models
