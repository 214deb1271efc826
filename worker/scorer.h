// Runs a model's scoring calls on rows from the servers: the part that evaluation and export share.
// One thread at a time; the model must outlive it.
#pragma once

#include <span>
#include <vector>

#include "models/model.h"
#include "proto/status.h"
#include "worker/batch_source.h"
#include "worker/row_source.h"

namespace emporium::worker {

class Scorer {
 public:
  explicit Scorer(models::Model& model) : model_(model) {}

  // Width of user and item vectors; 0: a pointwise model.
  int32_t width() const { return model_.needs().vector_width; }
  const std::vector<models::Task>& tasks() const { return model_.needs().tasks; }
  // The weights may have changed: dense parameters are fetched again when they are next needed.
  void Begin() { dense_.clear(); }

  // Row-major [items, width].
  Result<std::vector<float>> ItemVectors(const ItemBatch& batch, RowSource& rows);
  // Row-major [samples, width].
  Result<std::vector<float>> UserVectors(const PlannedBatch& batch, RowSource& rows);
  // Of a model with counters: the last number of each item's vector, from other counters (models::
  // Model::PopularityLogits).
  Status PopularityLogits(std::span<const float> log_counts, RowSource& rows,
                          std::span<float> logits);
  // [tasks, samples]; InvalidArgument when one is not a finite number.
  Result<std::vector<float>> Logits(const PlannedBatch& batch, RowSource& rows);

 private:
  Status FetchDense(RowSource& rows);
  Status Fetch(const PlannedBatch& batch, RowSource& rows);
  models::DenseSet dense() const { return {dense_, {}}; }

  models::Model& model_;
  std::vector<float> dense_;
  RowBuffer buffer_;
};

}  // namespace emporium::worker
