// ValidateJob: the stages. Contract in proto/job_file.h.
#include <algorithm>
#include <limits>
#include <string>

#include "proto/job_validate.h"
#include "proto/limits.h"
#include "proto/model_options.h"

namespace emporium::validate {
namespace {

constexpr double kHuge = std::numeric_limits<float>::max();
constexpr uint32_t kMaxMicroBatchSize = 1u << 20;
constexpr uint32_t kMaxQuarantine = 1'000;
constexpr uint32_t kMaxSampledNegatives = 1u << 20;
constexpr uint32_t kMaxRankedNegatives = 10'000;

template <class List>
void CheckNegatives(const List& negatives, const std::string& path, Checker* check) {
  for (int i = 0; i < negatives.size(); ++i) {
    const spec::Negatives& entry = negatives[i];
    const std::string field = At(path + ".negatives", i);
    switch (entry.kind_case()) {
      case spec::Negatives::kInBatch:
        break;
      case spec::Negatives::kUniform:
        check->ExpectRange(entry.uniform().count(), 1, kMaxSampledNegatives,
                           field + ".uniform.count");
        break;
      case spec::Negatives::kUnigram:
        check->ExpectRange(entry.unigram().count(), 1, kMaxSampledNegatives,
                           field + ".unigram.count");
        check->ExpectRange(entry.unigram().power(), -8, 8, field + ".unigram.power");
        break;
      case spec::Negatives::kAll:
        check->Expect(negatives.size() == 1, field, "all {} leaves nothing for other negatives",
                      "use it alone");
        break;
      case spec::Negatives::KIND_NOT_SET:
        check->Missing(field, "name one: in_batch {}, uniform {}, unigram {} or all {}");
        break;
    }
  }
}

// in_batch draws by popularity: its q comes from the popularity column of the item's table.
void CheckPopularityHook(const spec::SampledSoftmax& loss, const std::string& path,
                         Checker* check) {
  const bool in_batch =
      std::any_of(loss.negatives().begin(), loss.negatives().end(),
                  [](const spec::Negatives& entry) { return entry.has_in_batch(); });
  const spec::Feature* item = check->FindFeature(ItemOption(check->job()).feature);
  const spec::Table* table = item == nullptr ? nullptr : check->FindTable(item->table());
  if (in_batch && loss.log_q() && table != nullptr && !table->has_popularity()) {
    check->Add(path + ".log_q",
               "in_batch negatives need the item's popularity, which table \"" + table->name() +
                   "\" does not keep",
               "add popularity {} to the table, or set log_q: false");
  }
}

void CheckPointwise(const spec::PointwiseLoss& loss, const std::string& path, Checker* check) {
  const spec::Job& job = check->job();
  const bool labels = job.data().has_label_column() || job.task_size() > 0;
  check->Expect(labels || loss.negatives_size() > 0, path, "there is no label to learn",
                "set data.label_column, name tasks, or sample negatives");
  check->Expect(loss.weights() == spec::PointwiseLoss::FIXED || job.task_size() > 1,
                path + ".weights", "there is one task", "leave FIXED, or add tasks");
  check->Expect(loss.temperature() > 0 && loss.temperature() < kHuge, path + ".temperature",
                "is not a number above 0", "give 2");
  check->Expect(!loss.has_positive_from() || job.task_size() == 0, path + ".positive_from",
                "the job names tasks", "give it to a task");
  if (loss.negatives_size() == 0) return;
  const std::string field = path + ".negatives";
  check->Expect(!labels, field, "events have labels, so they are not all positives",
                "remove the negatives, or data.label_column and tasks");
  ExpectUserItemTime(field, "negatives are items that a user had in no earlier event", check);
  CheckNegatives(loss.negatives(), path, check);
  for (int i = 0; i < loss.negatives_size(); ++i) {
    check->Expect(!loss.negatives(i).has_in_batch() && !loss.negatives(i).has_all(), At(field, i),
                  "a sample that is scored by itself takes drawn items only",
                  "use uniform {} or unigram {}");
  }
}

void CheckLoss(const spec::Train& train, const std::string& path, Checker* check) {
  const spec::Job& job = check->job();
  const std::string model = ModelName(job);
  const bool retrieval = IsRetrieval(job);
  const bool pointwise = !model.empty() && !retrieval;
  switch (train.loss_case()) {
    case spec::Train::kSampledSoftmax: {
      const std::string field = path + ".sampled_softmax";
      check->Expect(!pointwise, field, "a " + model + " model has no candidates",
                    "use pointwise {}");
      if (train.sampled_softmax().negatives_size() == 0) {
        check->Missing(field + ".negatives", "add negatives { uniform {} } or another kind");
      }
      CheckNegatives(train.sampled_softmax().negatives(), field, check);
      CheckPopularityHook(train.sampled_softmax(), field, check);
      check->ExpectRange(train.sampled_softmax().positives_power(), -8, 8,
                         field + ".positives_power");
      check->Expect(
          !train.sampled_softmax().every_position() || !job.data().history().distinct_items(),
          field + ".every_position",
          "with history.distinct_items a user has another history for each event",
          "remove one of them");
      return;
    }
    case spec::Train::kRanking: {
      const std::string field = path + ".ranking";
      check->Expect(!pointwise, field, "a " + model + " model has no candidates",
                    "use pointwise {}");
      check->ExpectRange(train.ranking().bce_weight(), 0, kHuge, field + ".bce_weight");
      if (!job.data().has_label_column() && train.ranking().negatives_size() == 0) {
        check->Missing(field + ".negatives",
                       "without data.label_column the groups have no negatives: sample them");
      }
      CheckNegatives(train.ranking().negatives(), field, check);
      return;
    }
    case spec::Train::kPointwise:
      check->Expect(!retrieval, path + ".pointwise", "a " + model + " model has no pointwise loss",
                    "use sampled_softmax {} or ranking {}");
      CheckPointwise(train.pointwise(), path + ".pointwise", check);
      return;
    case spec::Train::LOSS_NOT_SET:
      check->Missing(path, "name a loss: sampled_softmax {}, ranking {} or pointwise {}");
      return;
  }
}

// "auc", "auc[task=click]" of a job with such a task, or "sampled99_hr@10" of a ranking among
// sampled items.
bool IsMetric(const std::string& full, const spec::Job& job) {
  std::string name = full;
  const SampledMetric sampled = SampledMetricOf(full);
  if (sampled.negatives > 0) {
    const bool ranks = sampled.name == "mrr" || sampled.name.starts_with("hr@") ||
                       sampled.name.starts_with("ndcg@");
    return ranks && sampled.negatives <= kMaxRankedNegatives && IsMetric(sampled.name, job);
  }
  for (const spec::Task& task : job.task()) {
    for (const char* end : {"]", ",joint]"}) {
      const std::string of_task = "[task=" + task.name() + end;
      if (full.ends_with(of_task)) name = full.substr(0, full.size() - of_task.size());
    }
  }
  if (name == "mrr" || name == "auc" || name == "gauc" || name == "s_gauc" || name == "logloss" ||
      name == "rmse") {
    return true;
  }
  const size_t at = name.find('@');
  const std::string kind = name.substr(0, at);
  const std::string k = at == std::string::npos ? "" : name.substr(at + 1);
  return (kind == "hr" || kind == "ndcg" || kind == "recall") && !k.empty() && k.size() <= 6 &&
         k.find_first_not_of("0123456789") == std::string::npos && k[0] != '0';
}

void CheckSchedule(const spec::Train& train, const std::string& path, Checker* check) {
  const spec::LearningRate& rate = train.learning_rate();
  check->ExpectRange(rate.final_factor(), 0, kHuge, path + ".learning_rate.final_factor");
  check->Expect(rate.base_factor() > 0 && rate.base_factor() < kHuge,
                path + ".learning_rate.base_factor", "is not a number above 0",
                "give a factor such as 0.1");
  const float plateau = rate.plateau_factor();
  check->Expect(plateau > 0 && plateau <= 1, path + ".learning_rate.plateau_factor",
                "is not above 0 and at most 1", "give a factor such as 0.1");
  check->Expect(plateau == 1 || train.has_early_stop(), path + ".learning_rate.plateau_factor",
                "there is no early_stop, whose metric says what an improvement is",
                "add early_stop { metric: \"...\" }");
  if (train.validate_every_epochs() > 0 && !check->has_validation()) {
    check->Add(path + ".validate_every_epochs", "the split holds out nothing to validate on",
               "set validation_days, leave_one_out {} or validation_file in data.split");
  }
  if (!train.has_early_stop()) {
    return;
  }
  const std::string field = path + ".early_stop";
  check->Expect(train.validate_every_epochs() > 0, field, "there is no validation to judge by",
                "set validate_every_epochs: 1");
  if (train.early_stop().metric().empty()) {
    check->Missing(field + ".metric", "name one, such as \"ndcg@10\" or \"auc\"");
  } else {
    check->Expect(
        IsMetric(train.early_stop().metric(), check->job()), field + ".metric",
        "\"" + train.early_stop().metric() + "\" is not a metric",
        "use hr@K, ndcg@K, recall@K, mrr, auc, gauc, s_gauc, logloss or rmse, of a task as "
        "\"auc[task=NAME]\", among sampled items as \"sampled99_ndcg@10\"");
    if (SampledMetricOf(train.early_stop().metric()).negatives > 0) {
      ExpectUserItemTime(field + ".metric", "it samples items that a user had in no event", check);
    }
  }
  check->ExpectRange(train.early_stop().patience(), 1, 1e6, field + ".patience");
}

void CheckTrain(const spec::Train& train, const std::string& path, Checker* check) {
  CheckLoss(train, path, check);
  check->ExpectRange(train.epochs(), 1, 1e9, path + ".epochs");
  check->ExpectRange(train.micro_batch_size(), 1, kMaxMicroBatchSize, path + ".micro_batch_size");
  check->ExpectRange(train.micro_batches_per_step(), 1, limits::kMaxMicroBatchesPerStep,
                     path + ".micro_batches_per_step");
  CheckSchedule(train, path, check);
  check->ExpectRange(train.clip_global_norm(), 0, kHuge, path + ".clip_global_norm");
  check->ExpectRange(train.quarantine_micro_batches(), 0, kMaxQuarantine,
                     path + ".quarantine_micro_batches");
  check->ExpectRange(train.last_days(), 0, kHuge, path + ".last_days");
  const bool timed = check->job().data().has_time_column();
  check->Expect(timed || train.last_days() == 0, path + ".last_days", "events have no time",
                "set data.time_column");
  check->Expect(timed || !train.in_time_order(), path + ".in_time_order", "events have no time",
                "set data.time_column");
}

void CheckEvaluate(const spec::Evaluate& evaluate, const std::string& path, Checker* check) {
  const bool validation = evaluate.on() == spec::Evaluate::VALIDATION;
  check->Expect(
      validation ? check->has_validation() : check->has_test(), path + ".on",
      std::string("the split holds out nothing for ") + (validation ? "VALIDATION" : "TEST"),
      "hold out samples in data.split, or remove the stage");
  for (int i = 0; i < evaluate.k_size(); ++i) {
    check->ExpectRange(evaluate.k(i), 1, 1e6, At(path + ".k", i));
  }
  for (int i = 0; i < evaluate.slice_column_size(); ++i) {
    const std::string& column = evaluate.slice_column(i);
    check->Expect(check->FindColumn(DataRole::kEvents, column) != nullptr,
                  At(path + ".slice_column", i),
                  "\"" + column + "\" is not a column of data.events", "declare it there");
  }
  for (int i = 0; i < evaluate.floor_days_size(); ++i) {
    check->ExpectRange(evaluate.floor_days(i), 0, kHuge, At(path + ".floor_days", i));
  }
  if (evaluate.sampled_negatives() == 0) return;
  const std::string field = path + ".sampled_negatives";
  check->ExpectRange(evaluate.sampled_negatives(), 0, kMaxRankedNegatives, field);
  check->Expect(check->job().task_size() == 0, field, "with several tasks there is no one score",
                "remove it, or the tasks");
  ExpectUserItemTime(field, "it draws items that a user had in no event", check);
}

void CheckExport(const spec::Export& exported, const std::string& path, Checker* check) {
  const std::string model = ModelName(check->job());
  check->Expect(model.empty() || IsRetrieval(check->job()), path,
                "a " + model + " model has no item vectors to export", "remove the stage");
  check->ExpectRange(exported.hnsw_m(), 2, 512, path + ".hnsw_m");
  check->ExpectRange(exported.hnsw_ef_construction(), 1, 65536, path + ".hnsw_ef_construction");
  check->ExpectRange(exported.hnsw_ef_search(), 1, 65536, path + ".hnsw_ef_search");
  check->ExpectRange(exported.ivf_probes(), 1, 65536, path + ".ivf_probes");
  check->ExpectRange(exported.recall_k(), 1, 65536, path + ".recall_k");
  check->ExpectRange(exported.recall_sample(), 1, 1e9, path + ".recall_sample");
}

}  // namespace

void CheckStages(Checker* check) {
  const spec::Job& job = check->job();
  if (job.stage_size() == 0) {
    check->Missing("stage", "say what to do: stage { name: \"train\" train { ... } }");
  }
  std::vector<std::string> taken;
  for (int i = 0; i < job.stage_size(); ++i) {
    const spec::Stage& stage = job.stage(i);
    const std::string path = At("stage", i);
    CheckName(stage.name(), path, &taken, check);
    switch (stage.kind_case()) {
      case spec::Stage::kTrain:
        CheckTrain(stage.train(), path + ".train", check);
        break;
      case spec::Stage::kEvaluate:
        CheckEvaluate(stage.evaluate(), path + ".evaluate", check);
        break;
      case spec::Stage::kExport:
        CheckExport(stage.export_(), path + ".export", check);
        break;
      case spec::Stage::KIND_NOT_SET:
        check->Missing(path, "name one: train {}, evaluate {} or export {}");
        break;
    }
  }
}

}  // namespace emporium::validate
