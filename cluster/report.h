// What the command says of a job: its progress from the scheduler's status, the table at its end,
// and how to go on. Reads and writes files of
// the work directory; main thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cluster/job_context.h"
#include "scheduler/status.h"

namespace emporium::cluster {

// The stage in work, from the JSON of `Scheduler.status`.
scheduler::Progress ProgressFromStatus(const std::string& json);

// How many workers a job wants, from the same; nothing when it does not say.
std::optional<uint32_t> WorkersWanted(const std::string& json);

// Keeps the status of a job that ends; a failure to write it is only logged.
void WriteLastStatus(const JobContext& context, const std::string& json);

// Logs of this process go to <work_dir>/logs/<name>.log; to stderr too when asked.
Status StartLog(const JobContext& context, const std::string& name, bool to_stderr);

// Metrics of every evaluate stage beside the floors, and where checkpoint and export lie, from the
// last status that the scheduler wrote.
void PrintSummary(const JobContext& context);

// "the same command goes on from checkpoint 3" or "... starts from the beginning".
std::string HowToGoOn(const JobContext& context);

}  // namespace emporium::cluster
