// PEPNet (models.md M12) [THIRD-PARTY]: gates of the scenario e_s on the inputs (EPNet) and of the
// personal features p on the input of every layer of the MLP (PPNet), h_0 = x',
//
//   x'    = gate([e_s; sg(x)]) (.) x
//   h_l+1 = layer_l(gate_l([p; sg(x')]) (.) h_l)
//
// sg: without gradient, inside the gates' inputs alone.
#include <ATen/ops/cat.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "models/layers/mlp.h"
#include "models/layers/scenario.h"
#include "models/registry.h"
#include "models/zoo/pointwise_model.h"

namespace emporium::models {

namespace {

class PepNetModel final : public PointwiseModel {
 public:
  // `personal`: places among the fields.
  PepNetModel(PointwiseInputs given, std::vector<size_t> personal, const spec::PepNet& options,
              const spec::Mlp& mlp, Device& device)
      : PointwiseModel(std::move(given), device), personal_(std::move(personal)) {
    const int64_t width = inputs().width();
    const int64_t hidden = options.gate_width();
    const int64_t scenario_width = options.scenario_width();
    vectors_ = ScenarioVectors(list(), inputs().scenarios, scenario_width);
    inputs_gate_ = GateUnit(list(), "inputs_gate", scenario_width + width, hidden, width, false);
    mlp_ = Mlp(list(), "mlp", width, mlp, 1);
    if (personal_.empty()) return;
    int64_t gate_in = width;
    for (const size_t f : personal_) gate_in += inputs().fields[f].dim;
    for (size_t l = 0; l < mlp_.input_widths().size(); ++l) {
      gates_.emplace_back(list(), "gate" + std::to_string(l), gate_in, hidden,
                          mlp_.input_widths()[l], false);
    }
  }

 private:
  at::Tensor Logits(Pass& pass) const override {
    const at::Tensor x = Inputs(pass);
    const at::Tensor of_scenario =
        inputs_gate_.Forward(pass, at::cat({vectors_.Forward(pass), x.detach()}, 1));
    const at::Tensor fitted = x.mul(of_scenario);
    if (gates_.empty()) return mlp_.Forward(pass, fitted).select(1, 0);
    std::vector<at::Tensor> parts;
    for (const size_t f : personal_) {
      parts.push_back(x.narrow(1, inputs().fields[f].column, inputs().fields[f].dim));
    }
    parts.push_back(fitted.detach());
    const at::Tensor read = at::cat(parts, 1);
    std::vector<at::Tensor> gates;
    gates.reserve(gates_.size());
    for (const GateUnit& gate : gates_) gates.push_back(gate.Forward(pass, read));
    return mlp_.ForwardGated(pass, fitted, gates).select(1, 0);
  }

  const std::vector<size_t> personal_;
  ScenarioVectors vectors_;
  GateUnit inputs_gate_;
  std::vector<GateUnit> gates_;  // of the linear layers
  Mlp mlp_;
};

std::vector<size_t> PersonalFields(const PointwiseInputs& inputs, const spec::PepNet& options,
                                   Complaints& complaints) {
  std::vector<size_t> places;
  for (int i = 0; i < options.personal_size(); ++i) {
    const auto field = std::find_if(
        inputs.fields.begin(), inputs.fields.end(),
        [&](const PointwiseInputs::Field& f) { return f.feature == options.personal(i); });
    const auto place = static_cast<size_t>(field - inputs.fields.begin());
    const std::string path = inputs.path("personal[" + std::to_string(i) + "]");
    if (field == inputs.fields.end()) {
      complaints.Add(path, "no feature '" + options.personal(i) +
                               "' with a table enters the model; name one that does");
    } else if (std::find(places.begin(), places.end(), place) != places.end()) {
      complaints.Add(path, "'" + options.personal(i) + "' is named twice; name it once");
    }
    places.push_back(place);
  }
  return places;
}

}  // namespace

Result<std::unique_ptr<Model>> MakePepNet(const spec::Job& job, Device& device) {
  const spec::PepNet& options = job.model().pepnet();
  Complaints complaints;
  PointwiseInputs inputs = ParseInputs(job, TaskCount::kOne, complaints);
  const spec::Mlp mlp =
      MlpOr(options.mlp(), options.has_mlp(), {512, 256, 128}, "model.pepnet.mlp", complaints);
  ExpectWidth("model.pepnet.scenario_width", options.scenario_width(), complaints);
  ExpectWidth("model.pepnet.gate_width", options.gate_width(), complaints);
  std::vector<size_t> personal = PersonalFields(inputs, options, complaints);
  EMPORIUM_RETURN_IF_ERROR(complaints.ToStatus());
  return std::unique_ptr<Model>(
      std::make_unique<PepNetModel>(std::move(inputs), std::move(personal), options, mlp, device));
}

}  // namespace emporium::models
