// ValidateJob: the job as a whole, tables and how it runs. Contract in proto/job_file.h.
#include "proto/job_validate.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "proto/limits.h"

namespace emporium {
namespace validate {
namespace {

constexpr double kHuge = std::numeric_limits<float>::max();

std::string Number(double value) {
  std::string text = std::to_string(value);
  text.erase(text.find_last_not_of('0') + 1);
  if (!text.empty() && text.back() == '.') {
    text.pop_back();
  }
  return text;
}

bool IsPlainName(const std::string& name) {
  return name.size() <= 64 && std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_';
         });
}

void CheckRate(double value, const std::string& field, Checker* check) {
  check->Expect(std::isfinite(value) && value > 0, field, "is not a number above 0",
                "give a rate such as 0.01");
}

void CheckNotNegative(double value, const std::string& field, Checker* check) {
  check->ExpectRange(value, 0, kHuge, field);
}

// Adam and AdamW share these.
template <class T>
void CheckMoments(const T& o, const std::string& path, Checker* check) {
  CheckRate(o.learning_rate(), path + ".learning_rate", check);
  check->ExpectProbability(o.beta1(), path + ".beta1");
  check->ExpectProbability(o.beta2(), path + ".beta2");
  CheckRate(o.epsilon(), path + ".epsilon", check);
}

// Adagrad and its row-wise form share these.
template <class T>
void CheckAccumulated(const T& o, const std::string& path, Checker* check) {
  CheckRate(o.learning_rate(), path + ".learning_rate", check);
  CheckNotNegative(o.initial_accumulator(), path + ".initial_accumulator", check);
  CheckRate(o.epsilon(), path + ".epsilon", check);
  CheckNotNegative(o.l2(), path + ".l2", check);
}

void CheckOptimizer(const spec::Optimizer& o, const std::string& path, Checker* check) {
  CheckNotNegative(o.clip_norm(), path + ".clip_norm", check);
  switch (o.kind_case()) {
    case spec::Optimizer::kSgd:
      CheckRate(o.sgd().learning_rate(), path + ".sgd.learning_rate", check);
      CheckNotNegative(o.sgd().l2(), path + ".sgd.l2", check);
      return;
    case spec::Optimizer::kMomentum:
      CheckRate(o.momentum().learning_rate(), path + ".momentum.learning_rate", check);
      check->ExpectProbability(o.momentum().momentum(), path + ".momentum.momentum");
      CheckNotNegative(o.momentum().l2(), path + ".momentum.l2", check);
      return;
    case spec::Optimizer::kAdagrad:
      CheckAccumulated(o.adagrad(), path + ".adagrad", check);
      return;
    case spec::Optimizer::kRowwiseAdagrad:
      CheckAccumulated(o.rowwise_adagrad(), path + ".rowwise_adagrad", check);
      return;
    case spec::Optimizer::kAdam:
      CheckMoments(o.adam(), path + ".adam", check);
      CheckNotNegative(o.adam().l2(), path + ".adam.l2", check);
      return;
    case spec::Optimizer::kAdamw:
      CheckMoments(o.adamw(), path + ".adamw", check);
      CheckNotNegative(o.adamw().weight_decay(), path + ".adamw.weight_decay", check);
      return;
    case spec::Optimizer::kFtrl:
      CheckRate(o.ftrl().alpha(), path + ".ftrl.alpha", check);
      CheckNotNegative(o.ftrl().beta(), path + ".ftrl.beta", check);
      CheckNotNegative(o.ftrl().l1(), path + ".ftrl.l1", check);
      CheckNotNegative(o.ftrl().l2(), path + ".ftrl.l2", check);
      return;
    case spec::Optimizer::KIND_NOT_SET:
      check->Missing(path,
                     "name one: adagrad {}, rowwise_adagrad {}, adam {}, adamw {}, sgd {}, "
                     "momentum {} or ftrl {}");
      return;
  }
}

void CheckInitializer(const spec::Initializer& init, const std::string& path, Checker* check) {
  switch (init.kind_case()) {
    case spec::Initializer::kZeros:
      return;
    case spec::Initializer::kConstant:
      check->ExpectRange(init.constant().value(), -kHuge, kHuge, path + ".constant.value");
      return;
    case spec::Initializer::kUniform:
      check->Expect(std::isfinite(init.uniform().low()) && std::isfinite(init.uniform().high()) &&
                        init.uniform().low() < init.uniform().high(),
                    path + ".uniform", "low is not below high", "give low < high");
      return;
    case spec::Initializer::kNormal:
      check->ExpectRange(init.normal().mean(), -kHuge, kHuge, path + ".normal.mean");
      CheckNotNegative(init.normal().stddev(), path + ".normal.stddev", check);
      return;
    case spec::Initializer::kTruncatedNormal:
      check->ExpectRange(init.truncated_normal().mean(), -kHuge, kHuge,
                         path + ".truncated_normal.mean");
      CheckNotNegative(init.truncated_normal().stddev(), path + ".truncated_normal.stddev", check);
      return;
    case spec::Initializer::kXavier:
      CheckNotNegative(init.xavier().gain(), path + ".xavier.gain", check);
      return;
    case spec::Initializer::KIND_NOT_SET:
      check->Missing(path,
                     "name one: zeros {}, constant {}, uniform {}, normal {}, truncated_normal {} "
                     "or xavier {}");
      return;
  }
}

void CheckTable(const spec::Table& table, const std::string& path, Checker* check) {
  if (!table.has_dim()) {
    check->Missing(path + ".dim", "give the number of weights of a row, 1 to 4096");
  } else {
    check->ExpectRange(table.dim(), 1, limits::kMaxDim, path + ".dim");
  }
  CheckOptimizer(table.optimizer(), path + ".optimizer", check);
  if (table.has_initializer()) {
    CheckInitializer(table.initializer(), path + ".initializer", check);
  }
  CheckRetention(table, path, check);
}

void CheckDenseGroups(std::vector<std::string>* taken, Checker* check) {
  const spec::Job& job = check->job();
  bool rest_taken = false;
  for (int i = 0; i < job.dense_size(); ++i) {
    const spec::DenseGroup& group = job.dense(i);
    const std::string path = At("dense", i);
    CheckName(group.name(), path, taken, check);
    CheckOptimizer(group.optimizer(), path + ".optimizer", check);
    check->ExpectRange(group.chunk_floats(), 1, limits::kMaxDim, path + ".chunk_floats");
    if (group.statistics()) {
      const spec::Optimizer& o = group.optimizer();
      check->Expect(o.has_sgd() && o.sgd().learning_rate() <= 1 && o.sgd().l2() == 0 &&
                        o.clip_norm() == 0 && group.parameter_size() == 0,
                    path, "statistics are means of batches, which only plain sgd keeps",
                    "set optimizer { sgd { learning_rate: 0.1 } }, no l2, clip_norm and parameter");
      continue;
    }
    if (rest_taken) {
      check->Add(path, "an earlier group without `parameter` takes every parameter",
                 "put the group without `parameter` last");
    }
    rest_taken = rest_taken || group.parameter_size() == 0;
  }
}

}  // namespace

