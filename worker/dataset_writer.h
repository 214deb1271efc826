// Turns a job's text (or column files) into the column files of a data set. Events are sorted by
// time, stable by file order, with the rows of a split's files one range after another; every
// dictionary is numbered by first appearance in that order; items that only the items' file names
// come last. Where each event came from is kept beside them (worker/origin.h).
//
// Memory: the dictionaries, the catalogue and one run of the sorter. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "proto/job.pb.h"
#include "proto/status.h"
#include "worker/data_files.h"

namespace emporium::worker {

struct PrepareProgress {
  int64_t rows = 0;
  int64_t bytes = 0;  // of text, unpacked
};

struct PrepareOptions {
  size_t sort_run_bytes = 256u << 20;  // events that are sorted in memory at once
  std::function<void(const PrepareProgress&)> progress;
  std::function<void(const std::string&)> warn;  // bad rows, a few of each file
};

struct PrepareReport {
  int64_t rows = 0;      // events
  int64_t bad_rows = 0;  // of all files
  int64_t bytes = 0;     // of text, unpacked
  std::string digest;    // SHA-256 (hex) of the data set
  bool reused = false;   // nothing had changed
};

// Writes events, items, index and origin files into `dir`, which exists and is empty.
Result<PrepareReport> WriteDataset(const spec::Data& data, const DataFiles& files,
                                   const std::string& dir, const PrepareOptions& options);

}  // namespace emporium::worker
