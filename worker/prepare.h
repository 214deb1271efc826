// PrepareDataset: a job's text becomes the directory that worker/dataset.h opens. Done once: when
// the sources and the job's data section are what they were, nothing is read again.
//
// The directory appears whole or not at all (made beside it, then renamed). Several processes may
// prepare the same directory at once: they take turns by a lock file, and the later ones find the
// work done.
#pragma once

#include <string>

#include "proto/job.pb.h"
#include "proto/status.h"
#include "worker/dataset_writer.h"

namespace emporium::worker {

// `data_dir`: what relative file names of the job are relative to. `out_dir`: made if need be.
// May be called from any thread; one call at a time for a directory within a process.
Result<PrepareReport> PrepareDataset(const spec::Job& job, const std::string& data_dir,
                                     const std::string& out_dir, const PrepareOptions& options);

}  // namespace emporium::worker
