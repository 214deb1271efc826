#include "worker/pointwise_batches.h"

#include <algorithm>
#include <numeric>

#include "models/tasks.h"
#include "proto/model_options.h"
#include "worker/key_plan.h"
#include "worker/stage_plan.h"

namespace emporium::worker {
namespace {

constexpr double kDay = 86400;
constexpr size_t kAhead = 24;  // rows whose values are fetched before they are needed

SlotForm FormOf(const spec::SlotInput& input) {
  switch (input.as()) {
    case spec::SlotInput::VALUE:
      return input.log1p() ? SlotForm::kLog1p : SlotForm::kValue;
    case spec::SlotInput::IIF:
      return SlotForm::kIif;
    case spec::SlotInput::POPULARITY:
      return SlotForm::kPopularity;
    case spec::SlotInput::AGE:
      return SlotForm::kAge;
  }
  return SlotForm::kValue;
}

}  // namespace

Result<std::unique_ptr<PointwiseBatches>> PointwiseBatches::Create(const Dataset& dataset,
                                                                   const spec::Job& job) {
  std::unique_ptr<PointwiseBatches> batches(  // NOLINT: private constructor
      new PointwiseBatches(dataset, job));
  EMPORIUM_RETURN_IF_ERROR(batches->FindFeatures());
  EMPORIUM_RETURN_IF_ERROR(batches->SplitRows());
  EMPORIUM_ASSIGN_OR_RETURN(batches->groupings_, GroupingsOf(dataset, job.data()));
  if (job.data().has_item_column()) {
    batches->popularity_bucket_ = PopularityBuckets(dataset, batches->TrainingRows());
  }
  for (int s = 0; s < job.stage_size(); ++s) {
    if (job.stage(s).has_train()) {
      EMPORIUM_RETURN_IF_ERROR(batches->AddTrain(s));
    } else if (job.stage(s).has_evaluate()) {
      EMPORIUM_RETURN_IF_ERROR(batches->AddEvaluation(s, job.stage(s).evaluate()));
    }
  }
  return batches;
}

Status PointwiseBatches::FindFeatures() {
  const std::string path = "model." + ModelName(job_);
  for (const std::string& name : InputFeatures(job_)) {
    const spec::Feature* feature = FindFeatureSpec(job_, name);
    if (feature == nullptr || feature->source() != spec::ROW) {
      return InvalidArgument(path + ".feature: \"" + name +
                             "\" is no feature of source ROW; add one or take it out");
    }
    EMPORIUM_ASSIGN_OR_RETURN(const ColumnView view, dataset_.event_column(feature->column()));
    if (view.type != spec::FLOAT) {
      EMPORIUM_ASSIGN_OR_RETURN(FeatureKeys keys, FeatureKeys::Create(dataset_, job_, name));
      EMPORIUM_RETURN_IF_ERROR(FindSlotInputs(*feature, keys.table()));
      features_.push_back(std::move(keys));
      sighting_.push_back(feature->sighting());
    } else if (view.floats.size() != static_cast<size_t>(dataset_.events())) {
      return InvalidArgument("feature \"" + name + "\": the time column is no dense input");
    } else {
      dense_.push_back(view.floats);
    }
  }
  if (const std::string name = LinearTable(job_); !name.empty()) {
    TableId linear;
    if (!FindTableId(job_, name, &linear)) {
      return InvalidArgument(path + ".linear_table: there is no table \"" + name + "\"");
    }
    linear_table_ = linear;
  }
  for (const spec::Table& table : job_.table()) {
    keeps_popularity_.push_back(table.has_popularity());
  }
  no_table_.assign(keeps_popularity_.size(), false);
  EMPORIUM_ASSIGN_OR_RETURN(slot_columns_, SlotColumns::Create(dataset_, job_));
  return Status::Ok();
}

Status PointwiseBatches::FindSlotInputs(const spec::Feature& feature, TableId table) {
  const spec::Table& spec = job_.table(table.value());
  for (const spec::SlotInput& input : feature.slot_input()) {
    SlotInput found{.feature = features_.size(), .form = FormOf(input)};
    const auto slot = std::find_if(
        spec.slot().begin(), spec.slot().end(),
        [&input](const spec::Slot& candidate) { return candidate.name() == input.slot(); });
    if (slot == spec.slot().end()) {
      return InvalidArgument("feature \"" + feature.name() + "\": table \"" + spec.name() +
                             "\" has no slot \"" + input.slot() + "\"");
    }
    found.slot = static_cast<uint32_t>(slot - spec.slot().begin());
    found.counter =
        static_cast<uint32_t>(std::count_if(spec.slot().begin(), slot, [](const spec::Slot& s) {
          return s.update() == spec::Slot::ADD;
        }));
    slot_inputs_.push_back(found);
  }
  return Status::Ok();
}

Status PointwiseBatches::SplitRows() {
  const spec::Split& split = job_.data().split();
  const auto set = [](Rows* rows, std::pair<int64_t, int64_t> range) {
    rows->begin = range.first;
    rows->end = range.second;
  };
  set(&train_, dataset_.train_range());
  set(&validation_, dataset_.validation_range());
  set(&test_, dataset_.test_range());
  const std::span<const double> times = dataset_.event_time();
  if (split.has_last_days()) {
    if (times.empty()) {
      return InvalidArgument("data.split.last_days: needs data.time_column");
    }
    const double test = times.back() - split.last_days().test_days() * kDay;
    const double validation = test - split.last_days().validation_days() * kDay;
    const auto at = [&](double time) {
      return std::lower_bound(times.begin(), times.end(), time) - times.begin();
    };
    set(&train_, {0, at(validation)});
    set(&validation_, {at(validation), at(test)});
    set(&test_, {at(test), dataset_.events()});
  } else if (split.has_leave_one_out()) {
    if (dataset_.users() == 0) {
      return InvalidArgument("data.split.leave_one_out: needs data.user_column");
    }
    SplitUsers();
  }
  return Status::Ok();
}

void PointwiseBatches::SplitUsers() {
  for (Rows* rows : {&train_, &validation_, &test_}) {
    *rows = Rows();
  }
  for (int32_t user = 0; user < dataset_.users(); ++user) {
    const std::span<const int32_t> events = dataset_.events_of_user(user);
    for (size_t i = 0; i < events.size(); ++i) {
      const size_t left = events.size() - i;
      (left == 1 ? test_ : left == 2 ? validation_ : train_).list.push_back(events[i]);
    }
  }
  for (Rows* rows : {&train_, &validation_, &test_}) {
    std::sort(rows->list.begin(), rows->list.end());
  }
}

std::vector<int64_t> PointwiseBatches::TrainingRows() const {
  std::vector<int64_t> rows(static_cast<size_t>(train_.size()));
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i] = train_.at(static_cast<int64_t>(i));
  }
  return rows;
}

