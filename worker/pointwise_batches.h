// Batches of rows with labels, for models that score one row at a time: one field per ROW
// feature with a table, FLOAT features as dense inputs in the order of the features. Immutable
// after Create; safe from any thread.
//
// Which rows train, validate and test follows from the split: files, the last days by the time
// column, the last rows of each user, or none held out.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "proto/job.pb.h"
#include "proto/status.h"
#include "worker/batch_source.h"
#include "worker/dataset.h"
#include "worker/feature_keys.h"
#include "worker/slot_feed.h"
#include "worker/task_labels.h"

namespace emporium::worker {

class PointwiseBatches {
 public:
  static constexpr int64_t kRowChunk = 4096;

  static Result<std::unique_ptr<PointwiseBatches>> Create(const Dataset& dataset,
                                                          const spec::Job& job);
  StagePlan plan(StageId stage) const;
  Result<PlannedBatch> Train(StageId stage, Step step, MicroBatch m) const;
  int64_t EvalChunks(StageId stage, EvalSplit split) const;
  Result<EvalBatch> Eval(StageId stage, EvalSplit split, int64_t chunk) const;

 private:
  // Positions of events: a range, or (leave-one-out) a list.
  struct Rows {
    int64_t begin = 0;
    int64_t end = 0;
    std::vector<int32_t> list;

    int64_t size() const { return list.empty() ? end - begin : static_cast<int64_t>(list.size()); }
    int64_t at(int64_t i) const { return list.empty() ? begin + i : list[static_cast<size_t>(i)]; }
  };
  struct TrainStage {
    spec::Train spec;
    StagePlan plan;
    Rows rows;
    size_t labels = 0;         // index into labels_
    int64_t first_period = 0;  // of the history of losses (models/tasks.h)
  };
  struct SlotInput {
    size_t feature = 0;  // index into features_
    uint32_t slot = 0;
    SlotForm form = SlotForm::kValue;
    uint32_t counter = 0;
  };
  struct Evaluation {
    size_t labels = 0;
    std::vector<std::span<const int32_t>> slices;  // codes by event
  };

  PointwiseBatches(const Dataset& dataset, const spec::Job& job) : dataset_(dataset), job_(job) {}
  Status FindFeatures();
  Status FindSlotInputs(const spec::Feature& feature, TableId table);
  void AddSlotInputs(std::span<const int64_t> rows, PlannedBatch* planned) const;
  Status SplitRows();
  void SplitUsers();
  Status AddTrain(int stage);
  Status AddEvaluation(int stage, const spec::Evaluate& spec);
  Result<size_t> LabelsFrom(double positive_from);
  // Positions of the rows that train, validation and test left out.
  std::vector<int64_t> TrainingRows() const;
  void AddGroups(std::span<const int64_t> rows, EvalBatch* eval) const;
  const Rows& rows(EvalSplit split) const {
    return split == EvalSplit::kTest ? test_ : validation_;
  }
  PlannedBatch Build(std::span<const int64_t> rows, const TaskLabels& labels, bool training) const;

  const Dataset& dataset_;
  const spec::Job job_;
  std::vector<FeatureKeys> features_;
  std::vector<bool> sighting_;  // by feature: its keys are what the event is about
  std::vector<std::span<const float>> dense_;
  std::vector<SlotInput> slot_inputs_;  // dense inputs behind dense_
  SlotColumns slot_columns_;
  std::optional<TableId> linear_table_;
  std::vector<bool> keeps_popularity_;  // by table
  std::vector<bool> no_table_;
  Rows train_;
  Rows validation_;
  Rows test_;
  std::map<double, size_t> label_index_;  // by positive_from
  std::vector<TaskLabels> labels_;
  std::vector<Grouping> groupings_;
  std::vector<uint8_t> popularity_bucket_;  // by item
  double eval_positive_from_ = 0.5;
  std::map<uint32_t, TrainStage> stages_;
  std::map<uint32_t, Evaluation> evaluations_;
};

}  // namespace emporium::worker
