// SFPNet (models.md M11): its structure is published, the equations are ours [OURS]. Each block
// fits the features e_f (those beside the pairs, then the target) and every event b_j of the
// history to the scenario e_s, all of one width d:
//
//   SAM   X     = [sg(e); sg(DAP(b)); e_s]             DAP: mean and spread of the events
//         e'    = gate_e(X) (.) e,  b'_j = gate_b(X) (.) b_j        gates start at exactly 1
//   RTM   C     = [e'; DAP(b'); e_s]
//         e_f  <- LN(e'_f + MLP_e(C)_f)
//         b_j  <- LN(b'_j + MLP_b([b'_j; C]))          C's part of the first layer once a sample
//
// and logit = MLP([dense inputs; e; e_s; DAP(b); r]), r = target attention of the target's e_f over
// the events b_j of the last block.
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "models/layers/mlp.h"
#include "models/layers/scenario.h"
#include "models/layers/spread.h"
#include "models/layers/target_attention.h"
#include "models/registry.h"
#include "models/rows.h"
#include "models/zoo/sequence_model.h"

namespace emporium::models {

namespace {

// What a block takes and gives.
struct Fitted {
  at::Tensor features;  // [B, F d]
  at::Tensor events;    // [E, d]
};

// What stays the same from block to block.
struct Scene {
  at::Tensor scenario;  // [B, d]
  EventsOfSamples of;
};

class SfpBlock {
 public:
  SfpBlock(ParameterList& list, const std::string& name, int64_t features, int64_t width,
           const spec::SfpNet& options, const spec::Mlp& residual)
      : width_(width),
        features_(features * width),
        spread_(options.spread()),
        stop_gradient_(options.stop_gradient()),
        adaptive_(options.adaptive()),
        tailoring_(options.tailoring()) {
    const int64_t context = features_ + PooledWidth(width, spread_) + width;
    if (adaptive_) {
      gates_ = GateUnit(list, name + ".gates", context, options.gate_width(), features_ + width,
                        /*neutral=*/true);
    }
    if (tailoring_) {
      of_features_ = Mlp(list, name + ".features", context, residual, features_);
      of_events_ = Mlp(list, name + ".events", width + context, residual, width);
      feature_norm_ = LayerNorm(list, name + ".features.norm", width);
      event_norm_ = LayerNorm(list, name + ".events.norm", width);
    }
  }

  Fitted Forward(Pass& pass, const Fitted& given, const Scene& scene) const {
    Fitted fitted = given;
    if (adaptive_) fitted = Adapt(pass, fitted, scene);
    if (tailoring_) fitted = Tailor(pass, fitted, scene);
    return fitted;
  }

 private:
  Fitted Adapt(Pass& pass, const Fitted& x, const Scene& scene) const {
    at::Tensor read = at::cat({x.features, PoolSpread(pass, x.events, scene.of, spread_)}, 1);
    if (stop_gradient_) read = read.detach();
    const at::Tensor gates = gates_.Forward(pass, at::cat({read, scene.scenario}, 1));
    const at::Tensor of_events =
        TakeRows(pass, gates.narrow(1, features_, width_), scene.of.sample);
    return {x.features.mul(gates.narrow(1, 0, features_)), x.events.mul(of_events)};
  }

  Fitted Tailor(Pass& pass, const Fitted& x, const Scene& scene) const {
    const at::Tensor context =
        at::cat({x.features, PoolSpread(pass, x.events, scene.of, spread_), scene.scenario}, 1);
    const at::Tensor features = x.features.add(of_features_.Forward(pass, context));
    const auto normal = [&](const at::Tensor& v) {
      return feature_norm_.Forward(pass, v.view({-1, width_})).view({-1, features_});
    };
    if (x.events.size(0) == 0) return {normal(features), x.events};
    const Linear& first = of_events_.first();
    const at::Tensor& w = first.weight(pass);
    const at::Tensor of_context =
        at::linear(context, w.narrow(1, width_, context.size(1)), first.bias(pass));
    const at::Tensor y = TakeRows(pass, of_context, scene.of.sample)
                             .add(at::linear(x.events, w.narrow(1, 0, width_)));
    const at::Tensor events = x.events.add(of_events_.ForwardFromFirst(pass, y));
    return {normal(features), event_norm_.Forward(pass, events)};
  }

