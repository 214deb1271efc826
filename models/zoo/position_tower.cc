#include "models/zoo/position_tower.h"

#include <ATen/ops/addcmul.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "models/rows.h"
#include "proto/check.h"
#include "proto/model_options.h"

namespace emporium::models {

namespace {

constexpr spec::FeatureSource kSources[] = {spec::ROW};
constexpr uint32_t kMaxPlaces = 65535;
constexpr float kPlaceStddev = 0.1f;

spec::Mlp MlpOf(const spec::PositionTower& options) {
  spec::Mlp mlp = options.mlp();
  if (!options.has_mlp()) mlp.add_hidden(16);
  return mlp;
}

void CheckOptions(const spec::PositionTower& options, const std::string& path,
                  Complaints& complaints) {
  const bool product = options.form() == spec::PositionTower::PRODUCT;
  if (options.places() == 0 || options.places() > kMaxPlaces) {
    complaints.Add(path + ".places", std::to_string(options.places()) + " is outside 1 to " +
                                         std::to_string(kMaxPlaces) + "; give a number in it");
  }
  if (options.width() == 0) {
    complaints.Add(path + ".width", "a place's vector has no number; give at least 1");
  }
  CheckRate(path + ".missing_rate", options.missing_rate(), complaints);
  if (product && options.has_missing_rate()) {
    complaints.Add(path + ".missing_rate", "form PRODUCT hides no places; remove it");
  }
  if (!product && options.has_anchor_first()) {
    complaints.Add(path + ".anchor_first", "it is for form PRODUCT; remove it, or set the form");
  }
  const spec::Mlp& mlp = options.mlp();
  CheckMlp(mlp, path + ".mlp", complaints);
  if (mlp.batch_norm() || mlp.dropout() > 0 || mlp.activation() == spec::Mlp::DICE) {
    complaints.Add(path + ".mlp",
                   "the tower's answers to two places are compared, so they must not hang on the "
                   "batch or on chance; take no batch_norm, dropout or DICE");
  }
}

void CheckTask(std::span<const Task> tasks, bool product, const std::string& path,
               Complaints& complaints) {
  if (tasks.size() > 1) {
    complaints.Add(path, "a position tower is of one task, the job names " +
                             std::to_string(tasks.size()) + "; remove it, or all tasks but one");
  } else if (product && !tasks[0].binary) {
    complaints.Add(path + ".form",
                   "PRODUCT multiplies probabilities, and the task is not BINARY; "
                   "take ADDITIVE");
  }
}

}  // namespace

PositionInputs ParsePosition(const spec::Job& job, std::span<const Task> tasks, size_t first_field,
                             Complaints& complaints) {
  PositionInputs inputs;
  if (!job.model().has_position()) return inputs;
  inputs.options = job.model().position();
  inputs.first_field = first_field;
  const std::string path = "model.position";
  if (inputs.options->column().empty()) {
    complaints.Add(path + ".column", "there is none; name the INT column that holds places");
  }
  CheckOptions(*inputs.options, path, complaints);
  CheckTask(tasks, inputs.options->form() == spec::PositionTower::PRODUCT, path, complaints);
  auto column = static_cast<int32_t>(inputs.options->width());
  std::vector<std::string> taken = InputFeatures(job);
  for (const std::string& name : PositionFeatures(job)) {
    const auto found = FindTableFeature(job, path + ".with", name, kSources, complaints);
    if (!found) continue;
    if (found->feature->slot_input_size() > 0) {
      complaints.Add(path + ".with", "feature '" + name +
                                         "' has slot_input, which only the model reads; take "
                                         "another feature");
    }
    if (std::count(taken.begin(), taken.end(), name) > 1) {
      complaints.Add(path + ".with",
                     "feature '" + name + "' enters twice; leave it to the tower or to the model");
    }
    inputs.with.push_back({name, found->dim(), PoolKindOf(found->feature->pooling()), column});
    column += found->dim();
  }
  return inputs;
}

std::vector<float> PlacedLogits::Labels(std::span<const float> labels) const {
  std::vector<float> all(static_cast<size_t>(logits.numel()) - labels.size(), 1.0f);
  all.insert(all.end(), labels.begin(), labels.end());
  return all;
}

PositionTower::PositionTower(ParameterList& list, const PositionInputs& inputs) : inputs_(inputs) {
  if (!inputs.options) return;
  const spec::PositionTower& options = *inputs.options;
  width_ = static_cast<int32_t>(options.width());
  for (const InputField& field : inputs.with) width_ += field.dim;
  const size_t first = list.parameters().size();
  place_ = list.Add("position.place", {int64_t{options.places()} + 1, int64_t{options.width()}},
                    Start::Normal(kPlaceStddev));
  mlp_ = Mlp(list, "position.mlp", width_, MlpOf(options), 1);
  list.MarkTrainOnly(first);
}

PlacedLogits PositionTower::Attach(Pass& pass, const at::Tensor& z,
                                   const std::vector<Task>& tasks) const {
  if (!inputs_.options) return {z, tasks};
  EMPORIUM_CHECK(pass.training(), "what is scored hides the place");
  const std::span<const int32_t> places = pass.Keep(Places(pass));
  const at::Tensor x = Inputs(pass, places);
  if (inputs_.options->form() == spec::PositionTower::ADDITIVE) return {Added(pass, x, z), tasks};
  // A product of the same kind as that of a click and what is bought after it (models/tasks.h):
  // that an item is seen goes before, and of that nothing is observed but the product.
  Task wanted = tasks[0];
  wanted.given = 0;
  wanted.entire_space = true;
  return {SeenAndWanted(pass, x, places, z), {Task{}, wanted}};
}

// One draw for each sample, so that what is hidden hangs on the samples alone.
std::vector<int32_t> PositionTower::Places(Pass& pass) const {
  const Batch& batch = pass.batch();
  EMPORIUM_CHECK(batch.place.size() == static_cast<size_t>(batch.samples),
                 "a batch has the place of every sample");
  const spec::PositionTower& options = *inputs_.options;
  const auto last = static_cast<int32_t>(options.places());
  const bool hides = options.form() == spec::PositionTower::ADDITIVE && options.missing_rate() > 0;
  std::vector<int32_t> places;
  places.reserve(batch.place.size());
  for (const int32_t place : batch.place) {
    const bool hidden = hides && pass.random().Uniform() < options.missing_rate();
    places.push_back(hidden ? 0 : std::min(place, last));
  }
  return places;
}

at::Tensor PositionTower::Inputs(Pass& pass, std::span<const int32_t> places) const {
  std::vector<RowPart> parts(1);
  parts[0].source = pass.dense(place_);
  parts[0].lists = ListsOf(places);
  const std::vector<FieldColumn>& columns = pass.batch().fields;
  for (size_t i = 0; i < inputs_.with.size(); ++i) {
    const InputField& field = inputs_.with[i];
    const size_t at = inputs_.first_field + i;
    EMPORIUM_CHECK(at < columns.size() && columns[at].feature == field.feature,
                   "a batch's fields of the tower stand behind the model's");
    parts.push_back(TablePart(pass, columns[at].rows, field.pool, field.dim));
    parts.back().column = field.column;
  }
  return AssembleRows(pass, pass.batch().samples, width_, std::move(parts));
}

at::Tensor PositionTower::Added(Pass& pass, const at::Tensor& x, const at::Tensor& z) const {
  at::Tensor hidden = pass.dense(place_).narrow(0, 0, 1);
  if (const int64_t rest = width_ - hidden.size(1); rest > 0) {
    hidden = at::cat({hidden, at::zeros({1, rest}, pass.options())}, 1);
  }
  const at::Tensor f = mlp_.Forward(pass, at::cat({x, hidden}, 0)).select(1, 0);
  return z.reshape({-1}).add(f.narrow(0, 0, x.size(0))).sub(f.narrow(0, x.size(0), 1));
}

// [2, B]: logits of being seen, then z. Seen for certain is the logit infinity.
at::Tensor PositionTower::SeenAndWanted(Pass& pass, const at::Tensor& x,
                                        std::span<const int32_t> places,
                                        const at::Tensor& z) const {
  const at::Tensor f = mlp_.Forward(pass, x).select(1, 0);
  if (!inputs_.options->anchor_first()) return at::cat({f, z.reshape({-1})}, 0);
  const at::Tensor start = at::empty({x.size(0)}, at::kFloat);
  const at::Tensor sign = at::empty({x.size(0)}, at::kFloat);
  for (size_t b = 0; b < places.size(); ++b) {
    const bool first = places[b] == 1;
    start.data_ptr<float>()[b] = first ? std::numeric_limits<float>::infinity() : 0;
    sign.data_ptr<float>()[b] = first ? 0 : -1;
  }
  const at::Tensor seen = at::addcmul(pass.ToDevice(start), pass.ToDevice(sign), f);
  return at::cat({seen, z.reshape({-1})}, 0);
}

}  // namespace emporium::models
