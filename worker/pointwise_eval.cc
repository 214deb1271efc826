#include "worker/pointwise_eval.h"

#include <map>
#include <utility>

#include "models/metrics.h"
#include "models/tasks.h"
#include "proto/limits.h"
#include "proto/model_options.h"

namespace emporium::worker {
namespace {

constexpr const char* kBuckets[] = {"popularity=top 1%", "popularity=1-20%", "popularity=20-100%"};

// All chunks, one after another.
struct Gathered {
  std::vector<std::vector<float>> logits;  // by task
  std::vector<std::vector<float>> labels;
  std::vector<std::vector<uint64_t>> group;  // by grouping
  std::vector<uint8_t> bucket;
  std::vector<uint32_t> rank;
  std::vector<std::map<std::string, uint32_t>> values;  // by slice column: text -> number
  std::vector<std::vector<uint32_t>> value;             // by slice column, of each row
};

template <class T>
void Append(std::span<const T> part, std::vector<T>* all) {
  all->insert(all->end(), part.begin(), part.end());
}

Status Gather(const PointwiseMetrics& wanted, const PointwiseChunk& chunk, Gathered* all) {
  const size_t tasks = wanted.tasks.size();
  if (chunk.logits.size() != tasks * chunk.rows || chunk.group.size() != wanted.grouped.size() ||
      chunk.columns.size() != wanted.slice_columns.size() ||
      chunk.rank.size() != (wanted.sampled_negatives > 0 ? chunk.rows : 0)) {
    return DataLoss("it has other tasks, groups, ranks or slice columns than the job");
  }
  for (size_t k = 0; k < tasks; ++k) {
    Append(std::span(chunk.logits).subspan(k * chunk.rows, chunk.rows), &all->logits[k]);
    Append(std::span(chunk.labels).subspan(k * chunk.rows, chunk.rows), &all->labels[k]);
  }
  for (size_t g = 0; g < chunk.group.size(); ++g) {
    Append(std::span(chunk.group[g]), &all->group[g]);
  }
  Append(std::span(chunk.popularity_bucket), &all->bucket);
  Append(std::span(chunk.rank), &all->rank);
  for (size_t s = 0; s < chunk.columns.size(); ++s) {
    std::map<std::string, uint32_t>& values = all->values[s];
    for (const uint32_t place : chunk.columns[s].value) {
      const std::string& text = chunk.columns[s].values[place];
      const auto number = static_cast<uint32_t>(values.size());
      all->value[s].push_back(values.try_emplace(text, number).first->second);
    }
    if (values.size() > limits::kMaxSliceValues) {
      return InvalidArgument("evaluate.slice_column \"" + wanted.slice_columns[s] +
                             "\" has more than " + std::to_string(limits::kMaxSliceValues) +
                             " values; slice by a column with fewer");
    }
  }
  return Status::Ok();
}

// Rows of one task, or some of them, and what their metrics are called.
struct Rows {
  std::vector<float> logits;
  std::vector<float> labels;
  std::vector<std::vector<uint64_t>> group;
  std::vector<uint8_t> bucket;
  std::vector<int32_t> rank;  // of those that have one

  void Add(const models::TaskRows& from, size_t i, const Gathered& all) {
    const uint32_t row = from.row[i];
    logits.push_back(from.logits[i]);
    labels.push_back(from.labels[i]);
    group.resize(all.group.size());
    for (size_t g = 0; g < group.size(); ++g) group[g].push_back(all.group[g][row]);
    if (!all.bucket.empty()) bucket.push_back(all.bucket[row]);
    if (!all.rank.empty() && all.rank[row] > 0) {
      rank.push_back(static_cast<int32_t>(all.rank[row]));
    }
  }
};

// "auc" of "task=buy" and "country=Norway": "auc[task=buy,country=Norway]".
class Names {
 public:
  explicit Names(std::string where) : where_(std::move(where)) {}
  Names And(const std::string& part) const {
    return Names(where_.empty() ? part : where_ + "," + part);
  }
  void Add(const std::string& name, double value, std::vector<control::Metric>* metrics) const {
    control::Metric metric;
    metric.name = where_.empty() ? name : name + "[" + where_ + "]";
    metric.value = value;
    metrics->push_back(std::move(metric));
  }

