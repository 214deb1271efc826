// ValidateJob: what is predicted. Contract in proto/job_file.h.
#include <limits>
#include <string>

#include "proto/job_validate.h"
#include "proto/model_options.h"

namespace emporium::validate {
namespace {

constexpr int kMaxTasks = 64;
constexpr double kHuge = std::numeric_limits<float>::max();

void CheckLabelColumn(const spec::Task& task, const std::string& path, Checker* check) {
  const std::string field = path + ".label_column";
  if (task.label_column().empty()) {
    check->Missing(field, "name the column that is learned");
    return;
  }
  const spec::Column* column = check->FindColumn(DataRole::kEvents, task.label_column());
  check->Expect(column != nullptr && (column->type() == spec::INT || column->type() == spec::FLOAT),
                field, "\"" + task.label_column() + "\" is no INT or FLOAT column of data.events",
                "declare it there with its type");
}

// The earlier task of the name that `given` has, by the place of this one.
void CheckGiven(int i, const std::string& path, Checker* check) {
  const auto& tasks = check->job().task();
  const spec::Task* given = nullptr;
  for (int j = 0; j < i; ++j) {
    if (tasks[j].name() == tasks[i].given()) given = &tasks[j];
  }
  check->Expect(given != nullptr && given->kind() == spec::Task::BINARY, path + ".given",
                "there is no BINARY task \"" + tasks[i].given() + "\" before it",
                "name one, and put it first");
}

void CheckTask(int i, const std::string& path, Checker* check) {
  const spec::Task& task = check->job().task(i);
  const bool binary = task.kind() == spec::Task::BINARY;
  CheckLabelColumn(task, path, check);
  if (task.has_given()) CheckGiven(i, path, check);
  check->Expect(!task.entire_space() || (binary && task.has_given()), path + ".entire_space",
                "only a BINARY task with `given` is trained as a product",
                "set given, or remove it");
  check->Expect(binary || !(task.has_positive_from() || task.has_positive_above_percentile()), path,
                "LOG1P has no positives", "remove positive_from and positive_above_percentile");
  if (task.has_positive_above_percentile()) {
    const std::string field = path + ".positive_above_percentile";
    check->Expect(!task.has_positive_from(), field, "positive_from stands beside it", "give one");
    check->ExpectRange(task.positive_above_percentile(), 0, 100, field);
  }
  check->ExpectRange(task.weight(), 0, kHuge, path + ".weight");
}

}  // namespace

void CheckTasks(Checker* check) {
  const spec::Job& job = check->job();
  check->Expect(job.task_size() <= kMaxTasks, "task",
                std::to_string(job.task_size()) + " tasks are too many",
                "at most " + std::to_string(kMaxTasks) + " are possible");
  check->Expect(job.task_size() == 0 || !IsRetrieval(job), "task",
                "a " + ModelName(job) + " model has no tasks", "remove them");
  std::vector<std::string> taken;
  for (int i = 0; i < job.task_size(); ++i) {
    const std::string path = At("task", i);
    CheckName(job.task(i).name(), path, &taken, check);
    CheckTask(i, path, check);
  }
}

}  // namespace emporium::validate
