// The columns that a job's data files have, from their header lines alone: what `emporium check`
// compares the job with. Any thread; no state.
#pragma once

#include <string>
#include <vector>

#include "proto/job.pb.h"
#include "proto/status.h"

namespace emporium::worker {

struct SourceColumns {
  std::string file;                  // the first file of the source
  std::vector<std::string> columns;  // in its order; empty: it is a column file or has no header
};

// NotFound names a file or pattern that matches nothing; DataLoss a file that cannot be unpacked.
Result<SourceColumns> ReadSourceColumns(const spec::TextSource& source,
                                        const std::string& data_dir);

}  // namespace emporium::worker
