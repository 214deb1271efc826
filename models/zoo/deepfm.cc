#include "models/zoo/deepfm.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/mv.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "models/layers/layers.h"
#include "models/losses.h"
#include "models/rows.h"
#include "proto/check.h"

namespace emporium::models {

namespace {

class DeepFmModel final : public Model {
 public:
  DeepFmModel(DeepFmOptions options, Device& device)
      : options_(std::move(options)), device_(device) {
    fields_ = static_cast<int32_t>(options_.fields.size());
    embedded_ = fields_ * options_.dim;
    if (options_.hidden.empty()) {
      bias_ = list_.Add("bias", {1}, Start::Constant(0));
    } else {
      mlp_ =
          Mlp(list_, "mlp", embedded_ + options_.dense_width, options_.hidden, 1, options_.dropout);
    }
    if (options_.linear && options_.dense_width > 0) {
      linear_dense_ = list_.Add("linear.dense", {options_.dense_width}, Start::Constant(0));
    }
  }

  const std::vector<DenseParameter>& parameters() const override { return list_.parameters(); }
  const Needs& needs() const override { return options_.needs; }
  void Initialize(uint64_t seed, std::span<float> values) const override {
    list_.Initialize(seed, values);
  }

  Result<std::vector<LossTerm>> Train(const Batch& batch, const RowSet& rows, const DenseSet& dense,
                                      const spec::Train&, uint64_t random_seed) override {
    Pass pass(device_, list_, batch, rows, dense, random_seed);
    const at::Tensor logits = Logits(pass);
    const at::Tensor values = pass.ToHost(logits);
    const at::Tensor gradient = at::zeros_like(values);
    const auto samples = static_cast<size_t>(batch.samples);
    const LossValue loss =
        BinaryCrossEntropy({values.data_ptr<float>(), samples}, batch.label, batch.weight, 1,
                           {gradient.data_ptr<float>(), samples});
    EMPORIUM_RETURN_IF_ERROR(CheckFinite("bce", loss.value));
    pass.Backward({logits}, {pass.ToDevice(gradient)});
    return std::vector<LossTerm>{{"loss", loss.value, loss.samples},
                                 {"bce", loss.value, loss.samples}};
  }

  Status Score(const Batch& batch, const RowSet& rows, const DenseSet& dense,
               std::span<float> logits) override {
    at::NoGradGuard no_grad;
    if (static_cast<int32_t>(logits.size()) != batch.samples) {
      return InvalidArgument("scores: the buffer does not fit " + std::to_string(batch.samples) +
                             " samples");
    }
    Pass pass(device_, list_, batch, rows, dense, std::nullopt);
    const at::Tensor result = pass.ToHost(Logits(pass));
    std::memcpy(logits.data(), result.data_ptr<float>(), sizeof(float) * logits.size());
    return Status::Ok();
  }

  Status ItemVectors(const Batch&, const RowSet&, const DenseSet&, std::span<const float>,
                     std::span<float>) override {
    return InvalidArgument("a DeepFM model scores samples; it has no item vectors");
  }
  Status UserVectors(const Batch&, const RowSet&, const DenseSet&, std::span<float>) override {
    return InvalidArgument("a DeepFM model scores samples; it has no user vectors");
  }
  Status PopularityLogits(const DenseSet&, std::span<const float>, std::span<float>) override {
    return InvalidArgument("a DeepFM model scores samples; it has no popularity part");
  }

 private:
  // The part of field f, of the embedding tables or (with `linear`) of the linear table: the batch
  // has the fields of all features first, then as many again of the linear table.
  RowPart FieldPart(Pass& pass, int32_t f, bool linear) const;
  at::Tensor Inputs(Pass& pass) const;  // [B, F d + dense_width]
  at::Tensor LinearPart(Pass& pass, const at::Tensor& x) const;
  at::Tensor Logits(Pass& pass) const;  // [B], contiguous

  DeepFmOptions options_;
  Device& device_;
  ParameterList list_;
  Mlp mlp_;
  ParameterId bias_;
  ParameterId linear_dense_;
  int32_t fields_ = 0;
  int32_t embedded_ = 0;
};

RowPart DeepFmModel::FieldPart(Pass& pass, int32_t f, bool linear) const {
  const std::vector<FieldColumn>& columns = pass.batch().fields;
  const auto at = static_cast<size_t>(linear ? fields_ + f : f);
  EMPORIUM_CHECK(at < columns.size() && columns[at].feature == options_.fields[f].feature,
                 "a batch's fields stand in the order of the model's features");
  const PoolKind pool = linear ? PoolKind::kSum : options_.fields[f].pool;
  return TablePart(pass, columns[at].rows, pool, linear ? 1 : options_.dim);
}

at::Tensor DeepFmModel::Inputs(Pass& pass) const {
  std::vector<RowPart> parts;
  for (int32_t f = 0; f < fields_; ++f) {
    parts.push_back(FieldPart(pass, f, false));
    parts.back().column = f * options_.dim;
  }
  if (options_.dense_width > 0) {
    const Batch& batch = pass.batch();
    EMPORIUM_CHECK(batch.dense_width == options_.dense_width, "a batch has every dense input");
    RowPart dense;
    dense.constant = batch.dense.data();
    dense.dim = options_.dense_width;
    dense.column = embedded_;
    parts.push_back(std::move(dense));
  }
  return AssembleRows(pass, pass.batch().samples, embedded_ + options_.dense_width,
                      std::move(parts));
}

// Sum of the fields' width-1 rows, all parts of one column, and of the weighted dense inputs.
at::Tensor DeepFmModel::LinearPart(Pass& pass, const at::Tensor& x) const {
  std::vector<RowPart> parts;
  parts.reserve(static_cast<size_t>(fields_));
  for (int32_t f = 0; f < fields_; ++f) parts.push_back(FieldPart(pass, f, true));
  at::Tensor sum = AssembleRows(pass, pass.batch().samples, 1, std::move(parts)).select(1, 0);
  if (!linear_dense_.exists()) return sum;
  const at::Tensor dense = x.narrow(1, embedded_, options_.dense_width);
  return sum.add(at::mv(dense, pass.dense(linear_dense_)));
}

at::Tensor DeepFmModel::Logits(Pass& pass) const {
  const at::Tensor x = Inputs(pass);
  at::Tensor logits;
  const auto add = [&logits](const at::Tensor& term) {
    logits = logits.defined() ? logits.add(term) : term;
  };
  if (!options_.hidden.empty()) add(mlp_.Forward(pass, x).select(1, 0));
  if (options_.fm) add(FactorizationMachineOf(pass, x, fields_, options_.dim));
  if (options_.linear) add(LinearPart(pass, x));
  if (bias_.exists()) add(pass.dense(bias_));
  return logits.contiguous();
}

}  // namespace

std::unique_ptr<Model> MakeDeepFm(DeepFmOptions options, Device& device) {
  return std::make_unique<DeepFmModel>(std::move(options), device);
}

}  // namespace emporium::models
