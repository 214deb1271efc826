// What people see of a job: the line of progress, the status as JSON and as Prometheus text. Pure
// functions of the machine and of what the service adds; called under the service's lock.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "scheduler/job_machine.h"

namespace emporium::scheduler {

// What a terminal shows while the job runs.
struct Progress {
  std::string stage;             // empty: none is in work
  std::string doing;             // "training", "validating", "writing a checkpoint", ...
  uint64_t done = 0, total = 0;  // steps or chunks
  uint64_t samples = 0;          // of the stage so far
  double samples_per_second = 0;
  double loss = 0;  // smoothed
  bool has_loss = false;
  double seconds_left = 0;  // of the stage
  bool has_seconds_left = false;
  bool over = false;
};

// A stage at the end of the job.
struct StageOutcome {
  std::string name;
  std::string kind;  // "train", "evaluate", "export"
  bool done = false;
  uint64_t steps = 0, samples = 0;  // train
  Metrics metrics;                  // of an evaluate or export stage; of a train stage the newest
                                    // validation's
};

// What the service counts beside the machine.
struct ServiceCounts {
  int64_t store_failures = 0;
  int64_t calls = 0, refused_calls = 0;
};

Progress ProgressOf(const JobMachine& machine, int64_t now_ms);
std::vector<StageOutcome> OutcomesOf(const JobMachine& machine);
std::string StatusJson(const JobMachine& machine, const std::deque<Event>& events,
                       const ServiceCounts& counts, int64_t now_ms);
std::string PrometheusText(const JobMachine& machine, const ServiceCounts& counts, int64_t now_ms);

}  // namespace emporium::scheduler
