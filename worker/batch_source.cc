#include "worker/batch_source.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "proto/model_options.h"
#include "worker/counter_cursor.h"
#include "worker/dataset.h"
#include "worker/pointwise_batches.h"
#include "worker/retrieval_batches.h"
#include "worker/retrieval_eval.h"

namespace emporium::worker {
namespace {

class RetrievalSource final : public BatchSource {
 public:
  RetrievalSource(std::unique_ptr<Dataset> dataset, std::unique_ptr<RetrievalColumns> columns,
                  std::unique_ptr<RetrievalBatches> batches, std::unique_ptr<RetrievalEval> eval)
      : dataset_(std::move(dataset)),
        columns_(std::move(columns)),
        batches_(std::move(batches)),
        eval_(std::move(eval)) {}

  const Dataset& dataset() const override { return *dataset_; }
  StagePlan plan(StageId stage) const override { return batches_->plan(stage); }
  Result<PlannedBatch> Train(StageId stage, Step step, MicroBatch m) const override {
    return batches_->Train(stage, step, m);
  }
  std::string OriginOf(StageId stage, Step step, MicroBatch m) const override {
    return dataset_->OriginOf(batches_->EventsOf(stage, step, m));
  }
  int64_t EvalChunks(StageId stage, EvalSplit split) const override {
    return eval_->EvalChunks(stage, split);
  }
  Result<EvalBatch> Eval(StageId stage, EvalSplit split, int64_t chunk) const override {
    return eval_->Eval(stage, split, chunk);
  }
  int64_t ItemChunks() const override { return eval_->ItemChunks(); }
  Result<ItemBatch> Items(int64_t chunk, AsOf as_of) const override {
    return eval_->Items(chunk, as_of);
  }
  std::unique_ptr<CounterCursor> Counters() const override {
    if (columns_->counters == nullptr) return nullptr;
    return std::make_unique<CounterCursor>(*dataset_, *columns_->history, *columns_->counters);
  }
  int64_t UserChunks() const override { return eval_->UserChunks(); }
  Result<PlannedBatch> Users(int64_t chunk, AsOf as_of,
                             std::vector<int32_t>* user_ids) const override {
    return eval_->Users(chunk, as_of, user_ids);
  }

 private:
  // Each refers to the ones before it.
  const std::unique_ptr<Dataset> dataset_;
  const std::unique_ptr<RetrievalColumns> columns_;
  const std::unique_ptr<RetrievalBatches> batches_;
  const std::unique_ptr<RetrievalEval> eval_;
};

class PointwiseSource final : public BatchSource {
 public:
  PointwiseSource(std::unique_ptr<Dataset> dataset, std::unique_ptr<PointwiseBatches> batches)
      : dataset_(std::move(dataset)), batches_(std::move(batches)) {}

  const Dataset& dataset() const override { return *dataset_; }
  StagePlan plan(StageId stage) const override { return batches_->plan(stage); }
  Result<PlannedBatch> Train(StageId stage, Step step, MicroBatch m) const override {
    return batches_->Train(stage, step, m);
  }
  std::string OriginOf(StageId stage, Step step, MicroBatch m) const override {
    return dataset_->OriginOf(batches_->EventsOf(stage, step, m));
  }
  int64_t EvalChunks(StageId stage, EvalSplit split) const override {
    return batches_->EvalChunks(stage, split);
  }
  Result<EvalBatch> Eval(StageId stage, EvalSplit split, int64_t chunk) const override {
    return batches_->Eval(stage, split, chunk);
  }
  int64_t ItemChunks() const override { return 0; }
  Result<ItemBatch> Items(int64_t, AsOf) const override { return NoVectors(); }
  std::unique_ptr<CounterCursor> Counters() const override { return nullptr; }
  int64_t UserChunks() const override { return 0; }
  Result<PlannedBatch> Users(int64_t, AsOf, std::vector<int32_t>*) const override {
    return NoVectors();
  }

 private:
  static Status NoVectors() {
    return FailedPrecondition("a pointwise model has no vectors of items and users to export");
  }
  const std::unique_ptr<Dataset> dataset_;
  const std::unique_ptr<PointwiseBatches> batches_;
};

}  // namespace

uint32_t PushedTime(double seconds) {
  constexpr double kLatest = std::numeric_limits<uint32_t>::max();
  return static_cast<uint32_t>(std::clamp(seconds, 1.0, kLatest));
}

Result<std::unique_ptr<BatchSource>> BatchSource::Open(const spec::Job& job,
                                                       const std::string& dataset_dir) {
  EMPORIUM_ASSIGN_OR_RETURN(auto dataset, Dataset::Open(dataset_dir));
  if (!IsRetrieval(job)) {
    EMPORIUM_ASSIGN_OR_RETURN(auto batches, PointwiseBatches::Create(*dataset, job));
    return std::unique_ptr<BatchSource>(
        std::make_unique<PointwiseSource>(std::move(dataset), std::move(batches)));
  }
  EMPORIUM_ASSIGN_OR_RETURN(auto columns, RetrievalColumns::Create(*dataset, job));
  EMPORIUM_ASSIGN_OR_RETURN(auto batches, RetrievalBatches::Create(*columns, job));
  EMPORIUM_ASSIGN_OR_RETURN(auto eval, RetrievalEval::Create(*columns, job));
  return std::unique_ptr<BatchSource>(std::make_unique<RetrievalSource>(
      std::move(dataset), std::move(columns), std::move(batches), std::move(eval)));
}

}  // namespace emporium::worker
