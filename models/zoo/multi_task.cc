// Several tasks over shared rows (models.md M7, M8, M9) [CODE: FuxiCTR; ESMM: PAPER]. A model is a
// bottom, which makes one vector y_k of the inputs for each task, and a tower on each: z_k =
// MLP_k(y_k).
//
//   esmm            y_k = x
//   shared_bottom   y_k = MLP(x)
//   mmoe            y_k = sum_e softmax_e(gate_k(x)) f_e(x)
//   ple             layers of customised gate control: experts of task k and shared ones, from the
//                   layer before; gate k over both, the shared gate over all experts (or only the
//                   shared ones); the last layer has no shared gate
#include <ATen/ops/cat.h>

#include <initializer_list>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "models/layers/moe.h"
#include "models/registry.h"
#include "models/zoo/pointwise_model.h"

namespace emporium::models {

namespace {

// y_k for each task: [B, width] each.
class Bottom {
 public:
  virtual ~Bottom() = default;
  virtual int64_t width() const = 0;
  virtual std::vector<at::Tensor> Forward(Pass& pass, const at::Tensor& x) const = 0;
};

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

class SharedMlp final : public Bottom {
 public:
  SharedMlp(ParameterList& list, int64_t in, const spec::SharedBottom& options, size_t tasks)
      : tasks_(tasks), mlp_(list, "bottom", in, options.bottom(), 0) {}
  int64_t width() const override { return mlp_.width(); }
  std::vector<at::Tensor> Forward(Pass& pass, const at::Tensor& x) const override {
    return std::vector<at::Tensor>(tasks_, mlp_.Forward(pass, x));
  }

 private:
  const size_t tasks_;
  Mlp mlp_;
};

class Mixture final : public Bottom {
 public:
  Mixture(ParameterList& list, int64_t in, const spec::Mmoe& options,
          const std::vector<Task>& tasks)
      : experts_(list, "expert", in, options.expert(), options.experts()) {
    for (const Task& task : tasks) {
      gates_.emplace_back(list, task.name + ".gate", in, options.gate(), options.experts());
    }
  }
  int64_t width() const override { return experts_.width(); }
  std::vector<at::Tensor> Forward(Pass& pass, const at::Tensor& x) const override {
    std::vector<at::Tensor> experts;
    experts_.Forward(pass, x, &experts);
    std::vector<at::Tensor> mixed;
    for (const Gate& gate : gates_) mixed.push_back(gate.Forward(pass, x, experts));
    return mixed;
  }

 private:
  Experts experts_;
  std::vector<Gate> gates_;
};

class Extraction final : public Bottom {
 public:
  Extraction(ParameterList& list, int64_t in, const spec::Ple& options,
             const std::vector<Task>& tasks)
      : shared_sees_all_(options.shared_gate_sees_all()) {
    const auto own = static_cast<int64_t>(options.task_experts());
    const auto shared = static_cast<int64_t>(options.shared_experts());
    for (uint32_t l = 0; l < options.layers(); ++l) {
      const std::string name = "layer" + std::to_string(l) + ".";
      Layer layer;
      for (const Task& task : tasks) {
        layer.own.emplace_back(list, name + task.name + ".expert", in, options.expert(), own);
        layer.gates.emplace_back(list, name + task.name + ".gate", in, options.gate(),
                                 own + shared);
      }
      layer.shared = Experts(list, name + "shared.expert", in, options.expert(), shared);
      if (l + 1 < options.layers()) {
        const int64_t seen =
            shared_sees_all_ ? own * static_cast<int64_t>(tasks.size()) + shared : shared;
        layer.shared_gate.emplace(list, name + "shared.gate", in, options.gate(), seen);
      }
      in = layer.shared.width();
      layers_.push_back(std::move(layer));
    }
  }
  int64_t width() const override { return layers_.back().shared.width(); }

