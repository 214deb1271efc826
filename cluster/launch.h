// `emporium launch`: the scheduler, servers and workers of a job as processes of this host, talking
// over loopback, with a log each. The launcher owns them: when it ends, however, they end.
// Main thread only.
#pragma once

#include "cluster/job_context.h"
#include "cluster/signals.h"

namespace emporium::cluster {

// Runs the job to its end; returns the exit code of the command.
int Launch(const JobContext& context, SignalWatch* signals);

}  // namespace emporium::cluster
