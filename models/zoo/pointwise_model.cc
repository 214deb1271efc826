#include "models/zoo/pointwise_model.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "models/losses.h"
#include "models/tasks.h"
#include "proto/check.h"
#include "proto/model_options.h"

namespace emporium::models {

namespace {

constexpr spec::FeatureSource kSources[] = {spec::ROW, spec::HISTORY, spec::ITEM};

void ParseLinearTable(const spec::Job& job, PointwiseInputs& inputs, Complaints& complaints) {
  const std::string name = LinearTable(job);
  if (name.empty()) return;
  inputs.linear = true;
  const auto table = FindTable(job, name);
  if (!table) {
    complaints.Add(inputs.path("linear_table"),
                   "there is no table '" + name + "'; add it or correct the name");
  } else if (job.table(table->value()).dim() != 1) {
    complaints.Add(inputs.path("linear_table"),
                   "table '" + name + "' must have dim 1, it has " +
                       std::to_string(job.table(table->value()).dim()));
  }
}

}  // namespace

PointwiseInputs ParseInputs(const spec::Job& job, TaskCount tasks, Complaints& complaints) {
  PointwiseInputs inputs;
  inputs.model = ModelName(job);
  inputs.tasks = ParseTasks(job, complaints);
  inputs.loss_periods = LossPeriodsBefore(job, job.stage_size());
  if (tasks != TaskCount::kAny && (inputs.tasks.size() > 1) != (tasks == TaskCount::kSeveral)) {
    complaints.Add("task", "a " + inputs.model + " model has " +
                               (tasks == TaskCount::kOne ? "one task" : "two tasks or more") +
                               ", the job names " + std::to_string(job.task_size()) +
                               "; change the tasks, or take another model");
  }
  if (TellsScenarios(job)) {
    inputs.scenarios = job.data().scenario().value_size();
    if (inputs.scenarios == 0) {
      complaints.Add("data.scenario", "a " + inputs.model +
                                          " model tells scenarios apart; name their column and its "
                                          "values");
    }
  }
  for (const std::string& name : PlainFeatures(job)) {
    const spec::Feature* feature = FindFeature(job, name);
    if (feature != nullptr && feature->source() == spec::ROW && !feature->has_table()) {
      ++inputs.dense_width;
      continue;
    }
    const auto found = FindTableFeature(job, inputs.path("feature"), name, kSources, complaints);
    if (!found) continue;
    inputs.fields.push_back(
        {name, found->dim(), PoolKindOf(found->feature->pooling()), inputs.embedded});
    inputs.embedded += found->dim();
  }
  for (const std::string& name : InputFeatures(job)) {
    const spec::Feature* feature = FindFeature(job, name);
    if (feature != nullptr) inputs.dense_width += feature->slot_input_size();
  }
  if (inputs.fields.empty() && SequencePairs(job).empty() && complaints.empty()) {
    complaints.Add(inputs.path("feature"), "no feature with a table enters; add one");
  }
  ParseLinearTable(job, inputs, complaints);
  const size_t fields = inputs.fields.size() + 2 * SequencePairs(job).size() +
                        QueryFeatures(job).size() + (KindFeature(job).empty() ? 0 : 1);
  inputs.position = ParsePosition(job, inputs.tasks, fields, complaints);
  for (const spec::Stage& stage : job.stage()) {
    const spec::PointwiseLoss& loss = stage.train().pointwise();
    inputs.uncertainty |= loss.weights() == spec::PointwiseLoss::UNCERTAINTY;
    if (!stage.has_train() || stage.train().has_pointwise()) continue;
    complaints.Add("stage '" + stage.name() + "'",
                   "a " + inputs.model + " model trains with the pointwise loss; set pointwise {}");
  }
  return inputs;
}

void ExpectOneWidth(const spec::Job& job, const PointwiseInputs& inputs, int32_t dim,
                    Complaints& complaints) {
  const auto table = [&job](const PointwiseInputs::Field& field) {
    return "table '" + FindFeature(job, field.feature)->table() + "'";
  };
  for (const PointwiseInputs::Field& field : inputs.fields) {
    const PointwiseInputs::Field& first = inputs.fields[0];
    if (field.dim == (dim > 0 ? dim : first.dim)) continue;
    const std::string wanted =
        dim > 0
            ? "it needs dim " + std::to_string(dim) + " in a " + inputs.model + " model"
            : table(first) + " has " + std::to_string(first.dim) + "; the fields need one width";
    complaints.Add(inputs.path("feature"), table(field) + " of feature '" + field.feature +
                                               "' has dim " + std::to_string(field.dim) + ", " +
                                               wanted);
  }
}

PointwiseModel::PointwiseModel(PointwiseInputs inputs, Device& device)
    : inputs_(std::move(inputs)), device_(device) {
  needs_.labels = true;
  needs_.tasks = inputs_.tasks;
  needs_.scenarios = inputs_.scenarios;
  const auto tasks = static_cast<int64_t>(inputs_.tasks.size());
  if (inputs_.uncertainty) task_weight_ = list_.Add("task_weight", {tasks}, Start::Constant(0));
  if (inputs_.loss_periods > 0) {
    task_loss_ = list_.AddStatistic("task_loss", {inputs_.loss_periods, tasks}, 0);
  }
  position_ = PositionTower(list_, inputs_.position);
}

void PointwiseModel::Initialize(uint64_t seed, std::span<float> values) const {
  list_.Initialize(seed, values);
}

std::vector<double> PointwiseModel::TaskWeights(Pass& pass, const spec::PointwiseLoss& loss) const {
  const size_t tasks = inputs_.tasks.size();
  std::vector<double> weights(tasks, 1.0);
  if (loss.weights() == spec::PointwiseLoss::FIXED) {
    for (size_t k = 0; k < tasks; ++k) weights[k] = inputs_.tasks[k].weight;
  } else if (loss.weights() == spec::PointwiseLoss::UNCERTAINTY) {
    const at::Tensor s = pass.ToHost(pass.dense(task_weight_));
    for (size_t k = 0; k < tasks; ++k) weights[k] = std::exp(-double{s.data_ptr<float>()[k]});
  } else if (pass.batch().period >= pass.batch().first_period + 2) {
    const at::Tensor sums = pass.ToHost(pass.dense(task_loss_));
    const auto row = [&](int32_t period) {
      return std::span<const float>(sums.data_ptr<float>() + period * tasks, tasks);
    };
    const int32_t now = pass.batch().period;
    weights = DwaWeights(row(now - 1), row(now - 2), loss.temperature());
  }
  return weights;
}

// The statistics' rule adds a part of minus the "gradient": sums over an epoch's steps come of it,
// of which DWA reads the ratios alone.
void PointwiseModel::ObserveLosses(Pass& pass, std::span<const LossValue> losses) const {
  const auto tasks = static_cast<int64_t>(losses.size());
  const at::Tensor seen = at::zeros({inputs_.loss_periods, tasks}, at::kFloat);
  EMPORIUM_CHECK(pass.batch().period < inputs_.loss_periods, "every epoch has a row");
  for (int64_t k = 0; k < tasks; ++k) {
    seen.data_ptr<float>()[pass.batch().period * tasks + k] =
        static_cast<float>(losses[static_cast<size_t>(k)].value);
  }
  pass.ObserveSum(task_loss_, pass.ToDevice(seen));
}

Result<std::vector<LossTerm>> PointwiseModel::Train(const Batch& batch, const RowSet& rows,
                                                    const DenseSet& dense, const spec::Train& train,
                                                    uint64_t random_seed) {
  const spec::PointwiseLoss& loss = train.pointwise();
  Pass pass(device_, list_, batch, rows, dense, random_seed);
  const PlacedLogits placed = position_.Attach(pass, Logits(pass), inputs_.tasks);
  const at::Tensor& logits = placed.logits;
  const at::Tensor values = pass.ToHost(logits);
  const at::Tensor gradient = at::zeros_like(values);
  const size_t tasks = inputs_.tasks.size();
  const auto all = placed.tasks.size() * static_cast<size_t>(batch.samples);
  EMPORIUM_CHECK(static_cast<size_t>(values.numel()) == all, "a logit for each task and sample");
  const std::vector<float> labels = placed.Labels(batch.label);
  const std::vector<double> weights = TaskWeights(pass, loss);
  const bool learned = loss.weights() == spec::PointwiseLoss::UNCERTAINTY;
  std::vector<LossTerm> terms = {{"loss", 0, batch.samples}};
  std::vector<LossValue> losses;
  std::vector<float> by_weight;  // d loss / d s_k
  for (size_t k = 0; k < tasks; ++k) {
    const std::string& name = inputs_.tasks[k].name;
    losses.push_back(TaskLoss(placed.tasks, placed.tasks.size() - tasks + k,
                              {values.data_ptr<float>(), all}, labels, batch.weight, weights[k],
                              {gradient.data_ptr<float>(), all}));
    const LossValue& own = losses.back();
    terms.push_back({name.empty() ? "bce" : name, own.value, own.samples});
    EMPORIUM_RETURN_IF_ERROR(CheckFinite(terms.back().name, own.value));
    terms[0].value += weights[k] * own.value - (learned ? std::log(weights[k]) : 0);
    by_weight.push_back(static_cast<float>(1 - weights[k] * own.value));
  }
  if (loss.weights() == spec::PointwiseLoss::DWA) ObserveLosses(pass, losses);
  std::vector<at::Tensor> roots = {logits};
  std::vector<at::Tensor> gradients = {pass.ToDevice(gradient)};
  if (learned) {
    roots.push_back(pass.dense(task_weight_));
    gradients.push_back(pass.ToDevice(
        at::from_blob(by_weight.data(), {static_cast<int64_t>(tasks)}, at::kFloat).clone()));
  }
  pass.Backward(roots, gradients);
  return terms;
}

Status PointwiseModel::Score(const Batch& batch, const RowSet& rows, const DenseSet& dense,
                             std::span<float> logits) {
  at::NoGradGuard no_grad;
  if (logits.size() != inputs_.tasks.size() * static_cast<size_t>(batch.samples)) {
    return InvalidArgument("scores: the buffer does not fit " + std::to_string(batch.samples) +
                           " samples of " + std::to_string(inputs_.tasks.size()) + " tasks");
  }
  Pass pass(device_, list_, batch, rows, dense, std::nullopt);
  const at::Tensor result = pass.ToHost(Logits(pass));
  std::memcpy(logits.data(), result.data_ptr<float>(), sizeof(float) * logits.size());
  return Status::Ok();
}

Status PointwiseModel::ItemVectors(const Batch&, const RowSet&, const DenseSet&,
                                   std::span<const float>, std::span<float>) {
  return InvalidArgument("a " + inputs_.model + " model scores samples; it has no item vectors");
}

Status PointwiseModel::UserVectors(const Batch&, const RowSet&, const DenseSet&, std::span<float>) {
  return InvalidArgument("a " + inputs_.model + " model scores samples; it has no user vectors");
}

Status PointwiseModel::PopularityLogits(const DenseSet&, std::span<const float>, std::span<float>) {
  return InvalidArgument("a " + inputs_.model + " model scores samples; it has no popularity part");
}

RowPart PointwiseModel::FieldPart(Pass& pass, size_t f) const {
  const PointwiseInputs::Field& field = inputs_.fields[f];
  const std::vector<FieldColumn>& columns = pass.batch().fields;
  EMPORIUM_CHECK(f < columns.size() && columns[f].feature == field.feature,
                 "a batch's fields stand in the order of the model's features");
  return TablePart(pass, columns[f].rows, field.pool, field.dim);
}

at::Tensor PointwiseModel::Inputs(Pass& pass) const {
  std::vector<RowPart> parts;
  for (size_t f = 0; f < inputs_.fields.size(); ++f) {
    parts.push_back(FieldPart(pass, f));
    parts.back().column = inputs_.fields[f].column;
  }
  if (inputs_.dense_width > 0) {
    const Batch& batch = pass.batch();
    EMPORIUM_CHECK(batch.dense_width == inputs_.dense_width, "a batch has every dense input");
    RowPart dense;
    dense.constant = batch.dense.data();
    dense.dim = inputs_.dense_width;
    dense.column = inputs_.embedded;
    parts.push_back(std::move(dense));
  }
  return AssembleRows(pass, pass.batch().samples, inputs_.width(), std::move(parts));
}

at::Tensor PointwiseModel::DenseColumns(const at::Tensor& x) const {
  return x.narrow(1, inputs_.embedded, inputs_.dense_width);
}

at::Tensor PointwiseModel::LinearRows(Pass& pass) const {
  const std::vector<FieldColumn>& columns = pass.batch().fields;
  const size_t fields = inputs_.fields.size();
  std::vector<RowPart> parts;
  parts.reserve(fields);
  for (size_t f = 0; f < fields; ++f) {
    // The batch has the linear table's fields behind all others.
    const size_t at = fields + inputs_.position.with.size() + f;
    EMPORIUM_CHECK(at < columns.size() && columns[at].feature == inputs_.fields[f].feature,
                   "a batch has every field of the linear table");
    parts.push_back(TablePart(pass, columns[at].rows, PoolKind::kSum, 1));
  }
  return AssembleRows(pass, pass.batch().samples, 1, std::move(parts)).select(1, 0);
}

}  // namespace emporium::models