Result<size_t> PointwiseBatches::LabelsFrom(double positive_from) {
  const auto known = label_index_.find(positive_from);
  if (known != label_index_.end()) {
    return known->second;
  }
  const bool percentiles =
      std::any_of(job_.task().begin(), job_.task().end(),
                  [](const spec::Task& task) { return task.has_positive_above_percentile(); });
  EMPORIUM_ASSIGN_OR_RETURN(TaskLabels labels,
                            LabelsOfTasks(dataset_, job_, positive_from,
                                          percentiles ? TrainingRows() : std::vector<int64_t>()));
  labels_.push_back(std::move(labels));
  label_index_.emplace(positive_from, labels_.size() - 1);
  return labels_.size() - 1;
}

Status PointwiseBatches::AddTrain(int s) {
  const spec::Stage& stage = job_.stage(s);
  TrainStage train;
  train.spec = stage.train();
  train.rows = train_;
  train.first_period = models::LossPeriodsBefore(job_, s);
  eval_positive_from_ = static_cast<double>(train.spec.pointwise().positive_from());
  EMPORIUM_ASSIGN_OR_RETURN(train.labels, LabelsFrom(eval_positive_from_));
  const std::span<const double> times = dataset_.event_time();
  if (train.spec.last_days() > 0) {
    if (times.empty() || !train_.list.empty()) {
      return InvalidArgument("stage \"" + stage.name() +
                             "\": last_days needs data.time_column and a split by time or file");
    }
    const auto end = times.begin() + train_.end;
    const double cut = train_.end > 0 ? times[static_cast<size_t>(train_.end) - 1] : 0;
    train.rows.begin =
        std::lower_bound(times.begin() + train_.begin, end, cut - train.spec.last_days() * kDay) -
        times.begin();
  }
  if (train.rows.size() <= 0) {
    return InvalidArgument("stage \"" + stage.name() + "\": the split leaves no training row");
  }
  if (train.spec.micro_batch_size() == 0 || train.spec.micro_batches_per_step() == 0) {
    return InvalidArgument("stage \"" + stage.name() +
                           "\": micro_batch_size and micro_batches_per_step are at least 1");
  }
  train.plan = PlanStage(static_cast<uint64_t>(train.rows.size()), train.spec);
  stages_.emplace(static_cast<uint32_t>(s), std::move(train));
  return AddEvaluation(s, spec::Evaluate());
}

