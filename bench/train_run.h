// A job in `run` mode that can be held and let go: scheduler, one server with its shards and a
// worker in this process, exactly as `emporium run` puts them together, but that the worker reads
// its batches through a gate. While the gate is shut nothing is under way, so that something else
// can be measured in turn with it.
//
// One thread uses it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "cluster/job_context.h"
#include "proto/status.h"

namespace emporium::bench {

struct TrainWindow {
  double samples_per_second = 0;
  double samples_per_cpu_second = 0;  // of all threads of the process
  // Seconds of threads per second, by part: of the worker (worker/pipeline.h, TimeByPart) and of
  // the shards ("shard apply", "shard serve").
  std::map<std::string, double> parts;
};

class TrainRun {
 public:
  // `context`: a checked job of one train stage whose data is prepared; outlives the run. What an
  // earlier run left in its work directory is forgotten. The gate is shut.
  static Result<std::unique_ptr<TrainRun>> Start(const cluster::JobContext& context);
  virtual ~TrainRun() = default;

  // Opens the gate for `skip_steps` steps that do not count, then for whole steps of at least
  // `seconds`; shuts it and waits until every gradient is acknowledged. The rate is that between
  // the moments in which the first and the last of these steps began to be read: reading is ahead
  // of computing by a bounded number of batches, and in both moments by as many as it may.
  virtual Result<TrainWindow> Measure(uint64_t skip_steps, double seconds) = 0;
};

}  // namespace emporium::bench
