#include "models/zoo/retrieval.h"

#include <ATen/ops/empty.h>

#include <utility>

#include "models/losses.h"
#include "models/rows.h"

namespace emporium::models {

namespace {

constexpr float kSmallestScale = 0.01f;
constexpr float kLargestScale = 100;

// See LogPresence; the popularity stands with the rows of the items' table. Empty: no correction.
std::vector<float> LogQ(const Pass& pass, const spec::SampledSoftmax& spec) {
  bool certain = false;  // the whole catalogue is there: nothing to correct
  for (const spec::Negatives& negatives : spec.negatives()) {
    certain = certain || negatives.has_all();
  }
  if (!spec.log_q() || certain) return {};
  const Batch& batch = pass.batch();
  const CandidateColumns& candidates = batch.candidates;
  if (candidates.in_batch_draws == 0) return LogPresence(candidates, {}, 0);
  const TableRows& table = pass.table(batch.items.id.table);
  std::vector<float> popularity;
  popularity.reserve(candidates.item.size());
  for (int32_t item : candidates.item) {
    const int32_t row = batch.items.id.index[item];
    popularity.push_back(table.popularity == nullptr ? 0 : table.popularity[row]);
  }
  return LogPresence(candidates, popularity, table.popularity_total);
}

// Weights of the softmax's rows; empty: all 1.
std::vector<float> RowWeights(const Batch& batch) {
  if (batch.candidates.event.empty() || batch.weight.empty()) return batch.weight;
  std::vector<float> weights;
  int32_t sample = 0;
  for (int32_t event : batch.candidates.event) {
    while (event >= batch.history.offset[sample + 1]) ++sample;
    weights.push_back(batch.weight[sample]);
  }
  return weights;
}

}  // namespace

at::Tensor EmbedItems(Pass& pass, const ItemRows& rows) {
  const ItemColumns& items = pass.batch().items;
  if (items.count == 0) return at::empty({0, rows.dim}, pass.options());
  std::vector<RowPart> parts;
  parts.push_back(TablePart(pass, items.id, PoolKind::kSum, rows.dim));
  if (rows.words && !items.title.index.empty()) {
    parts.push_back(TablePart(pass, items.title, rows.pool, rows.dim));
    parts.back().weight = rows.weight;
  }
  return AssembleRows(pass, items.count, rows.dim, std::move(parts));
}

at::Tensor ScaleOf(const at::Tensor& a) { return a.exp().clamp(kSmallestScale, kLargestScale); }

Result<std::vector<LossTerm>> TrainSampledSoftmax(Pass& pass, const at::Tensor& logits,
                                                  const spec::SampledSoftmax& spec) {
  const Batch& batch = pass.batch();
  const std::vector<float> log_q = LogQ(pass, spec);
  const std::vector<float> weights = RowWeights(batch);
  // Nothing in the graph reads the logits again, so the gradient may take their place.
  const at::Tensor gradient = pass.ToHost(logits.detach());
  const LossValue loss = SampledSoftmaxLoss(gradient, batch.candidates, log_q, weights,
                                            static_cast<double>(spec.positives_power()));
  EMPORIUM_RETURN_IF_ERROR(CheckFinite("softmax", loss.value));
  pass.Backward({logits}, {pass.ToDevice(gradient)});
  return std::vector<LossTerm>{{"loss", loss.value, loss.samples},
                               {"softmax", loss.value, loss.samples}};
}

std::optional<TableFeature> FindAddedFeature(const spec::Job& job, const std::string& field,
                                             const std::string& name,
                                             std::span<const spec::FeatureSource> sources,
                                             int32_t dim, Complaints& complaints) {
  auto found = FindTableFeature(job, field, name, sources, complaints);
  if (found && dim != 0 && found->dim() != dim) {
    complaints.Add(field, "table '" + found->table->name() + "' has dim " +
                              std::to_string(found->dim()) + ", the item's table " +
                              std::to_string(dim) +
                              "; their rows are added up, so make them equal");
  }
  return found;
}

void FindPopularityTable(const spec::Job& job, const std::string& item_feature, Needs* needs,
                         Complaints& complaints) {
  bool counts_draws = false;
  for (const spec::Stage& stage : job.stage()) {
    const spec::SampledSoftmax& softmax = stage.train().sampled_softmax();
    for (const spec::Negatives& negatives : softmax.negatives()) {
      counts_draws = counts_draws || (negatives.has_in_batch() && softmax.log_q());
    }
  }
  const spec::Feature* item = FindFeature(job, item_feature);
  const auto table = FindTable(job, item == nullptr ? "" : item->table());
  if (!counts_draws || !table) return;
  if (!job.table(table->value()).has_popularity()) {
    complaints.Add("table '" + job.table(table->value()).name() + "'",
                   "in-batch negatives with log_q need the popularity of the items; add "
                   "popularity {} to the table");
  }
  needs->popularity_tables.push_back(*table);
}

void CheckScale(const std::string& field, float scale, Complaints& complaints) {
  if (scale >= kSmallestScale && scale <= kLargestScale) return;
  complaints.Add(field, std::to_string(scale) +
                            " lies outside of what is learned; give a number in [0.01, 100]");
}

}  // namespace emporium::models
