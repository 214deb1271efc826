#include "worker/evaluator.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <memory>
#include <numeric>
#include <tuple>

#include "models/metrics.h"
#include "proto/check.h"
#include "proto/limits.h"
#include "proto/model_options.h"
#include "worker/counter_cursor.h"
#include "worker/pointwise_eval.h"
#include "worker/task_labels.h"

namespace emporium::worker {

namespace {

// Ranker, slice column (-1: all) and value; the order of the reported metrics.
using GroupKey = std::tuple<std::string, int32_t, std::string>;
using Groups = std::map<GroupKey, models::RankingSums>;

void AddUser(Groups* groups, const GroupKey& key, const std::vector<uint32_t>& cutoffs,
             std::span<const int32_t> ranks) {
  groups->try_emplace(key, cutoffs).first->second.Add(ranks);
}

control::Metric MetricOf(const std::string& name, double value) {
  control::Metric metric;
  metric.name = name;
  metric.value = value;
  return metric;
}

std::string SliceSuffix(const EvalSettings& settings, int32_t column, const std::string& value) {
  if (column < 0) return "";
  return "[" + settings.slice_columns[column] + "=" + value + "]";
}

// The k of "ndcg@k"; 0 for another metric.
uint32_t CutoffOf(const std::string& metric) {
  uint32_t k = 0;
  const size_t at = metric.find('@');
  if (at == std::string::npos) return 0;
  std::from_chars(metric.data() + at + 1, metric.data() + metric.size(), k);
  return k;
}

Status CheckSliceCount(const EvalSettings& settings, size_t column, size_t values) {
  if (values <= limits::kMaxSliceValues) return Status::Ok();
  return InvalidArgument("evaluate.slice_column \"" + settings.slice_columns[column] +
                         "\" has more than " + std::to_string(limits::kMaxSliceValues) +
                         " values; slice by a column with fewer");
}

// Ranks the evaluated events among the items that were sampled for them, whose samples then go.
void RankSampled(const EvalBatch& batch, PointwiseChunk* chunk) {
  const size_t rows = batch.item.size();
  for (size_t i = 0; i < rows; ++i) {
    const auto begin = static_cast<size_t>(batch.ranked_offset[i]);
    const auto count = static_cast<size_t>(batch.ranked_offset[i + 1]) - begin;
    chunk->rank.push_back(count == 0
                              ? 0
                              : RankAmong(chunk->logits[i], batch.item[i],
                                          std::span(chunk->logits).subspan(rows + begin, count),
                                          std::span(batch.ranked_item).subspan(begin, count)));
  }
  chunk->logits.resize(rows);
  chunk->labels.resize(rows);
  chunk->rows = static_cast<uint32_t>(rows);
}

// The popularity part of the scores of users with times of their own. The counters only move
// forward, so the users are taken in order of time; each user's ranking is his own, so the order
// does not show.
class OwnTimePopularity {
 public:
  OwnTimePopularity(const BatchSource& source, const EvalBatch& batch, size_t rows)
      : time_(batch.counter_time), order_(rows), logits_(source.dataset().items()) {
    std::iota(order_.begin(), order_.end(), size_t{0});
    if (time_.empty()) return;
    counters_ = source.Counters();
    EMPORIUM_CHECK(counters_ != nullptr && time_.size() == rows,
                   "users have times of their own because of the counters");
    std::stable_sort(order_.begin(), order_.end(),
                     [this](size_t a, size_t b) { return time_[a] < time_[b]; });
  }

  const std::vector<size_t>& order() const { return order_; }
  bool wanted() const { return counters_ != nullptr; }
  // Once for each row, in the order.
  Status AddTo(std::span<float> scores, size_t row, Scorer& scorer, RowSource& rows) {
    if (now_ != time_[row]) {
      now_ = time_[row];
      EMPORIUM_RETURN_IF_ERROR(scorer.PopularityLogits(counters_->MoveTo(*now_), rows, logits_));
    }
    for (size_t i = 0; i < scores.size(); ++i) scores[i] += logits_[i];
    return Status::Ok();
  }

