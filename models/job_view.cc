#include "models/job_view.h"

namespace emporium::models {

Status Complaints::ToStatus() const {
  if (lines_.empty()) return Status::Ok();
  std::string text;
  for (const std::string& line : lines_) text += (text.empty() ? "" : "\n") + line;
  return InvalidArgument(text);
}

PoolKind PoolKindOf(spec::Pooling pooling) {
  switch (pooling) {
    case spec::SUM:
      return PoolKind::kSum;
    case spec::SQRT_N:
      return PoolKind::kSqrtN;
    case spec::MEAN:
      break;
  }
  return PoolKind::kMean;
}

const spec::Feature* FindFeature(const spec::Job& job, const std::string& name) {
  for (const spec::Feature& feature : job.feature()) {
    if (feature.name() == name) return &feature;
  }
  return nullptr;
}

std::optional<TableId> FindTable(const spec::Job& job, const std::string& name) {
  for (int i = 0; i < job.table_size(); ++i) {
    if (job.table(i).name() == name) return TableId(static_cast<uint16_t>(i));
  }
  return std::nullopt;
}

std::optional<TableFeature> FindTableFeature(const spec::Job& job, const std::string& field,
                                             const std::string& name,
                                             std::span<const spec::FeatureSource> sources,
                                             Complaints& complaints) {
  TableFeature result;
  result.feature = FindFeature(job, name);
  if (result.feature == nullptr) {
    complaints.Add(field, "there is no feature '" + name + "'; add it or correct the name");
    return std::nullopt;
  }
  bool fits = false;
  std::string wanted;
  for (spec::FeatureSource source : sources) {
    fits = fits || result.feature->source() == source;
    wanted += (wanted.empty() ? "" : " or ") + spec::FeatureSource_Name(source);
  }
  if (!fits) {
    complaints.Add(field, "feature '" + name + "' has source " +
                              spec::FeatureSource_Name(result.feature->source()) +
                              "; set source: " + wanted);
    return std::nullopt;
  }
  const std::optional<TableId> table = FindTable(job, result.feature->table());
  if (!table) {
    complaints.Add(field, "feature '" + name + "' names no table that exists; set its table");
    return std::nullopt;
  }
  result.table_id = *table;
  result.table = &job.table(table->value());
  return result;
}

void CheckRate(const std::string& field, float rate, Complaints& complaints) {
  if (rate >= 0 && rate < 1) return;
  complaints.Add(field, std::to_string(rate) + " is not a share; give a number in [0, 1)");
}

void ExpectWidth(const std::string& field, uint32_t width, Complaints& complaints) {
  if (width >= 1 && width <= 65536) return;
  complaints.Add(field, std::to_string(width) + " is outside 1 to 65536; give a width inside");
}

void CheckEdges(const std::string& field, std::span<const float> edges, Complaints& complaints) {
  float previous = 0;
  for (float edge : edges) {
    if (!(edge > previous)) {
      complaints.Add(field, "edge " + std::to_string(edge) + " follows " +
                                std::to_string(previous) + "; give ascending numbers above 0");
      return;
    }
    previous = edge;
  }
}

}  // namespace emporium::models