 private:
  const std::string where_;
};

void AddCalibration(const Rows& rows, const Names& names, std::vector<control::Metric>* metrics) {
  if (const auto pcoc = models::Pcoc(rows.logits, rows.labels)) names.Add("pcoc", *pcoc, metrics);
  for (uint8_t bucket = 0; !rows.bucket.empty() && bucket < std::size(kBuckets); ++bucket) {
    std::vector<float> logits;
    std::vector<float> labels;
    for (size_t i = 0; i < rows.bucket.size(); ++i) {
      if (rows.bucket[i] != bucket) continue;
      logits.push_back(rows.logits[i]);
      labels.push_back(rows.labels[i]);
    }
    if (const auto pcoc = models::Pcoc(logits, labels)) {
      names.And(kBuckets[bucket]).Add("pcoc", *pcoc, metrics);
    }
  }
}

void AddSampled(const Rows& rows, const PointwiseMetrics& wanted, const Names& names,
                std::vector<control::Metric>* metrics) {
  if (wanted.sampled_negatives == 0) return;
  models::RankingSums sums(wanted.cutoffs);
  for (const int32_t rank : rows.rank) sums.Add({&rank, 1});
  const std::string prefix = SampledPrefix(wanted.sampled_negatives);
  for (const models::NamedValue& mean : sums.Means()) {
    if (mean.name.starts_with("recall@")) continue;  // of one item: the hit rate again
    names.Add(prefix + mean.name, mean.value, metrics);
  }
}

void AddMetrics(const Rows& rows, bool binary, const PointwiseMetrics& wanted, const Names& names,
                std::vector<control::Metric>* metrics) {
  if (!binary) {
    if (const auto rmse = models::Rmse(rows.logits, rows.labels)) names.Add("rmse", *rmse, metrics);
    names.Add("rows", static_cast<double>(rows.logits.size()), metrics);
    return;
  }
  AddSampled(rows, wanted, names, metrics);
  if (!wanted.labelled) {
    names.Add("rows", static_cast<double>(rows.logits.size()), metrics);
    return;
  }
  if (const auto auc = models::Auc(rows.logits, rows.labels)) names.Add("auc", *auc, metrics);
  for (size_t g = 0; g < rows.group.size(); ++g) {
    const models::GroupedAuc gauc = models::AucOfGroups(rows.logits, rows.labels, rows.group[g]);
    if (gauc.value) names.Add(wanted.grouped[g], *gauc.value, metrics);
    names.Add(wanted.grouped[g] + "_left_out", gauc.left_out, metrics);
  }
  if (const auto loss = models::LogLoss(rows.logits, rows.labels)) {
    names.Add("logloss", *loss, metrics);
  }
  AddCalibration(rows, names, metrics);
  names.Add("rows", static_cast<double>(rows.logits.size()), metrics);
}

void AddTask(const PointwiseMetrics& wanted, const Gathered& all, const models::TaskRows& of,
             bool binary, const Names& names, std::vector<control::Metric>* metrics) {
  Rows whole;
  for (size_t i = 0; i < of.row.size(); ++i) whole.Add(of, i, all);
  AddMetrics(whole, binary, wanted, names, metrics);
  for (size_t s = 0; s < wanted.slice_columns.size(); ++s) {
    std::vector<Rows> slices(all.values[s].size());
    for (size_t i = 0; i < of.row.size(); ++i) slices[all.value[s][of.row[i]]].Add(of, i, all);
    for (const auto& [text, number] : all.values[s]) {
      if (slices[number].logits.empty()) continue;
      AddMetrics(slices[number], binary, wanted, names.And(wanted.slice_columns[s] + "=" + text),
                 metrics);
    }
  }
}

}  // namespace

uint32_t RankAmong(float own, int32_t item, std::span<const float> scores,
                   std::span<const int32_t> items) {
  uint32_t rank = 1;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (scores[i] > own || (scores[i] == own && items[i] < item)) ++rank;
  }
  return rank;
}

Result<std::vector<control::Metric>> CombinePointwise(const PointwiseMetrics& wanted, int64_t count,
                                                      const ChunkSource& chunks) {
  const size_t tasks = wanted.tasks.size();
  Gathered all;
  all.logits.resize(tasks);
  all.labels.resize(tasks);
  all.group.resize(wanted.grouped.size());
  all.values.resize(wanted.slice_columns.size());
  all.value.resize(wanted.slice_columns.size());
  for (int64_t c = 0; c < count; ++c) {
    EMPORIUM_ASSIGN_OR_RETURN(const std::string bytes, chunks(c));
    EMPORIUM_ASSIGN_OR_RETURN(const PointwiseChunk chunk, DecodePointwise(bytes));
    if (Status fits = Gather(wanted, chunk, &all); !fits.ok()) {
      return fits.WithContext("the result of evaluation chunk " + std::to_string(c));
    }
  }
  if (!all.bucket.empty() && all.bucket.size() != all.logits[0].size()) {
    return DataLoss("some chunks of the evaluation know the items' popularity, some do not");
  }
  std::vector<float> logits;
  std::vector<float> labels;
  for (size_t k = 0; k < tasks; ++k) {
    Append(std::span<const float>(all.logits[k]), &logits);
    Append(std::span<const float>(all.labels[k]), &labels);
  }
  std::vector<control::Metric> metrics;
  for (size_t k = 0; k < tasks; ++k) {
    const models::Task& task = wanted.tasks[k];
    const Names names(task.name.empty() ? "" : "task=" + task.name);
    AddTask(wanted, all, models::RowsOfTask(wanted.tasks, k, false, logits, labels), task.binary,
            names, &metrics);
    if (!task.entire_space) continue;
    AddTask(wanted, all, models::RowsOfTask(wanted.tasks, k, true, logits, labels), true,
            names.And("joint"), &metrics);
  }
  return metrics;
}

}  // namespace emporium::worker
