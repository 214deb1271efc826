// What retrieval models share: item vectors as sums of rows, the sampled softmax over the shared
// candidates of a batch (models.md L2), and what a job must say for them. Functions of their
// arguments; any thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/job_view.h"
#include "models/kernels.h"
#include "models/model.h"
#include "models/pass.h"

namespace emporium::models {

// How the rows of an item add up.
struct ItemRows {
  int32_t dim = 0;
  bool words = false;  // there is a feature of words
  PoolKind pool = PoolKind::kMean;
  float weight = 1;
};

// id row + weight * pooled rows of the words of the batch's items: [I, dim].
at::Tensor EmbedItems(Pass& pass, const ItemRows& rows);

// exp(a), clipped to [0.01, 100].
at::Tensor ScaleOf(const at::Tensor& a);

// The loss of logits [R, C], and the graph backwards from there.
Result<std::vector<LossTerm>> TrainSampledSoftmax(Pass& pass, const at::Tensor& logits,
                                                  const spec::SampledSoftmax& spec);

// A further feature whose rows are added to the item's, of width `dim` (0: not known).
std::optional<TableFeature> FindAddedFeature(const spec::Job& job, const std::string& field,
                                             const std::string& name,
                                             std::span<const spec::FeatureSource> sources,
                                             int32_t dim, Complaints& complaints);

// In-batch negatives with log_q read the popularity of the items: finds their table for `needs`, or
// complains that it keeps none.
void FindPopularityTable(const spec::Job& job, const std::string& item_feature, Needs* needs,
                         Complaints& complaints);

// Complains unless `scale` is one that ScaleOf can give.
void CheckScale(const std::string& field, float scale, Complaints& complaints);

}  // namespace emporium::models
