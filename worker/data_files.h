// What a job says of its data, before a byte of it is read: the files that its names and globs
// mean, and whether the columns that it gives a part to exist. Any thread; no state.
#pragma once

#include <string>
#include <vector>

#include "proto/job.pb.h"
#include "proto/status.h"

namespace emporium::worker {

// The files of the job's data, found once: what is read and what the fingerprint is made of.
struct DataFiles {
  std::vector<std::string> events[3];  // train (or all), validation, test
  std::vector<std::string> items;
};
Result<DataFiles> FindDataFiles(const spec::Data& data, const std::string& data_dir);

// Columns whose part in the data the job names: they exist, and have a type that fits.
Status CheckDataColumns(const spec::Data& data);

}  // namespace emporium::worker
