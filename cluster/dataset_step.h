// The first step of every run: the job's text becomes column files in the work directory (or is
// found there unchanged). Prints what it does. One thread.
#pragma once

#include <string>

#include "cluster/job_context.h"
#include "proto/status.h"

namespace emporium::cluster {

// Prepares `directory` from the job's data; prints rows, time and the bad rows that were skipped.
Status PrepareData(const JobContext& context, const std::string& directory);

}  // namespace emporium::cluster
