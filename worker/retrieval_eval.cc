#include "worker/retrieval_eval.h"

#include <algorithm>
#include <string>

#include "proto/model_options.h"
#include "worker/never_had.h"
#include "worker/scenarios.h"

namespace emporium::worker {
namespace {

int64_t Chunks(int64_t n, int64_t chunk) { return (n + chunk - 1) / chunk; }

// The evaluate stage whose settings a train stage's validation follows: the next one of the job.
spec::Evaluate ValidationSettings(const spec::Job& job, int stage) {
  for (int s = stage; s < job.stage_size(); ++s) {
    if (job.stage(s).has_evaluate()) {
      spec::Evaluate settings = job.stage(s).evaluate();
      settings.clear_slice_column();
      return settings;
    }
  }
  return spec::Evaluate();
}

}  // namespace

Result<std::unique_ptr<RetrievalEval>> RetrievalEval::Create(const RetrievalColumns& columns,
                                                             const spec::Job& job) {
  std::unique_ptr<RetrievalEval> eval(  // NOLINT: private constructor
      new RetrievalEval(columns, job.seed()));
  EMPORIUM_ASSIGN_OR_RETURN(eval->scenario_of_, ScenariosOf(*columns.dataset, job.data()));
  if (!eval->scenario_of_.empty()) {
    if (!columns.history->leave_one_out()) {
      return InvalidArgument(
          "data.scenario: a model that ranks items tells the scenario of one "
          "held-out event; use split { leave_one_out {} }, or remove it");
    }
  }
  eval->items_ =
      ItemsOfScenarios(*columns.dataset, eval->scenario_of_, job.data().scenario().value_size());
  for (int s = 0; s < job.stage_size(); ++s) {
    const spec::Stage& stage = job.stage(s);
    const auto id = static_cast<uint32_t>(s);
    if (stage.has_evaluate()) {
      const EvalSplit split = stage.evaluate().on() == spec::Evaluate::VALIDATION
                                  ? EvalSplit::kValidation
                                  : EvalSplit::kTest;
      EMPORIUM_RETURN_IF_ERROR(eval->AddEvaluation(id, split, stage.evaluate()));
    } else if (stage.has_train()) {
      spec::Evaluate settings = ValidationSettings(job, s);
      settings.set_sampled_negatives(
          SampledMetricOf(stage.train().early_stop().metric()).negatives);
      EMPORIUM_RETURN_IF_ERROR(eval->AddEvaluation(id, EvalSplit::kValidation, settings));
    }
  }
  return eval;
}

Status RetrievalEval::AddEvaluation(uint32_t stage, EvalSplit split, const spec::Evaluate& spec) {
  Evaluation evaluation;
  evaluation.new_items_only = spec.new_items_only();
  evaluation.sampled_negatives = spec.sampled_negatives();
  for (const std::string& name : spec.slice_column()) {
    EMPORIUM_ASSIGN_OR_RETURN(const ColumnView column, columns_.dataset->event_column(name));
    if (column.codes.empty()) {
      return InvalidArgument("evaluate.slice_column: \"" + name +
                             "\" must be a STRING column of data.events");
    }
    evaluation.slices.push_back(column.codes);
  }
  std::vector<int32_t> items;
  for (int32_t user = 0; user < columns_.dataset->users(); ++user) {
    const Reference reference = columns_.history->EvalReference(user, split);
    int32_t first_event = 0;
    FindTargets(user, split, evaluation.new_items_only, &items, &first_event);
    if (!items.empty() && columns_.history->Entries(reference) > 0) {
      evaluation.users.push_back(user);
    }
  }
  evaluations_.emplace(std::pair(stage, split), std::move(evaluation));
  return Status::Ok();
}

void RetrievalEval::FindTargets(int32_t user, EvalSplit split, bool new_items_only,
                                std::vector<int32_t>* items, int32_t* first_event) const {
  items->clear();
  const Reference reference = columns_.history->EvalReference(user, split);
  const std::span<const int32_t> events = columns_.dataset->events_of_user(user);
  const auto [begin, end] = columns_.history->Targets(user, split);
  for (int32_t i = begin; i < end; ++i) {
    const int32_t event = events[static_cast<size_t>(i)];
    const int32_t item = columns_.dataset->event_item()[static_cast<size_t>(event)];
    if (item < 0 || (new_items_only && columns_.history->Had(reference, event))) {
      continue;
    }
    if (items->empty()) {
      *first_event = event;
    }
    items->push_back(item);
  }
  std::sort(items->begin(), items->end());
  items->erase(std::unique(items->begin(), items->end()), items->end());
}

void RetrievalEval::Mask(const Evaluation& evaluation, const Reference& reference,
                         int32_t target_event, std::vector<int32_t>* masked) const {
  const std::vector<int32_t>& ranked = items_[ScenarioOf(target_event)];
  const bool all = scenario_of_.empty();
  if (evaluation.new_items_only) {
    columns_.history->ForEachPastItem(reference, [&](int32_t item) {
      if (all || std::binary_search(ranked.begin(), ranked.end(), item)) masked->push_back(item);
    });
  }
  if (all) return;
  auto next = ranked.begin();
  for (int32_t item = 0; item < columns_.dataset->items(); ++item) {
    if (next != ranked.end() && *next == item) {
      ++next;
    } else {
      masked->push_back(item);
    }
  }
}

int64_t RetrievalEval::EvalChunks(StageId stage, EvalSplit split) const {
  const auto it = evaluations_.find({stage.value(), split});
  return it == evaluations_.end()
             ? 0
             : Chunks(static_cast<int64_t>(it->second.users.size()), kUserChunk);
}

Result<EvalBatch> RetrievalEval::Eval(StageId stage, EvalSplit split, int64_t chunk) const {
  if (chunk < 0 || chunk >= EvalChunks(stage, split)) {
    return InvalidArgument("evaluation of stage " + std::to_string(stage.value()) +
                           ": there is no chunk " + std::to_string(chunk));
  }
  const Evaluation& evaluation = evaluations_.at({stage.value(), split});
  const auto begin = static_cast<size_t>(chunk * kUserChunk);
  const size_t end = std::min(begin + kUserChunk, evaluation.users.size());
  RetrievalAssembler assembler(columns_);
  EvalBatch eval;
  eval.target_offset.push_back(0);
  eval.masked_offset.push_back(0);
  if (evaluation.sampled_negatives > 0) eval.ranked_offset.push_back(0);
  eval.slice.resize(evaluation.slices.size());
  std::vector<int32_t> targets;
  const bool own_times = columns_.counters != nullptr && columns_.history->leave_one_out();
  for (size_t u = begin; u < end; ++u) {
    const int32_t user = evaluation.users[u];
    const Reference reference = columns_.history->EvalReference(user, split);
    eval.user.push_back(user);
    if (own_times) {
      eval.counter_time.push_back(reference.time);
    }
    assembler.AddHistory(reference);
    int32_t first_event = 0;
    FindTargets(user, split, evaluation.new_items_only, &targets, &first_event);
    eval.target.insert(eval.target.end(), targets.begin(), targets.end());
    eval.target_offset.push_back(static_cast<int32_t>(eval.target.size()));
    Mask(evaluation, reference, first_event, &eval.masked);
    eval.masked_offset.push_back(static_cast<int32_t>(eval.masked.size()));
    if (evaluation.sampled_negatives > 0) {
      const std::vector<int32_t> items =
          NeverHad(*columns_.dataset, items_[ScenarioOf(first_event)],
                   {seed_, user, ScenarioOf(first_event)}, evaluation.sampled_negatives);
      eval.ranked_item.insert(eval.ranked_item.end(), items.begin(), items.end());
      eval.ranked_offset.push_back(static_cast<int32_t>(eval.ranked_item.size()));
    }
    for (size_t c = 0; c < evaluation.slices.size(); ++c) {
      eval.slice[c].push_back(evaluation.slices[c][static_cast<size_t>(first_event)]);
    }
  }
  eval.planned = std::move(assembler).Finish(false, columns_.no_table);
  return eval;
}

int64_t RetrievalEval::ItemChunks() const { return Chunks(columns_.dataset->items(), kItemChunk); }

Result<ItemBatch> RetrievalEval::Items(int64_t chunk, AsOf as_of) const {
  if (chunk < 0 || chunk >= ItemChunks()) {
    return InvalidArgument("the catalogue has no chunk " + std::to_string(chunk));
  }
  RetrievalAssembler assembler(columns_);
  ItemBatch batch;
  batch.first_item = static_cast<int32_t>(chunk * kItemChunk);
  const auto end = static_cast<int32_t>(
      std::min<int64_t>(columns_.dataset->items(), batch.first_item + kItemChunk));
  const ItemCounters* counters = columns_.counters.get();
  const size_t k = counters == nullptr ? 0 : static_cast<size_t>(counters->count());
  batch.log_counts.resize(static_cast<size_t>(end - batch.first_item) * k);
  for (int32_t item = batch.first_item; item < end; ++item) {
    const int32_t index = assembler.Item(item);
    if (counters != nullptr) {
      counters->LogCounts(item, columns_.history->TimeOf(as_of),
                          batch.log_counts.data() + static_cast<size_t>(index) * k);
    }
  }
  batch.planned = std::move(assembler).Finish(false, columns_.no_table);
  return batch;
}

int64_t RetrievalEval::UserChunks() const { return Chunks(columns_.dataset->users(), kUserChunk); }

Result<PlannedBatch> RetrievalEval::Users(int64_t chunk, AsOf as_of,
                                          std::vector<int32_t>* user_ids) const {
  if (chunk < 0 || chunk >= UserChunks()) {
    return InvalidArgument("there is no chunk " + std::to_string(chunk) + " of users");
  }
  user_ids->clear();
  RetrievalAssembler assembler(columns_);
  const auto begin = static_cast<int32_t>(chunk * kUserChunk);
  const auto end =
      static_cast<int32_t>(std::min<int64_t>(columns_.dataset->users(), begin + kUserChunk));
  for (int32_t user = begin; user < end; ++user) {
    const Reference reference = columns_.history->ReferenceAt(user, as_of);
    if (columns_.history->Entries(reference) > 0) {
      user_ids->push_back(user);
      assembler.AddHistory(reference);
    }
  }
  return std::move(assembler).Finish(false, columns_.no_table);
}

}  // namespace emporium::worker