void Checker::Add(const std::string& field, const std::string& problem, const std::string& advice) {
  complaints_.push_back({"", 0, field, problem, advice});
}

void Checker::Missing(const std::string& field, const std::string& advice) {
  Add(field, "is missing", advice);
}

void Checker::NotSupported(const std::string& field, const std::string& what,
                           const std::string& instead) {
  Add(field, what + " is not supported yet", "use " + instead);
}

void Checker::Expect(bool holds, const std::string& field, const std::string& problem,
                     const std::string& advice) {
  if (!holds) {
    Add(field, problem, advice);
  }
}

void Checker::ExpectRange(double value, double low, double high, const std::string& field) {
  if (value >= low && value <= high) {
    return;
  }
  if (!std::isfinite(value)) {
    Add(field, "is not a finite number", "give a finite number");
  } else if (high >= kHuge) {
    Add(field, Number(value) + " is below " + Number(low), "give at least " + Number(low));
  } else {
    Add(field, Number(value) + " is outside " + Number(low) + " to " + Number(high),
        "give a value inside");
  }
}

void Checker::ExpectProbability(double value, const std::string& field) {
  Expect(value >= 0 && value < 1, field, Number(value) + " is not in [0, 1)",
         "give at least 0 and less than 1");
}

const spec::Table* Checker::FindTable(const std::string& name) const {
  for (const spec::Table& table : job_.table()) {
    if (table.name() == name) {
      return &table;
    }
  }
  return nullptr;
}

const spec::Feature* Checker::FindFeature(const std::string& name) const {
  for (const spec::Feature& feature : job_.feature()) {
    if (feature.name() == name) {
      return &feature;
    }
  }
  return nullptr;
}

const spec::Column* Checker::FindColumn(DataRole role, const std::string& name) const {
  const spec::TextSource& source =
      role == DataRole::kEvents ? job_.data().events() : job_.data().items();
  for (const spec::Column& column : source.column()) {
    if (column.name() == name) {
      return &column;
    }
  }
  return nullptr;
}

const spec::Column* Checker::ColumnOf(const spec::Feature& feature) const {
  return FindColumn(feature.source() == spec::ITEM ? DataRole::kItems : DataRole::kEvents,
                    feature.column());
}

