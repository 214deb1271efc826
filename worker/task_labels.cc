#include "worker/task_labels.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "proto/check.h"
#include "proto/model_options.h"

namespace emporium::worker {
namespace {

// A numeric column of the events, one number for each.
Result<std::vector<double>> Numbers(const Dataset& dataset, const std::string& field,
                                    const std::string& name) {
  EMPORIUM_ASSIGN_OR_RETURN(const ColumnView column, dataset.event_column(name));
  const auto events = static_cast<size_t>(dataset.events());
  if (column.ints.size() == events)
    return std::vector<double>(column.ints.begin(), column.ints.end());
  if (column.floats.size() == events) {
    return std::vector<double>(column.floats.begin(), column.floats.end());
  }
  return InvalidArgument(field + ": \"" + name + "\" must be an INT or FLOAT column");
}

std::vector<float> Positives(std::span<const double> numbers, double from) {
  std::vector<float> labels;
  labels.reserve(numbers.size());
  for (const double number : numbers) labels.push_back(number >= from ? 1.0f : 0.0f);
  return labels;
}

// 1 above the percentile, by nearest rank, of the numbers at `of`.
Result<std::vector<float>> AbovePercentile(std::span<const double> numbers, double percentile,
                                           const std::vector<int64_t>& of,
                                           const std::string& field) {
  if (of.empty()) {
    return InvalidArgument(field +
                           ": no training sample has this task's `given`, so there is no "
                           "percentile");
  }
  std::vector<double> sorted;
  sorted.reserve(of.size());
  for (const int64_t event : of) sorted.push_back(numbers[static_cast<size_t>(event)]);
  const auto n = static_cast<double>(sorted.size());
  const auto rank = static_cast<size_t>(std::max(1.0, std::ceil(percentile / 100 * n)));
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<int64_t>(rank - 1), sorted.end());
  const double threshold = sorted[rank - 1];
  std::vector<float> labels;
  labels.reserve(numbers.size());
  for (const double number : numbers) labels.push_back(number > threshold ? 1.0f : 0.0f);
  return labels;
}

Result<std::vector<float>> LogOnePlus(std::span<const double> numbers, const std::string& field) {
  std::vector<float> labels;
  labels.reserve(numbers.size());
  for (const double number : numbers) {
    if (!(number >= 0)) {
      return InvalidArgument(field + ": " + std::to_string(number) +
                             " is below 0; a LOG1P task counts something");
    }
    labels.push_back(static_cast<float>(std::log1p(number)));
  }
  return labels;
}

// Some stage turns events without labels into a question.
bool SamplesNegatives(const spec::Job& job) {
  return std::any_of(job.stage().begin(), job.stage().end(), [](const spec::Stage& stage) {
    return stage.train().pointwise().negatives_size() > 0 ||
           stage.evaluate().sampled_negatives() > 0;
  });
}

// Place of the task that this one is given, -1 without.
int GivenOf(const spec::Job& job, const spec::Task& task) {
  for (int i = 0; task.has_given() && i < job.task_size(); ++i) {
    if (job.task(i).name() == task.given()) return i;
  }
  return -1;
}

Result<std::vector<float>> LabelsOfTask(const Dataset& dataset, const spec::Job& job,
                                        const spec::Task& task, const TaskLabels& before,
                                        std::span<const int64_t> training) {
  const std::string field = "task \"" + task.name() + "\"";
  EMPORIUM_ASSIGN_OR_RETURN(const std::vector<double> numbers,
                            Numbers(dataset, field + ".label_column", task.label_column()));
  if (task.kind() == spec::Task::LOG1P) return LogOnePlus(numbers, field);
  if (!task.has_positive_above_percentile()) {
    return Positives(numbers, static_cast<double>(task.positive_from()));
  }
  std::vector<int64_t> of;
  const int given = GivenOf(job, task);
  EMPORIUM_CHECK(given < static_cast<int>(before.size()), "a task is given an earlier one");
  for (const int64_t event : training) {
    if (given < 0 || before[static_cast<size_t>(given)][static_cast<size_t>(event)] > 0.5f) {
      of.push_back(event);
    }
  }
  return AbovePercentile(numbers, static_cast<double>(task.positive_above_percentile()), of, field);
}

}  // namespace

Result<TaskLabels> LabelsOfTasks(const Dataset& dataset, const spec::Job& job, double positive_from,
                                 std::span<const int64_t> training) {
  TaskLabels labels;
  if (job.task_size() == 0) {
    if (IsImplicit(job)) {
      if (!SamplesNegatives(job)) {
        return InvalidArgument(
            "data.label_column: a pointwise model needs one, or sampled negatives");
      }
      labels.emplace_back(static_cast<size_t>(dataset.events()), 1.0f);
      return labels;
    }
    EMPORIUM_ASSIGN_OR_RETURN(const std::vector<double> numbers,
                              Numbers(dataset, "data.label_column", job.data().label_column()));
    labels.push_back(Positives(numbers, positive_from));
  }
  for (const spec::Task& task : job.task()) {
    EMPORIUM_ASSIGN_OR_RETURN(std::vector<float> of,
                              LabelsOfTask(dataset, job, task, labels, training));
    labels.push_back(std::move(of));
  }
  return labels;
}

std::vector<std::string> GroupedMetrics(const spec::Data& data) {
  std::vector<std::string> names;
  if (data.has_user_column()) names.emplace_back("gauc");
  if (data.has_group_column()) names.emplace_back("s_gauc");
  return names;
}

Result<std::vector<Grouping>> GroupingsOf(const Dataset& dataset, const spec::Data& data) {
  std::vector<Grouping> groupings;
  for (const std::string& metric : GroupedMetrics(data)) {
    Grouping grouping;
    grouping.metric = metric;
    if (metric == "gauc") {
      grouping.codes = dataset.event_user();
    } else {
      EMPORIUM_ASSIGN_OR_RETURN(const ColumnView column, dataset.event_column(data.group_column()));
      grouping.codes = column.codes;
      grouping.ints = column.ints;
    }
    const size_t groups = grouping.codes.empty() ? grouping.ints.size() : grouping.codes.size();
    if (groups != static_cast<size_t>(dataset.events())) {
      return InvalidArgument("data: the column that \"" + metric +
                             "\" groups by must be a STRING or INT column");
    }
    groupings.push_back(std::move(grouping));
  }
  return groupings;
}

std::vector<uint8_t> PopularityBuckets(const Dataset& dataset, std::span<const int64_t> training) {
  const std::span<const int32_t> item_of = dataset.event_item();
  const auto items = static_cast<size_t>(dataset.items());
  std::vector<int64_t> count(items, 0);
  for (const int64_t event : training) {
    const int32_t item = item_of[static_cast<size_t>(event)];
    if (item >= 0) ++count[static_cast<size_t>(item)];
  }
  std::vector<size_t> order(items);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&count](size_t a, size_t b) { return count[a] > count[b]; });
  std::vector<uint8_t> buckets(items, 2);
  const size_t first = (items + 99) / 100;
  const size_t second = (items * 20 + 99) / 100;
  for (size_t i = 0; i < second; ++i) buckets[order[i]] = i < first ? 0 : 1;
  return buckets;
}

}  // namespace emporium::worker
