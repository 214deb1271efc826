// Batches of samples with labels, for models that score them one by one: what the stages of a job
// take of the events (worker/pointwise_rows.h), with their inputs (worker/pointwise_fields.h).
// Immutable after Create; safe from any thread.
//
// A sample's history is as of its own reference time (worker/history.h, rules 1 and 2), in training
// and evaluation. Training events with less history than data.history wants are left out.
// Negatives are a function of (job seed, stage, step, micro-batch).
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "proto/job.pb.h"
#include "proto/status.h"
#include "worker/batch_source.h"
#include "worker/dataset.h"
#include "worker/history.h"
#include "worker/pointwise_fields.h"
#include "worker/pointwise_negatives.h"
#include "worker/pointwise_rows.h"
#include "worker/task_labels.h"

namespace emporium::worker {

class PointwiseBatches {
 public:
  // Samples of an evaluation chunk, at most; the items that an event is ranked among count.
  static constexpr int64_t kChunkSamples = 4096;

  static Result<std::unique_ptr<PointwiseBatches>> Create(const Dataset& dataset,
                                                          const spec::Job& job);
  StagePlan plan(StageId stage) const;
  Result<PlannedBatch> Train(StageId stage, Step step, MicroBatch m) const;
  // The events that Train's micro-batch is made of.
  std::vector<int64_t> EventsOf(StageId stage, Step step, MicroBatch m) const;
  int64_t EvalChunks(StageId stage, EvalSplit split) const;
  Result<EvalBatch> Eval(StageId stage, EvalSplit split, int64_t chunk) const;

 private:
  struct TrainStage {
    spec::Train spec;
    StagePlan plan;
    EventRows rows;
    size_t labels = 0;                       // index into labels_
    int64_t first_period = 0;                // of the history of losses (models/tasks.h)
    std::vector<NegativeSampler> negatives;  // by scenario; none: nothing is drawn
  };
  struct Evaluation {
    size_t labels = 0;
    std::vector<std::span<const int32_t>> slices;  // codes by event
    uint32_t ranked_among = 0;                     // sampled items

    int64_t chunk_rows() const {
      return std::max<int64_t>(1, kChunkSamples / (1 + int64_t{ranked_among}));
    }
  };

  PointwiseBatches(const Dataset& dataset, const spec::Job& job) : dataset_(dataset), job_(job) {}
  Status AddTrain(int stage, const std::vector<int64_t>& events_of_item);
  Status AddEvaluation(int stage, const spec::Evaluate& spec);
  Result<size_t> LabelsFrom(double positive_from);
  Reference ReferenceOf(StageId stage, int64_t row, bool training) const;
  EventRows WithHistory(StageId stage, const EventRows& rows) const;
  const EventRows& rows(EvalSplit split) const {
    return split == EvalSplit::kTest ? split_.test : split_.validation;
  }
  void AddRanked(const Evaluation& evaluation, PointwiseSamples* samples, EvalBatch* eval) const;
  void AddGroups(std::span<const int64_t> rows, EvalBatch* eval) const;
  Result<PlannedBatch> Build(StageId stage, PointwiseSamples* samples, const TaskLabels& labels,
                             bool training) const;

  const Dataset& dataset_;
  const spec::Job job_;
  SplitEvents split_;
  std::unique_ptr<History> history_;  // null: neither histories nor sampled items
  std::unique_ptr<PointwiseFields> fields_;
  std::unique_ptr<PointwiseNegatives> negatives_;
  std::map<double, size_t> label_index_;  // by positive_from
  std::vector<TaskLabels> labels_;
  std::vector<Grouping> groupings_;
  std::vector<uint8_t> popularity_bucket_;  // by item
  double eval_positive_from_ = 0.5;
  std::map<uint32_t, TrainStage> stages_;
  std::map<uint32_t, Evaluation> evaluations_;
};

}  // namespace emporium::worker