Status PointwiseBatches::AddEvaluation(int s, const spec::Evaluate& spec) {
  Evaluation evaluation;
  EMPORIUM_ASSIGN_OR_RETURN(evaluation.labels, LabelsFrom(eval_positive_from_));
  for (const std::string& name : spec.slice_column()) {
    EMPORIUM_ASSIGN_OR_RETURN(const ColumnView column, dataset_.event_column(name));
    if (column.codes.empty()) {
      return InvalidArgument("evaluate.slice_column: \"" + name +
                             "\" must be a STRING column of data.events");
    }
    evaluation.slices.push_back(column.codes);
  }
  evaluations_.emplace(static_cast<uint32_t>(s), std::move(evaluation));
  return Status::Ok();
}

StagePlan PointwiseBatches::plan(StageId stage) const {
  const auto it = stages_.find(stage.value());
  return it == stages_.end() ? StagePlan{} : it->second.plan;
}

Result<PlannedBatch> PointwiseBatches::Train(StageId stage, Step step, MicroBatch m) const {
  const TrainStage& train = stages_.at(stage.value());
  const MicroBatchSamples picked(train.plan, job_.seed(), stage, train.spec.in_time_order(), step,
                                 m);
  std::vector<int64_t> rows(picked.size());
  for (uint32_t i = 0; i < picked.size(); ++i) {
    rows[i] = train.rows.at(static_cast<int64_t>(picked.sample(i)));
  }
  PlannedBatch planned = Build(rows, labels_[train.labels], true);
  if (train.spec.pointwise().weights() == spec::PointwiseLoss::DWA) {
    const uint64_t epoch = step.value() / train.plan.steps_per_epoch;
    planned.batch.first_period = static_cast<int32_t>(train.first_period);
    planned.batch.period = static_cast<int32_t>(train.first_period + static_cast<int64_t>(epoch));
  }
  const std::span<const double> times = dataset_.event_time();
  if (!times.empty()) {
    for (const int64_t row : rows) {
      const uint32_t time = PushedTime(times[static_cast<size_t>(row)]);
      planned.event_time = std::max(planned.event_time, time);
    }
  }
  return planned;
}

int64_t PointwiseBatches::EvalChunks(StageId stage, EvalSplit split) const {
  return evaluations_.count(stage.value()) == 0 ? 0
                                                : (rows(split).size() + kRowChunk - 1) / kRowChunk;
}

Result<EvalBatch> PointwiseBatches::Eval(StageId stage, EvalSplit split, int64_t chunk) const {
  if (chunk < 0 || chunk >= EvalChunks(stage, split)) {
    return InvalidArgument("evaluation of stage " + std::to_string(stage.value()) +
                           ": there is no chunk " + std::to_string(chunk));
  }
  const Evaluation& evaluation = evaluations_.at(stage.value());
  const Rows& of_split = rows(split);
  const int64_t begin = chunk * kRowChunk;
  std::vector<int64_t> rows(static_cast<size_t>(std::min(kRowChunk, of_split.size() - begin)));
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i] = of_split.at(begin + static_cast<int64_t>(i));
  }
  EvalBatch eval;
  eval.planned = Build(rows, labels_[evaluation.labels], false);
  for (const std::span<const int32_t> codes : evaluation.slices) {
    std::vector<int32_t> slice;
    slice.reserve(rows.size());
    for (const int64_t row : rows) {
      slice.push_back(codes[static_cast<size_t>(row)]);
    }
    eval.slice.push_back(std::move(slice));
  }
  AddGroups(rows, &eval);
  return eval;
}

