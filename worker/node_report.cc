#include "worker/node_report.h"

namespace emporium::worker {

control::MicroBatchLoss LossOf(const StepLoss& loss) {
  control::MicroBatchLoss out;
  out.step = static_cast<int64_t>(loss.step.value());
  out.micro_batch = static_cast<int32_t>(loss.micro_batch.value());
  out.samples = loss.samples;
  for (const models::LossTerm& term : loss.terms) out.terms[term.name] = term.value;
  return out;
}

void AddFailure(const Status& failure, const Trainer::Progress& progress, control::Report* report) {
  report->error_code = static_cast<int32_t>(failure.code());
  if (failure.ok()) return;
  report->error = failure.message();
  if (!progress.failed.has_value()) return;
  control::MicroBatchName name;
  name.step = static_cast<int64_t>(progress.failed->step.value());
  name.micro_batch = static_cast<int32_t>(progress.failed->micro_batch.value());
  report->__set_failed(name);
}

void AddNumbers(const Trainer::Progress& progress, const PsClientCounters& traffic,
                control::Report* report) {
  report->counters.samples = progress.samples;
  report->counters.micro_batches = progress.micro_batches;
  report->counters.first_push_ms = progress.first_push_ms;
  report->counters.backup_micro_batches = progress.backups;
  report->counters.backups_first = progress.backups_first;
  report->counters.bytes_pulled = traffic.bytes_received;
  report->counters.bytes_pushed = traffic.bytes_sent;
  report->counters.refused_frames = traffic.refused_frames;
  const TimeByPart& time = progress.time;
  report->seconds_by_part = {
      {"read", time.read},           {"plan", time.plan},           {"read_wait", time.read_wait},
      {"pull_wait", time.pull_wait}, {"unpack", time.unpack},       {"compute", time.compute},
      {"pack", time.pack},           {"push_wait", time.push_wait},
  };
}

}  // namespace emporium::worker
