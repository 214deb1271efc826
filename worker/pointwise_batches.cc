#include "worker/pointwise_batches.h"

#include <algorithm>
#include <string>

#include "models/tasks.h"
#include "proto/model_options.h"
#include "worker/never_had.h"
#include "worker/stage_plan.h"

namespace emporium::worker {
namespace {

constexpr double kDay = 86400;

// Items that take the place of events' own occur in some stage.
bool SamplesItems(const spec::Job& job) {
  return std::any_of(job.stage().begin(), job.stage().end(), [](const spec::Stage& stage) {
    return stage.train().pointwise().negatives_size() > 0 ||
           stage.evaluate().sampled_negatives() > 0 ||
           SampledMetricOf(stage.train().early_stop().metric()).negatives > 0;
  });
}

bool ReadsHistories(const spec::Job& job) {
  const std::vector<std::string> names = InputFeatures(job);
  return std::any_of(names.begin(), names.end(), [&job](const std::string& name) {
    const spec::Feature* feature = FindFeatureSpec(job, name);
    return feature != nullptr && feature->source() == spec::HISTORY;
  });
}

std::vector<int64_t> EventsOfItems(const Dataset& dataset, const EventRows& rows) {
  std::vector<int64_t> events(static_cast<size_t>(dataset.items()), 0);
  for (int64_t i = 0; i < rows.size(); ++i) {
    const int32_t item = dataset.event_item()[static_cast<size_t>(rows.at(i))];
    if (item >= 0) ++events[static_cast<size_t>(item)];
  }
  return events;
}

}  // namespace

Result<std::unique_ptr<PointwiseBatches>> PointwiseBatches::Create(const Dataset& dataset,
                                                                   const spec::Job& job) {
  std::unique_ptr<PointwiseBatches> batches(  // NOLINT: private constructor
      new PointwiseBatches(dataset, job));
  const bool samples_items = SamplesItems(job);
  if (samples_items || ReadsHistories(job)) {
    EMPORIUM_ASSIGN_OR_RETURN(batches->history_,
                              History::Create(dataset, batches->job_.data(), false));
  }
  EMPORIUM_ASSIGN_OR_RETURN(
      batches->fields_,
      PointwiseFields::Create(dataset, batches->job_, batches->history_.get(), samples_items));
  EMPORIUM_ASSIGN_OR_RETURN(batches->split_, SplitEventsOf(dataset, job.data().split()));
  EMPORIUM_ASSIGN_OR_RETURN(batches->groupings_, GroupingsOf(dataset, job.data()));
  if (job.data().has_item_column()) {
    batches->popularity_bucket_ = PopularityBuckets(dataset, batches->split_.train.All());
  }
  std::vector<int64_t> events_of_item;
  if (samples_items) {
    batches->negatives_ = std::make_unique<PointwiseNegatives>(
        dataset, *batches->history_, batches->fields_->scenarios(),
        job.data().scenario().value_size(), job.seed());
    events_of_item = EventsOfItems(dataset, batches->split_.train);
  }
  for (int s = 0; s < job.stage_size(); ++s) {
    if (job.stage(s).has_train()) {
      EMPORIUM_RETURN_IF_ERROR(batches->AddTrain(s, events_of_item));
    } else if (job.stage(s).has_evaluate()) {
      EMPORIUM_RETURN_IF_ERROR(batches->AddEvaluation(s, job.stage(s).evaluate()));
    }
  }
  return batches;
}

Result<size_t> PointwiseBatches::LabelsFrom(double positive_from) {
  const auto known = label_index_.find(positive_from);
  if (known != label_index_.end()) {
    return known->second;
  }
  const bool percentiles =
      std::any_of(job_.task().begin(), job_.task().end(),
                  [](const spec::Task& task) { return task.has_positive_above_percentile(); });
  EMPORIUM_ASSIGN_OR_RETURN(
      TaskLabels labels, LabelsOfTasks(dataset_, job_, positive_from,
                                       percentiles ? split_.train.All() : std::vector<int64_t>()));
  labels_.push_back(std::move(labels));
  label_index_.emplace(positive_from, labels_.size() - 1);
  return labels_.size() - 1;
}

Status PointwiseBatches::AddTrain(int s, const std::vector<int64_t>& events_of_item) {
  const spec::Stage& stage = job_.stage(s);
  TrainStage train{.spec = stage.train(), .plan = {}, .rows = split_.train, .negatives = {}};
  if (stage.train().pointwise().negatives_size() > 0) {
    train.negatives = negatives_->Samplers(stage.train().pointwise().negatives(), events_of_item);
  }
  train.first_period = models::LossPeriodsBefore(job_, s);
  eval_positive_from_ = static_cast<double>(train.spec.pointwise().positive_from());
  EMPORIUM_ASSIGN_OR_RETURN(train.labels, LabelsFrom(eval_positive_from_));
  const std::span<const double> times = dataset_.event_time();
  if (train.spec.last_days() > 0) {
    if (times.empty() || !split_.train.list.empty()) {
      return InvalidArgument("stage \"" + stage.name() +
                             "\": last_days needs data.time_column and a split by time or file");
    }
    const EventRows& all = split_.train;
    const auto end = times.begin() + all.end;
    const double cut = all.end > 0 ? times[static_cast<size_t>(all.end) - 1] : 0;
    train.rows.begin =
        std::lower_bound(times.begin() + all.begin, end, cut - train.spec.last_days() * kDay) -
        times.begin();
  }
  if (fields_->histories()) {
    train.rows = WithHistory(StageId(static_cast<uint32_t>(s)), train.rows);
  }
  if (train.rows.size() <= 0) {
    return InvalidArgument(
        "stage \"" + stage.name() + "\": the split leaves no training row" +
        (fields_->histories() ? " with as much history as data.history wants" : ""));
  }
  if (train.spec.micro_batch_size() == 0 || train.spec.micro_batches_per_step() == 0) {
    return InvalidArgument("stage \"" + stage.name() +
                           "\": micro_batch_size and micro_batches_per_step are at least 1");
  }
  train.plan = PlanStage(static_cast<uint64_t>(train.rows.size()), train.spec);
  stages_.emplace(static_cast<uint32_t>(s), std::move(train));
  spec::Evaluate validation;
  validation.set_sampled_negatives(SampledMetricOf(stage.train().early_stop().metric()).negatives);
  return AddEvaluation(s, validation);
}

Status PointwiseBatches::AddEvaluation(int s, const spec::Evaluate& spec) {
  Evaluation evaluation;
  evaluation.ranked_among = spec.sampled_negatives();
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

// The random part of the lag is drawn once for an event of a stage, not in every epoch.
Reference PointwiseBatches::ReferenceOf(StageId stage, int64_t row, bool training) const {
  double chance = 0;
  if (training) {
    chance = RandomStream(job_.seed(), Purpose::kLag, {stage.value(), static_cast<uint64_t>(row)})
                 .Unit();
  }
  const int32_t user = dataset_.event_user()[static_cast<size_t>(row)];
  return history_->TrainReference(user, history_->IndexOf(row), chance);
}

EventRows PointwiseBatches::WithHistory(StageId stage, const EventRows& rows) const {
  const spec::History& wanted = history_->options();
  const double earliest = history_->first_time() + wanted.warm_up_days() * kDay;
  EventRows kept;
  for (int64_t i = 0; i < rows.size(); ++i) {
    const Reference reference = ReferenceOf(stage, rows.at(i), true);
    const bool warm = wanted.warm_up_days() == 0 || reference.time >= earliest;
    if (warm && history_->Entries(reference) >= static_cast<int32_t>(wanted.min_length())) {
      kept.list.push_back(static_cast<int32_t>(rows.at(i)));
    }
  }
  return kept;
}

StagePlan PointwiseBatches::plan(StageId stage) const {
  const auto it = stages_.find(stage.value());
  return it == stages_.end() ? StagePlan{} : it->second.plan;
}

std::vector<int64_t> PointwiseBatches::EventsOf(StageId stage, Step step, MicroBatch m) const {
  const TrainStage& train = stages_.at(stage.value());
  const MicroBatchSamples picked(train.plan, job_.seed(), stage, train.spec.in_time_order(), step,
                                 m);
  std::vector<int64_t> events(picked.size());
  for (uint32_t i = 0; i < picked.size(); ++i) {
    events[i] = train.rows.at(static_cast<int64_t>(picked.sample(i)));
  }
  return events;
}

Result<PlannedBatch> PointwiseBatches::Train(StageId stage, Step step, MicroBatch m) const {
  const TrainStage& train = stages_.at(stage.value());
  PointwiseSamples samples;
  samples.rows = EventsOf(stage, step, m);
  if (!train.negatives.empty()) {
    RandomStream random(job_.seed(), Purpose::kNegatives, {stage.value(), step.value(), m.value()});
    negatives_->Draw(train.negatives, &random, &samples);
  }
  EMPORIUM_ASSIGN_OR_RETURN(PlannedBatch planned,
                            Build(stage, &samples, labels_[train.labels], true));
  if (train.spec.pointwise().weights() == spec::PointwiseLoss::DWA) {
    const uint64_t epoch = step.value() / train.plan.steps_per_epoch;
    planned.batch.first_period = static_cast<int32_t>(train.first_period);
    planned.batch.period = static_cast<int32_t>(train.first_period + static_cast<int64_t>(epoch));
  }
  const std::span<const double> times = dataset_.event_time();
  if (!times.empty()) {
    for (const int64_t row : samples.rows) {
      const uint32_t time = PushedTime(times[static_cast<size_t>(row)]);
      planned.event_time = std::max(planned.event_time, time);
    }
  }
  return planned;
}

int64_t PointwiseBatches::EvalChunks(StageId stage, EvalSplit split) const {
  const auto it = evaluations_.find(stage.value());
  if (it == evaluations_.end()) return 0;
  const int64_t chunk = it->second.chunk_rows();
  return (rows(split).size() + chunk - 1) / chunk;
}

Result<EvalBatch> PointwiseBatches::Eval(StageId stage, EvalSplit split, int64_t chunk) const {
  if (chunk < 0 || chunk >= EvalChunks(stage, split)) {
    return InvalidArgument("evaluation of stage " + std::to_string(stage.value()) +
                           ": there is no chunk " + std::to_string(chunk));
  }
  const Evaluation& evaluation = evaluations_.at(stage.value());
  const EventRows& of_split = rows(split);
  const int64_t begin = chunk * evaluation.chunk_rows();
  PointwiseSamples samples;
  samples.rows.resize(
      static_cast<size_t>(std::min(evaluation.chunk_rows(), of_split.size() - begin)));
  for (size_t i = 0; i < samples.rows.size(); ++i) {
    samples.rows[i] = of_split.at(begin + static_cast<int64_t>(i));
  }
  EvalBatch eval;
  if (evaluation.ranked_among > 0) AddRanked(evaluation, &samples, &eval);
  EMPORIUM_ASSIGN_OR_RETURN(eval.planned,
                            Build(stage, &samples, labels_[evaluation.labels], false));
  for (const std::span<const int32_t> codes : evaluation.slices) {
    std::vector<int32_t> slice;
    slice.reserve(samples.rows.size());
    for (const int64_t row : samples.rows) {
      slice.push_back(codes[static_cast<size_t>(row)]);
    }
    eval.slice.push_back(std::move(slice));
  }
  AddGroups(samples.rows, &eval);
  return eval;
}

// Only positives are ranked.
void PointwiseBatches::AddRanked(const Evaluation& evaluation, PointwiseSamples* samples,
                                 EvalBatch* eval) const {
  const std::vector<float>& label = labels_[evaluation.labels].front();
  eval->ranked_offset.push_back(0);
  for (size_t i = 0; i < samples->rows.size(); ++i) {
    const auto event = static_cast<size_t>(samples->rows[i]);
    eval->item.push_back(dataset_.event_item()[event]);
    if (label[event] > 0.5f && eval->item.back() >= 0) {
      for (const int32_t item : negatives_->NeverHad(samples->rows[i], evaluation.ranked_among)) {
        samples->of.push_back(static_cast<int32_t>(i));
        samples->item.push_back(item);
      }
    }
    eval->ranked_offset.push_back(static_cast<int32_t>(samples->item.size()));
  }
  eval->ranked_item = samples->item;
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

// The labels of further samples are 0.
Result<PlannedBatch> PointwiseBatches::Build(StageId stage, PointwiseSamples* samples,
                                             const TaskLabels& labels, bool training) const {
  for (size_t i = 0; fields_->histories() && i < samples->rows.size(); ++i) {
    samples->references.push_back(ReferenceOf(stage, samples->rows[i], training));
  }
  EMPORIUM_ASSIGN_OR_RETURN(PlannedBatch planned, fields_->Build(*samples, training));
  std::vector<float>& label = planned.batch.label;
  label.reserve(labels.size() * samples->size());
  for (const std::vector<float>& of_task : labels) {
    for (const int64_t row : samples->rows) {
      label.push_back(of_task[static_cast<size_t>(row)]);
    }
    label.resize(label.size() + samples->of.size(), 0.0f);
  }
  return planned;
}

}  // namespace emporium::worker