 private:
  const std::vector<double>& time_;
  std::vector<size_t> order_;
  std::vector<float> logits_;
  std::unique_ptr<CounterCursor> counters_;
  std::optional<double> now_;
};

}  // namespace

Result<EvalSettings> EvalSettingsOf(const spec::Job& job, StageId stage, bool validation) {
  if (stage.value() >= static_cast<uint32_t>(job.stage_size())) {
    return InvalidArgument("the job has no stage " + std::to_string(stage.value()));
  }
  const spec::Stage& spec = job.stage(static_cast<int>(stage.value()));
  EvalSettings settings;
  if (validation && spec.has_train()) {
    settings.split = EvalSplit::kValidation;
    const uint32_t k = CutoffOf(spec.train().early_stop().metric());
    if (k != 0 && k != 10) settings.cutoffs.push_back(k);
    settings.cutoffs.push_back(10);
    settings.sampled_negatives = SampledMetricOf(spec.train().early_stop().metric()).negatives;
  } else if (!validation && spec.has_evaluate()) {
    const spec::Evaluate& evaluate = spec.evaluate();
    settings.split =
        evaluate.on() == spec::Evaluate::VALIDATION ? EvalSplit::kValidation : EvalSplit::kTest;
    settings.cutoffs.assign(evaluate.k().begin(), evaluate.k().end());
    settings.slice_columns.assign(evaluate.slice_column().begin(), evaluate.slice_column().end());
    settings.floors = evaluate.floors();
    settings.sampled_negatives = evaluate.sampled_negatives();
    settings.floor_days.assign(evaluate.floor_days().begin(), evaluate.floor_days().end());
    if (settings.cutoffs.empty()) settings.cutoffs.push_back(10);
    if (settings.floor_days.empty()) settings.floor_days.push_back(0);
  } else {
    return InvalidArgument("stage \"" + spec.name() + "\" has nothing to evaluate");
  }
  for (const uint32_t k : settings.cutoffs) {
    if (k == 0) return InvalidArgument("stage \"" + spec.name() + "\": evaluate.k is at least 1");
  }
  return settings;
}

Evaluator::Evaluator(const spec::Job& job, const BatchSource& source, models::Model& model)
    : job_(job), source_(source), scorer_(model) {}

void Evaluator::Begin() {
  scorer_.Begin();
  items_.reset();
}

Result<std::string> Evaluator::Chunk(StageId stage, bool validation, int64_t chunk,
                                     RowSource& rows) {
  EMPORIUM_ASSIGN_OR_RETURN(const EvalSettings settings, EvalSettingsOf(job_, stage, validation));
  EMPORIUM_ASSIGN_OR_RETURN(const EvalBatch batch, source_.Eval(stage, settings.split, chunk));
  EMPORIUM_CHECK(
      settings.slice_columns.empty() || batch.slice.size() == settings.slice_columns.size(),
      "an evaluation batch has the stage's slice columns");
  if (scorer_.width() == 0) return PointwiseResult(settings, batch, rows);
  if (!items_ || items_->first != settings.split) {
    EMPORIUM_RETURN_IF_ERROR(ComputeItems(settings.split, rows));
  }
  return RankingResult(settings, batch, rows);
}

Status Evaluator::ComputeItems(EvalSplit split, RowSource& rows) {
  const AsOf cut = split == EvalSplit::kTest ? AsOf::kTestCut : AsOf::kValidationCut;
  ItemMatrix matrix(source_.dataset().items(), scorer_.width());
  int32_t next = 0;
  for (int64_t chunk = 0; chunk < source_.ItemChunks(); ++chunk) {
    EMPORIUM_ASSIGN_OR_RETURN(const ItemBatch batch, source_.Items(chunk, cut));
    EMPORIUM_ASSIGN_OR_RETURN(const std::vector<float> vectors, scorer_.ItemVectors(batch, rows));
    EMPORIUM_CHECK(batch.first_item == next, "item chunks follow one another");
    matrix.Set(next, vectors);
    next += batch.planned.batch.items.count;
  }
  EMPORIUM_CHECK(next == matrix.items(), "item chunks cover the catalogue");
  items_.emplace(split, std::move(matrix));
  return Status::Ok();
}

Status Evaluator::PrepareFloors(const EvalSettings& settings) {
  if (floors_ && floors_->split == settings.split && floors_->days == settings.floor_days) {
    return Status::Ok();
  }
  EMPORIUM_ASSIGN_OR_RETURN(Floors floors, Floors::Create(source_.dataset(), job_.data().split(),
                                                          settings.split, settings.floor_days));
  floors_.emplace(FloorsOf{settings.split, settings.floor_days, std::move(floors)});
  return Status::Ok();
}

std::string Evaluator::SliceText(const EvalSettings& settings, size_t column, int32_t code) const {
  if (code < 0) return "";
  return std::string(source_.dataset().text(settings.slice_columns[column], code));
}

Result<std::vector<UserRanks>> Evaluator::RankByModel(const EvalBatch& batch, RowSource& rows) {
  EMPORIUM_ASSIGN_OR_RETURN(std::vector<float> users, scorer_.UserVectors(batch.planned, rows));
  const size_t width = scorer_.width();
  const ItemMatrix& items = items_->second;
  std::vector<float> scores(items.items());
  std::vector<UserRanks> ranks(batch.planned.batch.samples);
  OwnTimePopularity popularity(source_, batch, ranks.size());
  for (const size_t row : popularity.order()) {
    const std::span<float> user = std::span(users).subspan(row * width, width);
    // The catalogue's popularity is of another time than the sample's: leave it out of the product.
    if (popularity.wanted()) user.back() = 0;
    EMPORIUM_RETURN_IF_ERROR(items.Score(user, scores));
    if (popularity.wanted()) {
      EMPORIUM_RETURN_IF_ERROR(popularity.AddTo(scores, row, scorer_, rows));
    }
    ranks[row] = RankUser(batch, row, scores, TieRule::kLowerNumberFirst);
  }
  return ranks;
}

Result<std::string> Evaluator::RankingResult(const EvalSettings& settings, const EvalBatch& batch,
                                             RowSource& rows) {
  EMPORIUM_ASSIGN_OR_RETURN(const auto model_ranks, RankByModel(batch, rows));
  Groups groups;
  // Under the ranker's prefix, and among sampled items under both.
  const auto add = [&](const std::string& ranker, int32_t column, const std::string& value,
                       const UserRanks& ranks) {
    AddUser(&groups, {ranker, column, value}, settings.cutoffs, ranks.all);
    for (const int32_t& rank : ranks.sampled) {
      AddUser(&groups, {ranker + SampledPrefix(settings.sampled_negatives), column, value},
              settings.cutoffs, {&rank, 1});
    }
  };
  for (size_t row = 0; row < model_ranks.size(); ++row) {
    const UserRanks& ranks = model_ranks[row];
    if (ranks.all.empty()) continue;
    add("", -1, "", ranks);
    for (size_t c = 0; c < settings.slice_columns.size(); ++c) {
      add("", static_cast<int32_t>(c), SliceText(settings, c, batch.slice[c][row]), ranks);
    }
  }
  if (settings.floors) {
    EMPORIUM_RETURN_IF_ERROR(PrepareFloors(settings));
    const auto floor_ranks = floors_->floors.Rank(batch);
    for (size_t f = 0; f < floor_ranks.size(); ++f) {
      for (const UserRanks& ranks : floor_ranks[f]) {
        if (!ranks.all.empty()) add(floors_->floors.names()[f], -1, "", ranks);
      }
    }
  }
  RankingChunk chunk;
  chunk.cutoffs = settings.cutoffs;
  for (const auto& [key, sums] : groups) {
    const auto& [ranker, column, value] = key;
    chunk.groups.push_back({ranker, column, value, {sums.sums().begin(), sums.sums().end()}});
  }
  return Encode(chunk);
}

Result<std::string> Evaluator::PointwiseResult(const EvalSettings& settings, const EvalBatch& batch,
                                               RowSource& rows) {
  PointwiseChunk chunk;
  EMPORIUM_ASSIGN_OR_RETURN(chunk.logits, scorer_.Logits(batch.planned, rows));
  chunk.labels = batch.planned.batch.label;
  chunk.rows = static_cast<uint32_t>(batch.planned.batch.samples);
  EMPORIUM_CHECK(chunk.labels.size() == chunk.logits.size(), "every evaluated row has its labels");
  if (settings.sampled_negatives > 0) RankSampled(batch, &chunk);
  chunk.group = batch.group;
  chunk.popularity_bucket = batch.popularity_bucket;
  for (size_t c = 0; c < settings.slice_columns.size(); ++c) {
    PointwiseChunk::Column& column = chunk.columns.emplace_back();
    std::map<int32_t, uint32_t> place;
    for (const int32_t code : batch.slice[c]) {
      const auto next = static_cast<uint32_t>(column.values.size());
      const auto [it, is_new] = place.try_emplace(code, next);
      if (is_new) column.values.push_back(SliceText(settings, c, code));
      column.value.push_back(it->second);
    }
  }
  return Encode(chunk);
}

namespace {

Result<std::vector<control::Metric>> CombineRanking(const EvalSettings& settings, int64_t count,
                                                    const ChunkSource& chunks) {
  Groups groups;
  std::vector<size_t> slice_values(settings.slice_columns.size(), 0);
  for (int64_t c = 0; c < count; ++c) {
    EMPORIUM_ASSIGN_OR_RETURN(const std::string bytes, chunks(c));
    EMPORIUM_ASSIGN_OR_RETURN(const RankingChunk chunk, DecodeRanking(bytes));
    if (chunk.cutoffs != settings.cutoffs) {
      return DataLoss("the result of evaluation chunk " + std::to_string(c) +
                      " has other cut-offs than the job: it is of another job file");
    }
    for (const RankingGroup& group : chunk.groups) {
      if (group.column < -1 ||
          group.column >= static_cast<int32_t>(settings.slice_columns.size())) {
        return DataLoss("the result of evaluation chunk " + std::to_string(c) +
                        " names a slice column that the job has not");
      }
      const auto [it, is_new] =
          groups.try_emplace({group.ranker, group.column, group.value}, settings.cutoffs);
      it->second.Merge(group.sums);
      if (is_new && group.column >= 0) {
        EMPORIUM_RETURN_IF_ERROR(
            CheckSliceCount(settings, group.column, ++slice_values[group.column]));
      }
    }
  }
  std::vector<control::Metric> metrics;
  for (const auto& [key, sums] : groups) {
    const auto& [ranker, column, value] = key;
    const std::string suffix = SliceSuffix(settings, column, value);
    for (const models::NamedValue& mean : sums.Means()) {
      // Of one item: the hit rate again.
      if (ranker.find("sampled") != std::string::npos && mean.name.starts_with("recall@")) continue;
      metrics.push_back(MetricOf(ranker + mean.name + suffix, mean.value));
    }
    if (ranker.empty()) metrics.push_back(MetricOf("users" + suffix, sums.users()));
  }
  return metrics;
}

}  // namespace

Result<std::vector<control::Metric>> Evaluator::Combine(StageId stage, bool validation,
                                                        const ChunkSource& chunks) const {
  EMPORIUM_ASSIGN_OR_RETURN(const EvalSettings settings, EvalSettingsOf(job_, stage, validation));
  const int64_t count = source_.EvalChunks(stage, settings.split);
  if (scorer_.width() > 0) return CombineRanking(settings, count, chunks);
  const PointwiseMetrics wanted = {
      scorer_.tasks(),   GroupedMetrics(job_.data()), settings.slice_columns,
      !IsImplicit(job_), settings.sampled_negatives,  settings.cutoffs};
  return CombinePointwise(wanted, count, chunks);
}

}  // namespace emporium::worker
