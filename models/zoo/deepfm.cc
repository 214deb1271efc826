// The models of models.md M1 [CODE: FuxiCTR, DeepCTR]: sums of three parts over the fields of a
// sample, of which each has some.
//
//   x     = [e_1; ...; e_F] [B, F d]
//   logit = sum_f w_f + <w_dense, dense>                     linear: lr, fm, wdl, deepfm
//         + 1/2 sum_k ((sum_f e_fk)^2 - sum_f e_fk^2)        factorisation machine: fm, deepfm
//         + MLP([x; dense]), else a learned bias             dnn, wdl, deepfm
//
// lr has no vectors: its features' own rows are the w_f.
#include <ATen/ops/mv.h>

#include <memory>
#include <utility>

#include "models/layers/mlp.h"
#include "models/registry.h"
#include "models/zoo/pointwise_model.h"

namespace emporium::models {

namespace {

struct Parts {
  bool rows = false;    // linear part made of the features' own rows
  bool linear = false;  // ... or of those of a linear table
  bool fm = false;
  spec::Mlp mlp;  // no hidden layer: none
};

class AdditiveModel final : public PointwiseModel {
 public:
  AdditiveModel(PointwiseInputs given, const Parts& parts, Device& device)
      : PointwiseModel(std::move(given), device), parts_(parts) {
    if (parts.mlp.hidden_size() == 0) {
      bias_ = list().Add("bias", {1}, Start::Constant(0));
    } else {
      mlp_ = Mlp(list(), "mlp", inputs().width(), parts.mlp, 1);
    }
    if ((parts.linear || parts.rows) && inputs().dense_width > 0) {
      linear_dense_ = list().Add("linear.dense", {inputs().dense_width}, Start::Constant(0));
    }
  }

 private:
  at::Tensor Logits(Pass& pass) const override {
    const at::Tensor x = Inputs(pass);
    at::Tensor logits;
    const auto add = [&logits](const at::Tensor& term) {
      logits = logits.defined() ? logits.add(term) : term;
    };
    if (mlp_.exists()) add(mlp_.Forward(pass, x).select(1, 0));
    if (parts_.fm) {
      const auto fields = static_cast<int32_t>(inputs().fields.size());
      add(FactorizationMachineOf(pass, x, fields, inputs().fields[0].dim));
    }
    if (parts_.rows) add(x.narrow(1, 0, inputs().embedded).sum(1));
    if (parts_.linear) add(LinearRows(pass));
    if (linear_dense_.exists()) add(at::mv(DenseColumns(x), pass.dense(linear_dense_)));
    if (bias_.exists()) add(pass.dense(bias_));
    return logits.contiguous();
  }

  const Parts parts_;
  Mlp mlp_;
  ParameterId bias_;
  ParameterId linear_dense_;
};

Result<std::unique_ptr<Model>> Make(PointwiseInputs inputs, const Parts& parts,
                                    const Complaints& complaints, Device& device) {
  EMPORIUM_RETURN_IF_ERROR(complaints.ToStatus());
  return std::unique_ptr<Model>(std::make_unique<AdditiveModel>(std::move(inputs), parts, device));
}

void ExpectHidden(const PointwiseInputs& inputs, const spec::Mlp& mlp, Complaints& complaints) {
  CheckMlp(mlp, inputs.path("mlp"), complaints);
  if (mlp.hidden_size() > 0) return;
  complaints.Add(inputs.path("mlp.hidden"), "there is no hidden layer; give widths");
}

}  // namespace

Result<std::unique_ptr<Model>> MakeLr(const spec::Job& job, Device& device) {
  Complaints complaints;
  PointwiseInputs inputs = ParseInputs(job, TaskCount::kOne, complaints);
  ExpectOneWidth(job, inputs, 1, complaints);
  Parts parts;
  parts.rows = true;
  return Make(std::move(inputs), parts, complaints, device);
}

Result<std::unique_ptr<Model>> MakeFm(const spec::Job& job, Device& device) {
  Complaints complaints;
  PointwiseInputs inputs = ParseInputs(job, TaskCount::kOne, complaints);
  ExpectOneWidth(job, inputs, 0, complaints);
  Parts parts;
  parts.linear = inputs.linear;
  parts.fm = true;
  return Make(std::move(inputs), parts, complaints, device);
}

Result<std::unique_ptr<Model>> MakeDnn(const spec::Job& job, Device& device) {
  Complaints complaints;
  PointwiseInputs inputs = ParseInputs(job, TaskCount::kOne, complaints);
  Parts parts;
  parts.mlp = job.model().dnn().mlp();
  ExpectHidden(inputs, parts.mlp, complaints);
  return Make(std::move(inputs), parts, complaints, device);
}

Result<std::unique_ptr<Model>> MakeWdl(const spec::Job& job, Device& device) {
  Complaints complaints;
  PointwiseInputs inputs = ParseInputs(job, TaskCount::kOne, complaints);
  if (!inputs.linear) {
    complaints.Add(inputs.path("linear_table"),
                   "a wdl model has a linear part; name a table with dim 1, or use dnn {}");
  }
  Parts parts;
  parts.linear = true;
  parts.mlp = job.model().wdl().mlp();
  ExpectHidden(inputs, parts.mlp, complaints);
  return Make(std::move(inputs), parts, complaints, device);
}

Result<std::unique_ptr<Model>> MakeDeepFm(const spec::Job& job, Device& device) {
  const spec::DeepFm& options = job.model().deepfm();
  Complaints complaints;
  PointwiseInputs inputs = ParseInputs(job, TaskCount::kOne, complaints);
  ExpectOneWidth(job, inputs, 0, complaints);
  Parts parts;
  parts.linear = inputs.linear;
  parts.fm = options.fm();
  if (!options.has_mlp()) {
    *parts.mlp.mutable_hidden() = options.hidden();
    parts.mlp.set_dropout(options.dropout());
  } else if (options.hidden_size() > 0 || options.has_dropout()) {
    complaints.Add(inputs.path("mlp"), "hidden and dropout stand beside it; give them inside");
  } else {
    parts.mlp = options.mlp();
  }
  CheckMlp(parts.mlp, options.has_mlp() ? inputs.path("mlp") : "model.deepfm", complaints);
  if (!parts.linear && !parts.fm && parts.mlp.hidden_size() == 0) {
    complaints.Add("model.deepfm", "nothing is left to train; set linear_table, fm or hidden");
  }
  return Make(std::move(inputs), parts, complaints, device);
}

}  // namespace emporium::models