bool Checker::has_validation() const {
  const spec::Split& split = job_.data().split();
  return split.has_leave_one_out() ||
         (split.has_last_days() && split.last_days().validation_days() > 0) ||
         split.files().validation_file_size() > 0;
}

bool Checker::has_test() const {
  const spec::Split& split = job_.data().split();
  return split.has_leave_one_out() ||
         (split.has_last_days() && split.last_days().test_days() > 0) ||
         split.files().test_file_size() > 0;
}

std::string Checker::Suggest(const std::string& word, const std::vector<std::string>& names,
                             const std::string& rest) {
  const std::string nearest = NearestName(word, names);
  return nearest.empty() ? rest : "did you mean \"" + nearest + "\"? Else " + rest;
}

void CheckName(const std::string& name, const std::string& path, std::vector<std::string>* taken,
               Checker* check) {
  if (name.empty()) {
    check->Missing(path.empty() ? "name" : path + ".name", "give a name");
    return;
  }
  const std::string field = path.empty() ? "name" : path + ".name";
  check->Expect(IsPlainName(name), field, "\"" + name + "\" is not a plain name",
                "use up to 64 letters, digits, '-' and '_'");
  if (std::find(taken->begin(), taken->end(), name) != taken->end()) {
    check->Add(field, "\"" + name + "\" is the name of an earlier one", "give each its own name");
  }
  taken->push_back(name);
}

void CheckTables(Checker* check) {
  const spec::Job& job = check->job();
  std::vector<std::string> taken;
  for (int i = 0; i < job.table_size(); ++i) {
    CheckName(job.table(i).name(), At("table", i), &taken, check);
    CheckTable(job.table(i), At("table", i), check);
  }
  CheckDenseGroups(&taken, check);
  const uint32_t tables = static_cast<uint32_t>(job.table_size() + job.dense_size());
  check->Expect(tables <= limits::kMaxTables, "table",
                std::to_string(tables) + " tables and dense groups are too many",
                "at most " + std::to_string(limits::kMaxTables) + " are possible");
}

void CheckRunning(Checker* check) {
  const spec::Job& job = check->job();
  if (job.mode() != spec::SYNC) {
    check->NotSupported("mode", spec::Mode_Name(job.mode()), "SYNC");
  }
  check->ExpectRange(job.checkpoint().keep(), 2, 1e6, "checkpoint.keep");
  const spec::Cluster& cluster = job.cluster();
  check->ExpectRange(cluster.workers(), 1, limits::kMaxNodes, "cluster.workers");
  check->ExpectRange(cluster.lanes(), 1, 256, "cluster.lanes");
  check->ExpectRange(cluster.servers(), 1, limits::kMaxShards, "cluster.servers");
  check->ExpectRange(cluster.shards_per_server(), 1, limits::kMaxShards,
                     "cluster.shards_per_server");
  check->ExpectRange(cluster.heartbeat_ms(), 10, 60'000, "cluster.heartbeat_ms");
  check->ExpectRange(cluster.lease_ms(), 30, 600'000, "cluster.lease_ms");
  check->ExpectRange(cluster.backup_percent(), 0, 50, "cluster.backup_percent");
  if (cluster.lease_ms() < 3 * cluster.heartbeat_ms()) {
    check->Add("cluster.lease_ms",
               std::to_string(cluster.lease_ms()) + " is less than 3 heartbeats of " +
                   std::to_string(cluster.heartbeat_ms()) + " ms",
               "give more");
  }
  const uint64_t shards = uint64_t{cluster.servers()} * cluster.shards_per_server();
  if (!std::has_single_bit(cluster.partitions()) || cluster.partitions() > limits::kMaxPartitions) {
    check->Add("cluster.partitions",
               std::to_string(cluster.partitions()) + " is not a power of two up to " +
                   std::to_string(limits::kMaxPartitions),
               "use 1024 unless there are more shards");
  } else if (shards > std::min(cluster.partitions(), limits::kMaxShards)) {
    check->Add("cluster",
               std::to_string(shards) + " shards are more than the " +
                   std::to_string(std::min(cluster.partitions(), limits::kMaxShards)) +
                   " that are possible",
               "ask for fewer shards or more partitions");
  }
}

}  // namespace validate

std::vector<Complaint> ValidateJob(const spec::Job& job) {
  validate::Checker check(job);
  std::vector<std::string> none;
  validate::CheckName(job.name(), "", &none, &check);
  validate::CheckTables(&check);
  validate::CheckData(&check);
  validate::CheckFeatures(&check);
  validate::CheckTasks(&check);
  validate::CheckModel(&check);
  validate::CheckStages(&check);
  validate::CheckRunning(&check);
  return check.Take();
}

}  // namespace emporium
