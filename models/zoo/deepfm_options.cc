#include "models/job_view.h"
#include "models/zoo/deepfm.h"

namespace emporium::models {

namespace {

const std::string kField = "model.deepfm";
constexpr spec::FeatureSource kSources[] = {spec::ROW};

// Names of the features that enter, in the order of the batch's columns: that of the list, or of
// the job's ROW features.
std::vector<std::string> FeatureNames(const spec::Job& job) {
  const spec::DeepFm& model = job.model().deepfm();
  std::vector<std::string> names(model.feature().begin(), model.feature().end());
  if (!names.empty()) return names;
  for (const spec::Feature& feature : job.feature()) {
    if (feature.source() == spec::ROW) names.push_back(feature.name());
  }
  return names;
}

void ParseFields(const spec::Job& job, DeepFmOptions& options, Complaints& complaints) {
  const spec::Table* first = nullptr;
  for (const std::string& name : FeatureNames(job)) {
    const spec::Feature* feature = FindFeature(job, name);
    if (feature != nullptr && feature->source() == spec::ROW && !feature->has_table()) {
      ++options.dense_width;
      continue;
    }
    auto found = FindTableFeature(job, kField + ".feature", name, kSources, complaints);
    if (!found) continue;
    if (first == nullptr) first = found->table;
    if (found->table->dim() != first->dim()) {
      complaints.Add(kField + ".feature",
                     "table '" + found->table->name() + "' of feature '" + name + "' has dim " +
                         std::to_string(found->dim()) + ", table '" + first->name() + "' has " +
                         std::to_string(first->dim()) + "; the fields need one width");
    }
    options.dense_width += found->feature->slot_input_size();
    options.fields.push_back({name, PoolKindOf(found->feature->pooling())});
  }
  if (first != nullptr) options.dim = static_cast<int32_t>(first->dim());
  if (options.fields.empty() && complaints.empty()) {
    complaints.Add(kField + ".feature", "no feature with a table enters; add a ROW feature");
  }
}

}  // namespace

Result<DeepFmOptions> ParseDeepFm(const spec::Job& job) {
  const spec::DeepFm& model = job.model().deepfm();
  Complaints complaints;
  DeepFmOptions options;
  ParseFields(job, options, complaints);
  options.fm = model.fm();
  options.hidden.assign(model.hidden().begin(), model.hidden().end());
  options.dropout = model.dropout();
  CheckRate(kField + ".dropout", model.dropout(), complaints);
  for (uint32_t width : options.hidden) {
    if (width == 0) complaints.Add(kField + ".hidden", "a layer of width 0; give at least 1");
  }
  if (model.has_linear_table()) {
    options.linear = true;
    const auto table = FindTable(job, model.linear_table());
    if (!table) {
      complaints.Add(kField + ".linear_table", "there is no table '" + model.linear_table() +
                                                   "'; add it or correct the name");
    } else if (job.table(table->value()).dim() != 1) {
      complaints.Add(kField + ".linear_table", "table '" + model.linear_table() +
                                                   "' must have dim 1, it has " +
                                                   std::to_string(job.table(table->value()).dim()));
    }
  }
  if (!options.linear && !options.fm && options.hidden.empty()) {
    complaints.Add(kField, "nothing is left to train; set linear_table, fm or hidden");
  }
  for (const spec::Stage& stage : job.stage()) {
    if (!stage.has_train() || stage.train().has_pointwise()) continue;
    complaints.Add("stage '" + stage.name() + "'",
                   "a DeepFM model trains with the pointwise loss; set pointwise {}");
  }
  EMPORIUM_RETURN_IF_ERROR(complaints.ToStatus());
  options.needs.labels = true;
  return options;
}

}  // namespace emporium::models
