// The dense-only ceiling of a workload: its network trained on constant rows in as many threads as
// the job has lanes, side by side, with no reading, planning, pulling or pushing.
//
// One thread uses it.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "proto/job.pb.h"
#include "proto/status.h"
#include "worker/batch_source.h"

namespace emporium::bench {

class LaneCeiling {
 public:
  struct Rate {
    double samples_per_second = 0;
    double samples_per_cpu_second = 0;
  };
  using StepFunction = std::function<Status()>;  // trains one micro-batch

  // `lanes`: one function per lane, called by one thread at a time.
  LaneCeiling(std::vector<StepFunction> lanes, int64_t samples_per_step)
      : lanes_(std::move(lanes)), samples_(samples_per_step) {}

  // Samples per second of all lanes together, over whole steps of at least `seconds`, after a step
  // that does not count.
  Result<Rate> Measure(double seconds);

 private:
  std::vector<StepFunction> lanes_;
  int64_t samples_;
};

// A pointwise job: bench/ceiling.h with the job's sizes, its dense optimizer included.
LaneCeiling PointwiseCeiling(const spec::Job& job, int64_t fields, int64_t dense_width);
// Any job: its own model on some batches of `source`, with rows that never change.
Result<LaneCeiling> ModelCeiling(const spec::Job& job, const worker::BatchSource& source);

}  // namespace emporium::bench
