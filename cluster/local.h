// A whole job in this process: scheduler, one server with its shards, workers, all over inproc://.
// Main thread only.
#pragma once

#include "cluster/job_context.h"
#include "cluster/signals.h"

namespace emporium::cluster {

enum class LocalWork {
  kWholeJob,    // from where an earlier run stopped
  kExportOnly,  // only the export stages, from the newest checkpoint
};

// Prepares the data, runs to the end, prints progress and the table at the end; returns the exit
// code of the command. Ctrl-C stops after the step in work and a checkpoint, a second one at once.
int RunLocal(const JobContext& context, LocalWork work, SignalWatch* signals);

}  // namespace emporium::cluster
