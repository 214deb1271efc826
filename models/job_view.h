// Looking things up in a job, and collecting what is wrong with it. Values; safe from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/kernels.h"
#include "proto/ids.h"
#include "proto/job.pb.h"
#include "proto/status.h"

namespace emporium::models {

// All that a model refuses, one line each: "field: what is wrong; what to do".
class Complaints {
 public:
  void Add(const std::string& field, const std::string& text) {
    lines_.push_back(field + ": " + text);
  }
  bool empty() const { return lines_.empty(); }
  // InvalidArgument with all lines, or Ok.
  Status ToStatus() const;

 private:
  std::vector<std::string> lines_;
};

// A feature with the table that it names.
struct TableFeature {
  const spec::Feature* feature = nullptr;
  const spec::Table* table = nullptr;
  TableId table_id;
  int32_t dim() const { return static_cast<int32_t>(table->dim()); }
};

PoolKind PoolKindOf(spec::Pooling pooling);
const spec::Feature* FindFeature(const spec::Job& job, const std::string& name);
std::optional<TableId> FindTable(const spec::Job& job, const std::string& name);
// The feature `name` that `field` refers to, with its table; complains and returns nothing when it
// is missing, has no table, or comes from none of `sources`.
std::optional<TableFeature> FindTableFeature(const spec::Job& job, const std::string& field,
                                             const std::string& name,
                                             std::span<const spec::FeatureSource> sources,
                                             Complaints& complaints);

// Complains unless 0 <= rate < 1.
void CheckRate(const std::string& field, float rate, Complaints& complaints);
// Complains unless 1 <= width <= 65536.
void ExpectWidth(const std::string& field, uint32_t width, Complaints& complaints);
// Complains unless the edges ascend and are above 0.
void CheckEdges(const std::string& field, std::span<const float> edges, Complaints& complaints);

}  // namespace emporium::models
