#include "scheduler/stages.h"

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "runtime/file.h"

namespace emporium::scheduler {
namespace {

uint64_t CeilDiv(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

// The smallest multiple of `period` beyond `step`; `end` when there is no period.
uint64_t NextMultiple(uint64_t step, uint64_t period, uint64_t end) {
  return period == 0 ? end : std::min(end, (step / period + 1) * period);
}

bool LowerIsBetter(const std::string& metric) {
  return metric.starts_with("logloss") || metric.starts_with("rmse");
}

}  // namespace

Result<TrainPlan> TrainPlan::Make(const spec::Stage& stage, int64_t samples_per_epoch,
                                  uint64_t checkpoint_every_steps,
                                  std::vector<uint64_t> span_periods) {
  const spec::Train& train = stage.train();
  if (train.micro_batch_size() == 0 || train.micro_batches_per_step() == 0) {
    return InvalidArgument("stage '" + stage.name() + "': micro-batches have no size");
  }
  TrainPlan plan;
  plan.train_ = train;
  plan.name_ = stage.name();
  plan.samples_ = static_cast<uint64_t>(std::max<int64_t>(samples_per_epoch, 0));
  plan.steps_per_epoch_ =
      CeilDiv(CeilDiv(plan.samples_, train.micro_batch_size()), train.micro_batches_per_step());
  plan.total_steps_ = plan.steps_per_epoch_ * train.epochs();
  if (train.max_steps() > 0) plan.total_steps_ = std::min(plan.total_steps_, train.max_steps());
  if (plan.total_steps_ == 0) {
    return InvalidArgument("stage '" + stage.name() +
                           "' has no training samples; look at the data's split and history "
                           "settings, and at the stage's last_days and epochs");
  }
  plan.checkpoint_every_ = checkpoint_every_steps;
  plan.validate_every_ = plan.steps_per_epoch_ * train.validate_every_epochs();
  plan.span_periods_ = std::move(span_periods);
  return plan;
}

uint32_t TrainPlan::MicroBatches(uint64_t step) const {
  const uint64_t all = CeilDiv(samples_, train_.micro_batch_size());
  const uint64_t before = (step % steps_per_epoch_) * train_.micro_batches_per_step();
  return static_cast<uint32_t>(std::min<uint64_t>(train_.micro_batches_per_step(), all - before));
}

uint64_t TrainPlan::SamplesUntil(uint64_t step) const {
  const uint64_t in_epoch =
      (step % steps_per_epoch_) * train_.micro_batches_per_step() * train_.micro_batch_size();
  return (step / steps_per_epoch_) * samples_ + std::min(in_epoch, samples_);
}

TrainWork TrainPlan::Next(const TrainCursor& cursor) const {
  const bool at_validation =
      validate_every_ > 0 && cursor.step > 0 && cursor.step % validate_every_ == 0;
  if (at_validation && cursor.validated_step != cursor.step) {
    return {TrainWork::Kind::kValidate, 0, 0};
  }
  if (cursor.stopped_early || cursor.step >= total_steps_) {
    return {TrainWork::Kind::kFinished, 0, 0};
  }
  uint64_t until = std::min(NextMultiple(cursor.step, checkpoint_every_, total_steps_),
                            NextMultiple(cursor.step, validate_every_, total_steps_));
  for (const uint64_t period : span_periods_) {
    until = std::min(until, NextMultiple(cursor.step, period, total_steps_));
  }
  return {TrainWork::Kind::kSpan, cursor.step, until};
}

bool TrainPlan::CheckpointDue(const TrainCursor& cursor) const {
  if (Next(cursor).kind == TrainWork::Kind::kFinished || AtKept(cursor)) return true;
  return checkpoint_every_ > 0 && cursor.step > 0 && cursor.step % checkpoint_every_ == 0;
}

bool TrainPlan::AtKept(const TrainCursor& cursor) const {
  return train_.early_stop().keep_best() && cursor.best_step == cursor.step;
}

bool TrainPlan::GoesBack(const TrainCursor& cursor) const {
  return train_.early_stop().keep_best() && cursor.best_step.has_value() &&
         cursor.best_step != cursor.step && Next(cursor).kind == TrainWork::Kind::kFinished;
}

TrainCursor TrainCursor::Afresh() const {
  TrainCursor fresh;
  fresh.left_out = left_out;
  return fresh;
}

TrainCursor TrainPlan::WentBack(const TrainCursor& cursor) {
  TrainCursor back = cursor;
  back.step = cursor.best_step.value();
  back.validated_step = cursor.best_step;
  back.stopped_early = true;  // no step follows
  back.best_checkpoint.reset();
  return back;
}

double TrainPlan::RateFactor(const TrainCursor& cursor) const {
  double factor = 1;
  for (uint32_t i = 0; i < cursor.plateaus; ++i) {
    factor *= double{train_.learning_rate().plateau_factor()};
  }
  return factor;
}

Status TrainPlan::Validated(const std::map<std::string, double>& metrics,
                            TrainCursor* cursor) const {
  cursor->validated_step = cursor->step;
  if (!train_.has_early_stop()) return Status::Ok();
  const std::string& name = train_.early_stop().metric();
  const auto found = metrics.find(name);
  if (found == metrics.end()) {
    std::string known;
    for (const auto& [metric, value] : metrics) known += (known.empty() ? "" : ", ") + metric;
    return InvalidArgument("stage '" + name_ + "' stops early by '" + name +
                           "', which its validation does not give; it gives " +
                           (known.empty() ? "nothing" : known));
  }
  const double value = found->second;
  // A metric that is not a number is never an improvement.
  const bool better =
      !std::isnan(value) && (!cursor->best.has_value() ||
                             (LowerIsBetter(name) ? value < *cursor->best : value > *cursor->best));
  if (better) {
    cursor->best = value;
    cursor->best_step = cursor->step;
    cursor->best_checkpoint.reset();
    cursor->without_improvement = 0;
  } else {
    ++cursor->without_improvement;
    ++cursor->plateaus;
  }
  cursor->stopped_early = cursor->without_improvement > train_.early_stop().patience();
  return Status::Ok();
}

std::vector<uint64_t> ExpiryPeriods(const spec::Job& job) {
  std::vector<uint64_t> periods;
  for (const spec::Table& table : job.table()) {
    if (table.has_expiry()) periods.push_back(table.expiry().every_steps());
  }
  return periods;
}

std::string StageDigest(const spec::Stage& stage) {
  google::protobuf::TextFormat::Printer printer;
  printer.SetSingleLineMode(true);
  // A stage that is finished is so with more allowed, too.
  spec::Stage part = stage;
  if (part.has_train()) part.mutable_train()->clear_quarantine_micro_batches();
  std::string text;
  EMPORIUM_CHECK(printer.PrintToString(part, &text), "every stage has a text");
  return runtime::Sha256(text);
}

}  // namespace emporium::scheduler
