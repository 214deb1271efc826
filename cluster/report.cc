#include "cluster/report.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

#include "proto/control_types.h"
#include "runtime/file.h"
#include "runtime/log.h"
#include "runtime/manifest.h"
#include "worker/metric_table.h"

namespace emporium::cluster {
namespace {

using nlohmann::json;

// The stage of `status` whose state is "running", or null.
const json* RunningStage(const json& status) {
  for (const json& stage : status.at("stages")) {
    if (stage.value("state", "") == "running") return &stage;
  }
  return nullptr;
}

std::vector<control::Metric> MetricsOf(const json& stage) {
  std::vector<control::Metric> metrics;
  for (const auto& [name, value] : stage.at("metrics").items()) {
    if (!value.is_number()) continue;
    control::Metric metric;
    metric.name = name;
    metric.value = value.get<double>();
    metrics.push_back(std::move(metric));
  }
  return metrics;
}

void PrintStage(const JobContext& context, const json& stage) {
  const std::string name = stage.value("name", "");
  const std::string kind = stage.value("kind", "");
  if (const uint64_t left_out = stage.value("quarantined_micro_batches", uint64_t{0})) {
    std::printf("\n%s: %llu micro-batches failed everywhere and were left out\n", name.c_str(),
                static_cast<unsigned long long>(left_out));
    for (const json& one : stage.at("left_out")) {
      std::printf("  step %llu, micro-batch %llu: %s\n",
                  static_cast<unsigned long long>(one.value("step", uint64_t{0})),
                  static_cast<unsigned long long>(one.value("micro_batch", uint64_t{0})),
                  one.value("error", "").c_str());
    }
  }
  if (kind == "evaluate") {
    std::printf("\n%s:\n%s", name.c_str(), worker::MetricTable(MetricsOf(stage)).c_str());
  } else if (kind == "export") {
    std::printf("\n%s: %s\n", name.c_str(), context.export_dir(name).c_str());
    for (const control::Metric& metric : MetricsOf(stage)) {
      std::printf("  %-16s %.6g\n", metric.name.c_str(), metric.value);
    }
  }
}

}  // namespace

scheduler::Progress ProgressFromStatus(const std::string& text) {
  scheduler::Progress progress;
  const json status = json::parse(text, nullptr, false);
  if (status.is_discarded() || !status.contains("stages")) return progress;
  progress.doing = status.value("state", "");
  const json* stage = RunningStage(status);
  if (stage == nullptr) return progress;
  progress.stage = stage->value("name", "");
  progress.done = stage->value("done", uint64_t{0});
  progress.total = stage->value("total", uint64_t{0});
  progress.samples = stage->value("samples", uint64_t{0});
  progress.samples_per_second = stage->value("samples_per_second", 0.0);
  progress.has_loss = stage->contains("loss");
  progress.loss = stage->value("loss", 0.0);
  progress.has_seconds_left = stage->contains("seconds_left");
  progress.seconds_left = stage->value("seconds_left", 0.0);
  return progress;
}

std::optional<uint32_t> WorkersWanted(const std::string& text) {
  const json status = json::parse(text, nullptr, false);
  if (status.is_discarded() || !status.contains("workers_wanted")) return std::nullopt;
  return status["workers_wanted"].get<uint32_t>();
}

void WriteLastStatus(const JobContext& context, const std::string& json) {
  const Status written = runtime::WriteFileDurably(context.status_path(), json + "\n");
  if (!written.ok()) runtime::Log(runtime::LogLevel::kWarning, "run", "{}", written.ToString());
}

Status StartLog(const JobContext& context, const std::string& name, bool to_stderr) {
  EMPORIUM_RETURN_IF_ERROR(runtime::MakeDirs(context.log_dir()));
  EMPORIUM_RETURN_IF_ERROR(runtime::SetLogFile(context.log_dir() + "/" + name + ".log"));
  runtime::SetLogToStderr(to_stderr);
  return Status::Ok();
}

void PrintSummary(const JobContext& context) {
  Result<std::string> text = runtime::ReadFile(context.status_path());
  if (!text.ok()) return;
  const json status = json::parse(*text, nullptr, false);
  if (status.is_discarded() || !status.contains("stages")) return;
  for (const json& stage : status.at("stages")) PrintStage(context, stage);
  Result<std::vector<runtime::CheckpointInfo>> all =
      runtime::ListCheckpoints(context.checkpoint_dir());
  if (all.ok() && !all->empty()) {
    std::printf("\ncheckpoint: %s\n", all->back().dir.c_str());
  }
  std::fflush(stdout);
}

std::string HowToGoOn(const JobContext& context) {
  Result<std::vector<runtime::CheckpointInfo>> all =
      runtime::ListCheckpoints(context.checkpoint_dir());
  if (all.ok()) {
    for (auto it = all->rbegin(); it != all->rend(); ++it) {
      if (!it->status.ok()) continue;
      return "the same command goes on from checkpoint " + std::to_string(it->number) + " (stage " +
             context.job.stage(static_cast<int>(it->manifest.stage())).name() + ", step " +
             std::to_string(it->manifest.step()) + ")";
    }
  }
  return "there is no checkpoint yet: the same command starts from the beginning";
}

}  // namespace emporium::cluster