  const int64_t width_;
  const int64_t features_;  // columns of all
  const bool spread_;
  const bool stop_gradient_;
  const bool adaptive_;
  const bool tailoring_;
  GateUnit gates_;
  Mlp of_features_;
  Mlp of_events_;
  LayerNorm feature_norm_;
  LayerNorm event_norm_;
};

class SfpNetModel final : public SequenceModel {
 public:
  SfpNetModel(SequenceInputs given, const spec::SfpNet& options, const spec::Mlp& residual,
              const spec::Mlp& attention, const spec::Mlp& mlp, Device& device)
      : SequenceModel(std::move(given), device), spread_(options.spread()) {
    const int64_t width = sequences().width;
    const auto features = static_cast<int64_t>(inputs().fields.size()) + 1;
    vectors_ = ScenarioVectors(list(), inputs().scenarios, width);
    for (uint32_t l = 0; l < options.blocks(); ++l) {
      blocks_.emplace_back(list(), "block" + std::to_string(l), features, width, options, residual);
    }
    attention_ = TargetAttention(list(), "attention", width, attention, options.softmax());
    const int64_t parts = features * width + width + PooledWidth(width, spread_) + width;
    mlp_ = Mlp(list(), "mlp", inputs().dense_width + parts, mlp, 1);
  }

 private:
  at::Tensor Logits(Pass& pass) const override {
    const Scene scene = {vectors_.Forward(pass), EventsOfSamples(pass, EventOffsets(pass))};
    std::vector<at::Tensor> parts;
    Fitted x = {Targets(pass), Events(pass)};
    if (inputs().width() > 0) {
      const at::Tensor plain = Inputs(pass);
      if (inputs().dense_width > 0) parts.push_back(DenseColumns(plain));
      x.features = at::cat({plain.narrow(1, 0, inputs().embedded), x.features}, 1);
    }
    for (const SfpBlock& block : blocks_) x = block.Forward(pass, x, scene);
    const int64_t width = sequences().width;
    const at::Tensor target = x.features.narrow(1, inputs().embedded, width);
    parts.push_back(x.features);
    parts.push_back(scene.scenario);
    parts.push_back(PoolSpread(pass, x.events, scene.of, spread_));
    parts.push_back(attention_.Forward(pass, target, x.events, {scene.of.offset, {}}));
    return mlp_.Forward(pass, at::cat(parts, 1)).select(1, 0).contiguous();
  }

  const bool spread_;
  ScenarioVectors vectors_;
  std::vector<SfpBlock> blocks_;
  TargetAttention attention_;
  Mlp mlp_;
};

}  // namespace

Result<std::unique_ptr<Model>> MakeSfpNet(const spec::Job& job, Device& device) {
  const spec::SfpNet& options = job.model().sfpnet();
  Complaints complaints;
  SequenceInputs inputs = ParseSequences(job, TaskCount::kOne, complaints);
  if (!inputs.pairs.empty()) ExpectOneWidth(job, inputs.plain, inputs.width, complaints);
  ExpectWidth("model.sfpnet.gate_width", options.gate_width(), complaints);
  if (options.blocks() == 0 || options.blocks() > 64) {
    complaints.Add("model.sfpnet.blocks",
                   std::to_string(options.blocks()) + " is outside 1 to 64; give a number inside");
  }
  const spec::Mlp residual =
      MlpOr(options.residual(), options.has_residual(), {64}, "model.sfpnet.residual", complaints);
  const spec::Mlp attention = MlpOr(options.attention(), options.has_attention(), {64},
                                    "model.sfpnet.attention", complaints);
  const spec::Mlp mlp =
      MlpOr(options.mlp(), options.has_mlp(), {512, 256, 128}, "model.sfpnet.mlp", complaints);
  EMPORIUM_RETURN_IF_ERROR(complaints.ToStatus());
  return std::unique_ptr<Model>(
      std::make_unique<SfpNetModel>(std::move(inputs), options, residual, attention, mlp, device));
}

}  // namespace emporium::models
