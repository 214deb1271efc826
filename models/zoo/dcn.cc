// Cross networks (models.md M2) [CODE: FuxiCTR, DeepCTR]: dcn, dcn_v2 and dcn_mix. The layers stand
// in models/layers/cross.h, the structures in proto/job.proto.
#include <ATen/ops/cat.h>

#include <memory>
#include <utility>

#include "models/layers/cross.h"
#include "models/layers/mlp.h"
#include "models/registry.h"
#include "models/zoo/pointwise_model.h"

namespace emporium::models {

namespace {

using MakeCross = std::unique_ptr<CrossLayers> (*)(const spec::Job& job, ParameterList& list,
                                                   int64_t width);

struct Shape {
  spec::CrossStructure structure = spec::STACKED;
  spec::Mlp mlp;
};

class DcnModel final : public PointwiseModel {
 public:
  DcnModel(PointwiseInputs given, const Shape& shape, const spec::Job& job, MakeCross make_cross,
           Device& device)
      : PointwiseModel(std::move(given), device), structure_(shape.structure) {
    const int64_t width = inputs().width();
    cross_ = make_cross(job, list(), width);
    int64_t out = structure_ == spec::CROSS_ONLY || structure_ == spec::PARALLEL ? width : 0;
    if (structure_ == spec::STACKED || structure_ == spec::STACKED_PARALLEL) {
      stacked_ = Mlp(list(), "stacked", width, shape.mlp, 0);
      out += stacked_.width();
    }
    if (structure_ == spec::PARALLEL || structure_ == spec::STACKED_PARALLEL) {
      parallel_ = Mlp(list(), "parallel", width, shape.mlp, 0);
      out += parallel_.width();
    }
    out_ = Linear(list(), "out", out, 1);
  }

 private:
  at::Tensor Logits(Pass& pass) const override {
    const at::Tensor x = Inputs(pass);
    at::Tensor y = cross_->Forward(pass, x);
    if (stacked_.exists()) y = stacked_.Forward(pass, y);
    if (parallel_.exists()) y = at::cat({y, parallel_.Forward(pass, x)}, 1);
    return out_.Forward(pass, y).select(1, 0).contiguous();
  }

  const spec::CrossStructure structure_;
  std::unique_ptr<CrossLayers> cross_;
  Mlp stacked_;   // of the cross network's output
  Mlp parallel_;  // of the inputs
  Linear out_;
};

template <class Options>
Result<std::unique_ptr<Model>> Make(const spec::Job& job, const Options& options,
                                    Complaints& complaints, MakeCross make_cross, Device& device) {
  PointwiseInputs inputs = ParseInputs(job, TaskCount::kOne, complaints);
  Shape shape = {options.structure(), options.mlp()};
  if (!options.has_mlp()) {
    for (const uint32_t width : {512, 256, 128}) shape.mlp.add_hidden(width);
  }
  CheckMlp(shape.mlp, inputs.path("mlp"), complaints);
  if (shape.structure == spec::CROSS_ONLY && options.has_mlp()) {
    complaints.Add(inputs.path("mlp"), "structure CROSS_ONLY has none; remove it");
  } else if (shape.mlp.hidden_size() == 0) {
    complaints.Add(inputs.path("mlp.hidden"),
                   "there is no hidden layer; give widths, or set structure: CROSS_ONLY");
  }
  if (options.layers() == 0) {
    complaints.Add(inputs.path("layers"), "there is no cross layer; give at least 1");
  }
  EMPORIUM_RETURN_IF_ERROR(complaints.ToStatus());
  return std::unique_ptr<Model>(
      std::make_unique<DcnModel>(std::move(inputs), shape, job, make_cross, device));
}

}  // namespace

Result<std::unique_ptr<Model>> MakeDcn(const spec::Job& job, Device& device) {
  Complaints complaints;
  return Make(
      job, job.model().dcn(), complaints,
      [](const spec::Job& of, ParameterList& list, int64_t width) -> std::unique_ptr<CrossLayers> {
        return std::make_unique<VectorCross>(list, "cross", width, of.model().dcn().layers());
      },
      device);
}

Result<std::unique_ptr<Model>> MakeDcnV2(const spec::Job& job, Device& device) {
  Complaints complaints;
  return Make(
      job, job.model().dcn_v2(), complaints,
      [](const spec::Job& of, ParameterList& list, int64_t width) -> std::unique_ptr<CrossLayers> {
        return std::make_unique<MatrixCross>(list, "cross", width, of.model().dcn_v2().layers());
      },
      device);
}

Result<std::unique_ptr<Model>> MakeDcnMix(const spec::Job& job, Device& device) {
  const spec::DcnMix& options = job.model().dcn_mix();
  Complaints complaints;
  if (options.rank() == 0) complaints.Add("model.dcn_mix.rank", "it is 0; give at least 1");
  if (options.experts() == 0) complaints.Add("model.dcn_mix.experts", "it is 0; give at least 1");
  return Make(
      job, options, complaints,
      [](const spec::Job& of, ParameterList& list, int64_t width) -> std::unique_ptr<CrossLayers> {
        const spec::DcnMix& o = of.model().dcn_mix();
        return std::make_unique<MixedCross>(
            list, "cross",
            MixedCrossShape{width, o.layers(), o.rank(), o.experts(), o.gate_per_layer(),
                            o.tanh()});
      },
      device);
}

}  // namespace emporium::models
