// Training throughput of a workload in `run` mode beside its dense-only ceiling: windows of the one
// and of the other in turn, so that what else the machine does meets both.
//
//   bench_train [--workload=W1,W1s,W2,W3] [--data=DIR] [--windows=N] [--window_seconds=S]
//   bench_train --model=NAME[,NAME...]    (one JSON line for each; `--model=list` names them)
//
// Run from the repository's root. Data is made once, into --data (default build/bench-data). A
// model's ceiling is the model itself on rows that never change.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "bench/model_jobs.h"
#include "bench/train_ceiling.h"
#include "bench/train_run.h"
#include "bench/workload.h"
#include "cluster/dataset_step.h"
#include "cluster/flags.h"
#include "cluster/job_context.h"

DEFINE_string(workload, "W1,W1s,W2,W3", "which workloads, separated by commas");
DEFINE_string(model, "", "instead: the standard jobs of which models, separated by commas");
DEFINE_int32(windows, 5, "windows of each kind");
DEFINE_double(window_seconds, 3, "length of a window");
DEFINE_uint32(micro_batches, 0, "micro-batches of a step; 0: as the job file says");
DEFINE_string(jobs, "bench/jobs", "directory of the job files");

namespace emporium::bench {
namespace {

struct Workload {
  std::string name;
  std::string key;  // of its figures, and its job file
  Status (*write)(const std::string& dir, const WorkloadOptions& options);
  std::string folder;  // of its data
  bool plain_ceiling;  // of bench/ceiling.h; else the job's own model
  WorkloadOptions data;
  // Of a window, until rows are there and the queues are full: CTR rows are many, and making them
  // is no part of a steady state, so the first window skips a whole epoch of them.
  uint64_t first_skip_steps;
};

const Workload kWorkloads[] = {
    {"W1", "w1", WriteCtr, "ctr", true, {.samples = 300'000, .vocabulary = 400'000}, 40},
    {"W1s", "w1s", WriteCtr, "ctr", true, {.samples = 300'000, .vocabulary = 400'000}, 40},
    {"W2", "w2", WriteSequences, "seq", false, {.samples = 100'000, .vocabulary = 2'000'000}, 50},
    {"W3", "w3", WriteTwoTower, "twotower", false, {.samples = 40'000, .vocabulary = 2'000'000}, 6},
};
constexpr uint64_t kSkipSteps = 3;

struct Spread {
  double median = 0;
  double least = 0;
  double most = 0;
};

Spread SpreadOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

Status LoadWorkload(const Workload& workload, const std::string& jobs, const std::string& data,
                    cluster::JobContext* context) {
  EMPORIUM_RETURN_IF_ERROR(workload.write(data, workload.data));
  FLAGS_data = data + "/" + workload.folder;
  FLAGS_work_dir = data + "/" + workload.key + ".emporium";
  const std::string job = jobs + "/" + workload.key + ".textproto";
  if (cluster::LoadJob(job, true, context) != 0) return InvalidArgument(job + ": see above");
  if (FLAGS_micro_batches > 0) {
    context->job.mutable_stage(0)->mutable_train()->set_micro_batches_per_step(FLAGS_micro_batches);
  }
  return cluster::PrepareData(*context, context->dataset_dir());
}

void PrintLine(const Workload& workload, const char* what, std::vector<double> values) {
  const Spread s = SpreadOf(std::move(values));
  const char* const format =
      s.median < 100 ? "%-4s %-28s %9.3f (%.3f - %.3f)\n" : "%-4s %-28s %9.0f (%.0f - %.0f)\n";
  std::printf(format, workload.name.c_str(), what, s.median, s.least, s.most);
}

// By window. Ratios are those of a window to the mean of the ceiling's windows before and after it.
struct Measured {
  std::vector<double> rate, ceiling, ratio, cpu_ratio;
  std::map<std::string, double> parts;  // threads' time, by what they did
};

Measured Compare(const std::vector<TrainWindow>& windows,
                 const std::vector<LaneCeiling::Rate>& ceilings) {
  Measured m;
  for (size_t i = 0; i < windows.size(); ++i) {
    const LaneCeiling::Rate& before = ceilings[i];
    const LaneCeiling::Rate& after = ceilings[i + 1];
    m.ceiling.push_back((before.samples_per_second + after.samples_per_second) / 2);
    m.rate.push_back(windows[i].samples_per_second);
    m.ratio.push_back(m.rate.back() / m.ceiling.back());
    m.cpu_ratio.push_back(2 * windows[i].samples_per_cpu_second /
                          (before.samples_per_cpu_second + after.samples_per_cpu_second));
    for (const auto& [name, share] : windows[i].parts) {
      m.parts[name] += share / static_cast<double>(windows.size());
    }
  }
  return m;
}

void Print(const Workload& workload, const Measured& m) {
  PrintLine(workload, "emporium, samples/s", m.rate);
  PrintLine(workload, "ceiling, samples/s", m.ceiling);
  PrintLine(workload, "ratio", m.ratio);
  PrintLine(workload, "ratio by processor time", m.cpu_ratio);
  std::printf("%-4s threads busy with:", workload.name.c_str());
  for (const auto& [name, share] : m.parts) std::printf("  %s %.3f", name.c_str(), share);
  const char* const key = workload.key.c_str();
  std::printf("\nfigure %s_samples_per_s %.0f\nfigure %s_of_ceiling %.4f\n", key,
              SpreadOf(m.rate).median, key, SpreadOf(m.ratio).median);
  std::printf("figure %s_of_ceiling_by_cpu %.4f\n", key, SpreadOf(m.cpu_ratio).median);
  std::fflush(stdout);
}

void PrintJson(const Workload& workload, const std::string& about, const Measured& m) {
  const auto digits = [](double value) { return std::round(value * 1000) / 1000; };
  const auto shares = [&](const std::vector<double>& values) {
    const Spread s = SpreadOf(values);
    return std::vector<double>{digits(s.median), digits(s.least), digits(s.most)};
  };
  const auto rates = [&](const std::vector<double>& values) {
    const Spread s = SpreadOf(values);
    return std::vector<int64_t>{std::llround(s.median), std::llround(s.least),
                                std::llround(s.most)};
  };
  nlohmann::json line = {
      {"model", workload.name},         {"workload", about},
      {"samples_per_s", rates(m.rate)}, {"ceiling_samples_per_s", rates(m.ceiling)},
      {"of_ceiling", shares(m.ratio)},  {"of_ceiling_by_cpu", shares(m.cpu_ratio)},
      {"windows", m.rate.size()},       {"window_s", FLAGS_window_seconds}};
  for (const auto& [name, share] : m.parts) line["parts"][name] = digits(share);
  std::printf("%s\n", line.dump().c_str());
  std::fflush(stdout);
}

Result<Measured> Measure(const Workload& workload, const std::string& jobs,
                         const std::string& data) {
  cluster::JobContext context;
  EMPORIUM_RETURN_IF_ERROR(LoadWorkload(workload, jobs, data, &context));
  EMPORIUM_ASSIGN_OR_RETURN(const std::unique_ptr<worker::BatchSource> source,
                            worker::BatchSource::Open(context.job, context.dataset_dir()));
  EMPORIUM_ASSIGN_OR_RETURN(const std::unique_ptr<TrainRun> run, TrainRun::Start(context));
  std::optional<LaneCeiling> ceiling;
  if (workload.plain_ceiling) {
    ceiling = PointwiseCeiling(context.job, kCtrFields, kCtrDense);
  } else {
    EMPORIUM_ASSIGN_OR_RETURN(ceiling, ModelCeiling(context.job, *source));
  }
  std::vector<TrainWindow> windows;
  std::vector<LaneCeiling::Rate> ceilings;
  EMPORIUM_RETURN_IF_ERROR(run->Measure(workload.first_skip_steps, 0).status());
  for (int i = 0; i <= FLAGS_windows; ++i) {
    EMPORIUM_ASSIGN_OR_RETURN(const LaneCeiling::Rate rate, ceiling->Measure(FLAGS_window_seconds));
    ceilings.push_back(rate);
    if (i == FLAGS_windows) break;
    EMPORIUM_ASSIGN_OR_RETURN(TrainWindow window, run->Measure(kSkipSteps, FLAGS_window_seconds));
    windows.push_back(std::move(window));
  }
  return Compare(windows, ceilings);
}

std::vector<std::string> Words(const std::string& list) {
  std::vector<std::string> words;
  std::istringstream names(list);
  for (std::string name; std::getline(names, name, ',');) words.push_back(name);
  return words;
}

// The data and the job of a model lie in a folder of their own.
Status MeasureModel(const std::string& name, const std::string& data) {
  EMPORIUM_ASSIGN_OR_RETURN(const ModelJob job, StandardJob(name));
  const std::string dir = data + "/models";
  std::filesystem::create_directories(dir);
  std::ofstream(dir + "/" + name + ".textproto") << job.text;
  const Workload workload{name, name, job.write, job.folder, false, job.data, job.epoch_steps};
  EMPORIUM_ASSIGN_OR_RETURN(const Measured measured, Measure(workload, dir, dir));
  PrintJson(workload, job.about, measured);
  return Status::Ok();
}

Status MeasureModels(const std::string& data) {
  for (const std::string& name : Words(FLAGS_model)) {
    EMPORIUM_RETURN_IF_ERROR(MeasureModel(name, data).WithContext(name));
  }
  return Status::Ok();
}

Status MeasureAll() {
  const std::string data = FLAGS_data.empty() ? "build/bench-data" : FLAGS_data;
  if (FLAGS_model == "list") {
    for (const std::string& name : StandardModels()) std::printf("%s\n", name.c_str());
    return Status::Ok();
  }
  if (!FLAGS_model.empty()) return MeasureModels(data);
  for (const std::string& name : Words(FLAGS_workload)) {
    const auto found = std::find_if(std::begin(kWorkloads), std::end(kWorkloads),
                                    [&name](const Workload& w) { return name == w.name; });
    if (found == std::end(kWorkloads)) {
      return InvalidArgument("--workload: there is no " + name + "; it takes W1, W1s, W2 and W3");
    }
    EMPORIUM_ASSIGN_OR_RETURN(const Measured measured, Measure(*found, FLAGS_jobs, data));
    Print(*found, measured);
  }
  return Status::Ok();
}

}  // namespace
}  // namespace emporium::bench

int main(int argc, char** argv) {
  gflags::ParseCommandLineFlags(&argc, &argv, true);
  const emporium::Status status = emporium::bench::MeasureAll();
  if (status.ok()) return 0;
  std::fprintf(stderr, "bench_train: %s\n", status.ToString().c_str());
  return 1;
}
