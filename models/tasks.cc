#include "models/tasks.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "proto/check.h"

namespace emporium::models {

namespace {

constexpr int64_t kMaxLossPeriods = 4096;

double Softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
double Sigmoid(double x) {
  const double e = std::exp(-std::abs(x));
  return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}

// The task and those before it whose probabilities it is multiplied with.
std::vector<size_t> ChainOf(std::span<const Task> tasks, size_t task) {
  std::vector<size_t> chain = {task};
  while (tasks[chain.back()].entire_space) {
    chain.push_back(static_cast<size_t>(tasks[chain.back()].given));
  }
  return chain;
}

// Sum of -log p along a chain for sample b: at least the smallest double, so that nothing divides
// by zero.
double MinusLogProduct(std::span<const size_t> chain, std::span<const float> logits, size_t samples,
                       size_t b) {
  double sum = 0;
  for (const size_t j : chain) sum += Softplus(-static_cast<double>(logits[j * samples + b]));
  return std::max(sum, std::numeric_limits<double>::min());
}

bool AllPositive(std::span<const size_t> chain, std::span<const float> labels, size_t samples,
                 size_t b) {
  return std::all_of(chain.begin(), chain.end(),
                     [&](size_t j) { return labels[j * samples + b] > 0.5f; });
}

bool Applies(const Task& task, std::span<const float> labels, size_t samples, size_t b) {
  return task.given < 0 || labels[static_cast<size_t>(task.given) * samples + b] > 0.5f;
}

double WeightOf(std::span<const float> weights, size_t b) {
  return weights.empty() ? 1.0 : static_cast<double>(weights[b]);
}

// Of -log p of the chain: log(p / (1 - p)), so that a product is ranked and judged like a logit.
float LogitOfProduct(double minus_log) {
  const double odds = -std::log(std::expm1(minus_log));
  constexpr double kLargest = std::numeric_limits<float>::max();
  return static_cast<float>(std::clamp(odds, -kLargest, kLargest));
}

std::vector<std::string> NamesOf(const std::vector<Task>& tasks) {
  std::vector<std::string> names;
  names.reserve(tasks.size());
  for (const Task& task : tasks) names.push_back(task.name);
  return names;
}

void ParseTask(const spec::Task& given, std::vector<Task>& tasks, Complaints& complaints) {
  const std::string field = "task '" + given.name() + "'";
  Task task;
  task.name = given.name();
  task.binary = given.kind() == spec::Task::BINARY;
  task.entire_space = given.entire_space();
  task.weight = given.weight();
  const std::vector<std::string> names = NamesOf(tasks);
  if (given.has_given()) {
    const auto at = std::find(names.begin(), names.end(), given.given());
    if (at == names.end()) {
      complaints.Add(field + ".given", "there is no task '" + given.given() + "' before it");
    } else {
      task.given = static_cast<int32_t>(at - names.begin());
      if (!tasks[static_cast<size_t>(task.given)].binary) {
        complaints.Add(field + ".given", "task '" + given.given() + "' is not BINARY");
      }
    }
  }
  if (task.entire_space && (!task.binary || task.given < 0)) {
    complaints.Add(field + ".entire_space", "only a BINARY task with `given` is a product");
    task.entire_space = false;
  }
  tasks.push_back(task);
}

}  // namespace

std::vector<Task> ParseTasks(const spec::Job& job, Complaints& complaints) {
  std::vector<Task> tasks;
  for (const spec::Task& task : job.task()) ParseTask(task, tasks, complaints);
  if (tasks.empty()) tasks.emplace_back();
  if (LossPeriodsBefore(job, job.stage_size()) > kMaxLossPeriods) {
    complaints.Add("pointwise.weights",
                   "DWA over more than " + std::to_string(kMaxLossPeriods) + " epochs; use fewer");
  }
  return tasks;
}

int64_t LossPeriodsBefore(const spec::Job& job, int stage) {
  int64_t periods = 0;
  for (int s = 0; s < stage; ++s) {
    const spec::Train& train = job.stage(s).train();
    if (train.pointwise().weights() == spec::PointwiseLoss::DWA) periods += train.epochs();
  }
  return periods;
}

LossValue TaskLoss(std::span<const Task> tasks, size_t task, std::span<const float> logits,
                   std::span<const float> labels, std::span<const float> weights, double factor,
                   std::span<float> gradient) {
  const Task& of = tasks[task];
  const size_t samples = logits.size() / tasks.size();
  EMPORIUM_CHECK(labels.size() == logits.size() && gradient.size() == logits.size(),
                 "every task has a label and a logit of every sample");
  const std::vector<size_t> chain = ChainOf(tasks, task);
  const auto applies = [&](size_t b) { return of.entire_space || Applies(of, labels, samples, b); };
  LossValue loss;
  double total = 0;
  for (size_t b = 0; b < samples; ++b) {
    if (!applies(b)) continue;
    total += WeightOf(weights, b);
    ++loss.samples;
  }
  if (total == 0) return loss;
  for (size_t b = 0; b < samples; ++b) {
    if (!applies(b)) continue;
    const double share = WeightOf(weights, b) / total;
    const size_t at = task * samples + b;
    const double z = logits[at];
    if (of.entire_space) {
      const double minus_log = MinusLogProduct(chain, logits, samples, b);
      const bool y = AllPositive(chain, labels, samples, b);
      loss.value += share * (y ? minus_log : -std::log(-std::expm1(-minus_log)));
      const double by_log = y ? -1 : 1 / std::expm1(minus_log);  // d loss / d log p
      for (const size_t j : chain) {
        const double slope = Sigmoid(-static_cast<double>(logits[j * samples + b]));
        gradient[j * samples + b] += static_cast<float>(factor * share * by_log * slope);
      }
    } else if (of.binary) {
      const double y = labels[at];
      loss.value += share * (Softplus(z) - y * z);
      gradient[at] += static_cast<float>(factor * share * (Sigmoid(z) - y));
    } else {
      const double gap = z - static_cast<double>(labels[at]);
      loss.value += share * gap * gap;
      gradient[at] += static_cast<float>(factor * share * 2 * gap);
    }
  }
  return loss;
}

TaskRows RowsOfTask(std::span<const Task> tasks, size_t task, bool joint,
                    std::span<const float> logits, std::span<const float> labels) {
  const size_t samples = logits.size() / tasks.size();
  const std::vector<size_t> chain = ChainOf(tasks, task);
  TaskRows rows;
  for (size_t b = 0; b < samples; ++b) {
    if (!joint && !Applies(tasks[task], labels, samples, b)) continue;
    rows.row.push_back(static_cast<uint32_t>(b));
    if (joint) {
      rows.logits.push_back(LogitOfProduct(MinusLogProduct(chain, logits, samples, b)));
      rows.labels.push_back(AllPositive(chain, labels, samples, b) ? 1.0f : 0.0f);
    } else {
      rows.logits.push_back(logits[task * samples + b]);
      rows.labels.push_back(labels[task * samples + b]);
    }
  }
  return rows;
}

std::vector<double> DwaWeights(std::span<const float> last, std::span<const float> before,
                               double temperature) {
  const size_t tasks = last.size();
  std::vector<double> weights(tasks, 1.0);
  if (before.size() != tasks) return weights;
  double total = 0;
  double highest = -std::numeric_limits<double>::infinity();
  for (size_t k = 0; k < tasks; ++k) {
    if (!(before[k] > 0)) return std::vector<double>(tasks, 1.0);
    weights[k] = static_cast<double>(last[k]) / static_cast<double>(before[k]) / temperature;
    highest = std::max(highest, weights[k]);
  }
  for (double& w : weights) total += w = std::exp(w - highest);
  for (double& w : weights) w *= static_cast<double>(tasks) / total;
  return weights;
}

}  // namespace emporium::models
