// A whole job under faults that follow from a seed, and the same job without any: both must end in
// the same bits. See docs/reliability.md.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/sim/scheduler_host.h"
#include "tests/sim/server_host.h"
#include "tests/sim/worker_host.h"
#include "tests/sim/world.h"

namespace emporium::sim {

struct Options {
  uint64_t seed = 1;
  bool faults = true;
  bool one_of_each = false;  // else the numbers of servers, shards and workers follow from the seed
  bool print = false;        // the trace, to stdout
};

struct Outcome {
  std::string broken;  // which promise; empty: none
  std::string digest;  // of the last checkpoint
  uint64_t trace_hash = 0;
  int64_t faults = 0, boots = 0, returns = 0;
  uint64_t stale = 0;    // frames that were refused
  uint64_t backups = 0;  // micro-batches computed in the place of others
};

// Runs to the end of the job, or to the first broken promise.
Outcome Simulate(const Options& options);

}  // namespace emporium::sim
