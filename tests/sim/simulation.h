// A whole job under faults that follow from a seed, and the same job without any: both must end in
// the same bits. See docs/reliability.md.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/sim/scheduler_host.h"
#include "tests/sim/server_host.h"
#include "tests/sim/truth.h"
#include "tests/sim/worker_host.h"
#include "tests/sim/world.h"

namespace emporium::sim {

struct Options {
  uint64_t seed = 1;
  bool faults = true;
  bool one_of_each = false;  // else the numbers of servers, shards and workers follow from the seed
  bool print = false;        // the trace, to stdout
  const Truth* truth = nullptr;  // of the same job; nothing: it is found out
};

struct Outcome {
  std::string broken;  // which promise; empty: none
  Truth truth;         // as far as it is known
  uint64_t trace_hash = 0;
  int64_t faults = 0, boots = 0, returns = 0;
  uint64_t stale = 0;    // frames that were refused
  uint64_t backups = 0;  // micro-batches computed in the place of others
  double seconds = 0;    // of simulated time, to the end
};

// Runs to the end of the job, or to the first broken promise.
Outcome Simulate(const Options& options);

// What jobs without faults do, clipped and not: what Simulate compares those of a seed with.
class Truths {
 public:
  Truths();
  const std::string& broken() const { return broken_; }
  const Truth& Of(uint64_t seed) const;

 private:
  std::string broken_;
  Truth plain_, clipped_;
};

}  // namespace emporium::sim