  std::vector<at::Tensor> Forward(Pass& pass, const at::Tensor& x) const override {
    std::vector<at::Tensor> y(layers_.front().own.size(), x);
    at::Tensor common = x;
    for (const Layer& layer : layers_) {
      std::vector<at::Tensor> shared;
      layer.shared.Forward(pass, common, &shared);
      std::vector<at::Tensor> all;  // task by task, then the shared ones
      std::vector<at::Tensor> next;
      for (size_t k = 0; k < y.size(); ++k) {
        std::vector<at::Tensor> seen;
        layer.own[k].Forward(pass, y[k], &seen);
        all.insert(all.end(), seen.begin(), seen.end());
        seen.insert(seen.end(), shared.begin(), shared.end());
        next.push_back(layer.gates[k].Forward(pass, y[k], seen));
      }
      all.insert(all.end(), shared.begin(), shared.end());
      if (layer.shared_gate) {
        common = layer.shared_gate->Forward(pass, common, shared_sees_all_ ? all : shared);
      }
      y = std::move(next);
    }
    return y;
  }

 private:
  struct Layer {
    std::vector<Experts> own;  // by task
    Experts shared;
    std::vector<Gate> gates;  // by task
    std::optional<Gate> shared_gate;
  };
  const bool shared_sees_all_;
  std::vector<Layer> layers_;
};

using MakeBottom = std::unique_ptr<Bottom> (*)(const spec::Job& job, ParameterList& list,
                                               int64_t width, const std::vector<Task>& tasks);

class MultiTaskModel final : public PointwiseModel {
 public:
  MultiTaskModel(PointwiseInputs given, const spec::Job& job, MakeBottom make_bottom,
                 const spec::Mlp& tower, Device& device)
      : PointwiseModel(std::move(given), device) {
    bottom_ = make_bottom(job, list(), inputs().width(), inputs().tasks);
    for (const Task& task : inputs().tasks) {
      towers_.emplace_back(list(), task.name + ".tower", bottom_->width(), tower, 1);
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

// `given`, or the model's own default widths.
spec::Mlp OrWidths(bool has, const spec::Mlp& given, std::initializer_list<uint32_t> widths) {
  spec::Mlp mlp = given;
  if (has) return mlp;
  for (const uint32_t width : widths) mlp.add_hidden(width);
  return mlp;
}

// The options of a job's model with its defaults filled in, so that all read the same.
spec::Job Completed(const spec::Job& job) {
  spec::Job full = job;
  const auto fill = [](auto* options) {
    *options->mutable_expert() =
        OrWidths(options->has_expert(), options->expert(), {512, 256, 128});
    *options->mutable_gate() = OrWidths(options->has_gate(), options->gate(), {128, 64});
    *options->mutable_tower() = OrWidths(options->has_tower(), options->tower(), {128, 64});
  };
  spec::Model* model = full.mutable_model();
  if (model->has_mmoe()) fill(model->mutable_mmoe());
  if (model->has_ple()) fill(model->mutable_ple());
  if (model->has_shared_bottom()) {
    spec::SharedBottom* o = model->mutable_shared_bottom();
    *o->mutable_bottom() = OrWidths(o->has_bottom(), o->bottom(), {512, 256, 128});
    *o->mutable_tower() = OrWidths(o->has_tower(), o->tower(), {128, 64});
  }
  if (model->has_esmm()) {
    spec::Esmm* o = model->mutable_esmm();
    *o->mutable_tower() = OrWidths(o->has_tower(), o->tower(), {360, 200, 80});
  }
  return full;
}

void ExpectHidden(const PointwiseInputs& inputs, const char* option, const spec::Mlp& mlp,
                  Complaints& complaints) {
  CheckMlp(mlp, inputs.path(option), complaints);
  if (mlp.hidden_size() > 0) return;
  complaints.Add(inputs.path(option) + ".hidden", "there is no hidden layer; give widths");
}

void ExpectCount(const PointwiseInputs& inputs, const char* option, uint32_t count,
                 Complaints& complaints) {
  if (count >= 1 && count <= 1024) return;
  complaints.Add(inputs.path(option), std::to_string(count) + " is outside 1 to 1024");
}

Result<std::unique_ptr<Model>> Make(PointwiseInputs inputs, const spec::Job& job,
                                    MakeBottom make_bottom, const spec::Mlp& tower,
                                    Complaints& complaints, Device& device) {
  CheckMlp(tower, inputs.path("tower"), complaints);
  EMPORIUM_RETURN_IF_ERROR(complaints.ToStatus());
  return std::unique_ptr<Model>(
      std::make_unique<MultiTaskModel>(std::move(inputs), job, make_bottom, tower, device));
}

}  // namespace

Result<std::unique_ptr<Model>> MakeSharedBottom(const spec::Job& given, Device& device) {
  const spec::Job job = Completed(given);
  const spec::SharedBottom& options = job.model().shared_bottom();
  Complaints complaints;
  PointwiseInputs inputs = ParseInputs(job, TaskCount::kSeveral, complaints);
  ExpectHidden(inputs, "bottom", options.bottom(), complaints);
  return Make(
      std::move(inputs), job,
      [](const spec::Job& of, ParameterList& list, int64_t width,
         const std::vector<Task>& tasks) -> std::unique_ptr<Bottom> {
        return std::make_unique<SharedMlp>(list, width, of.model().shared_bottom(), tasks.size());
      },
      options.tower(), complaints, device);
}

Result<std::unique_ptr<Model>> MakeMmoe(const spec::Job& given, Device& device) {
  const spec::Job job = Completed(given);
  const spec::Mmoe& options = job.model().mmoe();
  Complaints complaints;
  PointwiseInputs inputs = ParseInputs(job, TaskCount::kSeveral, complaints);
  ExpectHidden(inputs, "expert", options.expert(), complaints);
  CheckMlp(options.gate(), inputs.path("gate"), complaints);
  ExpectCount(inputs, "experts", options.experts(), complaints);
  return Make(
      std::move(inputs), job,
      [](const spec::Job& of, ParameterList& list, int64_t width,
         const std::vector<Task>& tasks) -> std::unique_ptr<Bottom> {
        return std::make_unique<Mixture>(list, width, of.model().mmoe(), tasks);
      },
      options.tower(), complaints, device);
}

Result<std::unique_ptr<Model>> MakePle(const spec::Job& given, Device& device) {
  const spec::Job job = Completed(given);
  const spec::Ple& options = job.model().ple();
  Complaints complaints;
  PointwiseInputs inputs = ParseInputs(job, TaskCount::kSeveral, complaints);
  ExpectHidden(inputs, "expert", options.expert(), complaints);
  CheckMlp(options.gate(), inputs.path("gate"), complaints);
  ExpectCount(inputs, "layers", options.layers(), complaints);
  ExpectCount(inputs, "task_experts", options.task_experts(), complaints);
  ExpectCount(inputs, "shared_experts", options.shared_experts(), complaints);
  return Make(
      std::move(inputs), job,
      [](const spec::Job& of, ParameterList& list, int64_t width,
         const std::vector<Task>& tasks) -> std::unique_ptr<Bottom> {
        return std::make_unique<Extraction>(list, width, of.model().ple(), tasks);
      },
      options.tower(), complaints, device);
}

Result<std::unique_ptr<Model>> MakeEsmm(const spec::Job& given, Device& device) {
  const spec::Job job = Completed(given);
  Complaints complaints;
  PointwiseInputs inputs = ParseInputs(job, TaskCount::kSeveral, complaints);
  for (size_t k = 1; k < inputs.tasks.size(); ++k) {
    if (inputs.tasks[k].entire_space) continue;
    complaints.Add("task '" + inputs.tasks[k].name + "'",
                   "an esmm model trains every task but the first on all samples; set "
                   "entire_space: true and given");
  }
  return Make(
      std::move(inputs), job,
      [](const spec::Job& /*of*/, ParameterList& /*list*/, int64_t width,
         const std::vector<Task>& tasks) -> std::unique_ptr<Bottom> {
        return std::make_unique<Direct>(width, tasks.size());
      },
      job.model().esmm().tower(), complaints, device);
}

}  // namespace emporium::models
