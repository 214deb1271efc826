#include "worker/scorer.h"

#include <cmath>

#include "worker/device.h"

namespace emporium::worker {

Status Scorer::FetchDense(RowSource& rows) {
  if (!dense_.empty()) return Status::Ok();
  size_t size = 0;
  for (const models::DenseParameter& p : model_.parameters()) size += p.size;
  std::vector<float> dense(size);
  EMPORIUM_RETURN_IF_ERROR(rows.FetchDense(dense));
  dense_ = std::move(dense);
  return Status::Ok();
}

Status Scorer::Fetch(const PlannedBatch& batch, RowSource& rows) {
  EMPORIUM_RETURN_IF_ERROR(FetchDense(rows));
  return rows.Fetch(batch.tables, &buffer_);
}

Result<std::vector<float>> Scorer::ItemVectors(const ItemBatch& batch, RowSource& rows) {
  EMPORIUM_RETURN_IF_ERROR(Fetch(batch.planned, rows));
  std::vector<float> vectors(static_cast<size_t>(batch.planned.batch.items.count) * width());
  EMPORIUM_RETURN_IF_ERROR(OnDevice([&] {
    return model_.ItemVectors(batch.planned.batch, buffer_.rows, dense(), batch.log_counts,
                              vectors);
  }));
  return vectors;
}

Result<std::vector<float>> Scorer::UserVectors(const PlannedBatch& batch, RowSource& rows) {
  EMPORIUM_RETURN_IF_ERROR(Fetch(batch, rows));
  std::vector<float> vectors(static_cast<size_t>(batch.batch.samples) * width());
  EMPORIUM_RETURN_IF_ERROR(
      OnDevice([&] { return model_.UserVectors(batch.batch, buffer_.rows, dense(), vectors); }));
  return vectors;
}

Status Scorer::PopularityLogits(std::span<const float> log_counts, RowSource& rows,
                                std::span<float> logits) {
  EMPORIUM_RETURN_IF_ERROR(FetchDense(rows));
  return model_.PopularityLogits(dense(), log_counts, logits);
}

Result<std::vector<float>> Scorer::Logits(const PlannedBatch& batch, RowSource& rows) {
  EMPORIUM_RETURN_IF_ERROR(Fetch(batch, rows));
  std::vector<float> logits(tasks().size() * static_cast<size_t>(batch.batch.samples));
  if (batch.slots.columns.empty()) {
    EMPORIUM_RETURN_IF_ERROR(
        OnDevice([&] { return model_.Score(batch.batch, buffer_.rows, dense(), logits); }));
  } else {
    models::Batch filled = batch.batch;
    FillSlots(buffer_, batch.slots, &filled);
    EMPORIUM_RETURN_IF_ERROR(
        OnDevice([&] { return model_.Score(filled, buffer_.rows, dense(), logits); }));
  }
  for (const float logit : logits) {
    if (!std::isfinite(logit)) {
      return InvalidArgument(
          "a logit is not a finite number: the weights have overflowed; lower the learning rate or "
          "raise the regularisation");
    }
  }
  return logits;
}

}  // namespace emporium::worker