void PointwiseBatches::AddGroups(std::span<const int64_t> rows, EvalBatch* eval) const {
  for (const Grouping& grouping : groupings_) {
    std::vector<uint64_t>& groups = eval->group.emplace_back();
    for (const int64_t row : rows) {
      groups.push_back(grouping.of(row));
    }
  }
  if (popularity_bucket_.empty()) {
    return;
  }
  for (const int64_t row : rows) {
    const int32_t item = dataset_.event_item()[static_cast<size_t>(row)];
    eval->popularity_bucket.push_back(item < 0 ? 2 : popularity_bucket_[static_cast<size_t>(item)]);
  }
}

PlannedBatch PointwiseBatches::Build(std::span<const int64_t> rows, const TaskLabels& labels,
                                     bool training) const {
  PlannedBatch planned;
  models::Batch& batch = planned.batch;
  batch.samples = static_cast<int32_t>(rows.size());
  batch.label.reserve(labels.size() * rows.size());
  for (const std::vector<float>& of_task : labels) {
    for (const int64_t row : rows) {
      batch.label.push_back(of_task[static_cast<size_t>(row)]);
    }
  }
  const size_t width = dense_.size() + slot_inputs_.size();
  batch.dense_width = static_cast<int32_t>(width);
  batch.dense.resize(rows.size() * width);
  for (size_t d = 0; d < dense_.size(); ++d) {
    for (size_t i = 0; i < rows.size(); ++i) {
      if (i + kAhead < rows.size()) {
        __builtin_prefetch(&dense_[d][static_cast<size_t>(rows[i + kAhead])]);
      }
      batch.dense[i * width + d] = dense_[d][static_cast<size_t>(rows[i])];
    }
  }
  KeyPlan plan(training ? keeps_popularity_ : no_table_);
  for (const FeatureKeys& feature : features_) {
    plan.Expect(feature.table(), rows.size());
  }
  std::vector<uint64_t> keys;
  for (const FeatureKeys& feature : features_) {
    models::FieldColumn field;
    field.feature = feature.name();
    keys.clear();
    if (feature.lists()) {
      std::vector<int32_t> offset{0};
      for (const int64_t row : rows) {
        feature.Words(row, &keys);
        offset.push_back(static_cast<int32_t>(keys.size()));
      }
      field.rows = plan.Lists(feature.table(), keys, std::move(offset));
    } else {
      feature.Keys(rows, &keys);
      field.rows = plan.Single(feature.table(), keys);
    }
    batch.fields.push_back(std::move(field));
  }
  for (size_t f = 0; linear_table_.has_value() && f < features_.size(); ++f) {
    batch.fields.push_back(
        {batch.fields[f].feature, plan.Mirror(*linear_table_, batch.fields[f].rows)});
  }
  SlotFeed feed(slot_columns_);
  if (training) {
    std::vector<const models::RowLists*> about;
    for (size_t f = 0; f < batch.fields.size(); ++f) {
      if (sighting_[f % features_.size()]) about.push_back(&batch.fields[f].rows);
    }
    for (const models::RowLists* lists : about) plan.Sighted(*lists);
    feed.Observe(about, rows);
  }
  planned.tables = std::move(plan).Finish(no_table_);
  if (training) {
    feed.Finish(&planned.tables);
  }
  AddSlotInputs(rows, &planned);
  return planned;
}

void PointwiseBatches::AddSlotInputs(std::span<const int64_t> rows, PlannedBatch* planned) const {
  auto column = static_cast<int32_t>(dense_.size());
  bool ages = false;
  for (const SlotInput& input : slot_inputs_) {
    const models::RowLists& of_feature = planned->batch.fields[input.feature].rows;
    planned->slots.columns.push_back({column++, of_feature, input.slot, input.form, input.counter});
    ages = ages || input.form == SlotForm::kAge;
    const spec::Table& spec = job_.table(of_feature.table.value());
    for (TableKeys& table : planned->tables) {
      if (table.table != of_feature.table) continue;
      table.want_slots = static_cast<uint32_t>(spec.slot_size());
      table.want_totals = CountersOf(spec);
    }
  }
  if (!ages) return;
  for (const int64_t row : rows) {
    planned->slots.time.push_back(dataset_.event_time()[static_cast<size_t>(row)]);
  }
}

}  // namespace emporium::worker
