#include "cluster/dataset_step.h"

#include <cstdio>

#include "runtime/clock.h"
#include "worker/prepare.h"

namespace emporium::cluster {

Status PrepareData(const JobContext& context, const std::string& directory) {
  const runtime::Stopwatch watch;
  worker::PrepareOptions options;
  options.warn = [](const std::string& line) {
    std::fprintf(stderr, "emporium: %s\n", line.c_str());
  };
  EMPORIUM_ASSIGN_OR_RETURN(
      const worker::PrepareReport report,
      worker::PrepareDataset(context.job, context.data_dir, directory, options));
  if (report.reused) {
    std::printf("data: unchanged since the last run, %s\n", directory.c_str());
  } else {
    std::printf("data: %ld events (%.1f MB of text) converted in %.1f s to %s\n",
                static_cast<long>(report.rows), static_cast<double>(report.bytes) / 1e6,
                watch.Seconds(), directory.c_str());
  }
  if (report.bad_rows > 0) {
    std::printf("data: %ld bad rows were skipped (data.max_bad_rows, data.max_bad_fraction)\n",
                static_cast<long>(report.bad_rows));
  }
  std::fflush(stdout);
  return Status::Ok();
}

}  // namespace emporium::cluster
