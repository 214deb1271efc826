// The losses that workers report by micro-batch, put together to losses of steps and a curve of
// bounded length, and how fast samples come in. Sums run in the order of micro-batches, so that the
// curve is the same bits in any shape of the cluster.
//
// State machines without time of their own; belong to one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "proto/control_types.h"
#include "scheduler/stages.h"
#include "scheduler/state_store.h"

namespace emporium::scheduler {

// The losses of one train stage.
class LossTracker {
 public:
  // `curve`: what an earlier run of the scheduler had of this stage.
  LossTracker(TrainPlan plan, std::vector<CurvePoint> curve);

  // Losses of steps in [from, until). A second report of the same micro-batch changes nothing.
  // Returns the samples that are new.
  uint64_t Add(const control::MicroBatchLoss& loss, uint64_t from, uint64_t until);
  // Everything before `step` has been applied: what is still missing there is not waited for.
  void Settle(uint64_t step);

  // Exponential moving mean over about 20 steps of the term "loss" (or of the only one).
  std::optional<double> smoothed() const { return smoothed_; }
  // Terms of the newest complete step.
  const std::map<std::string, double>& newest() const { return newest_; }
  // Each point is the mean over `stride` steps, a power of two; without gaps in the steps that have
  // been reported.
  const std::vector<CurvePoint>& curve() const { return curve_; }
  // All steps before this one are in the curve.
  uint64_t settled() const { return settled_; }

 private:
  struct Part {
    int64_t samples = 0;
    std::map<std::string, double> terms;
  };
  using Parts = std::map<int32_t, Part>;  // by micro-batch

  void Finish(uint64_t step, const Parts& parts);
  void AddToCurve(uint64_t step, const std::map<std::string, double>& terms);

  const TrainPlan plan_;
  std::map<uint64_t, Parts> open_;  // steps of which micro-batches are missing
  uint64_t settled_ = 0;            // steps before this one are over
  std::map<std::string, double> newest_;
  std::optional<double> smoothed_;
  uint64_t stride_ = 1;
  std::vector<CurvePoint> curve_;  // the last one may have fewer than stride_ steps
};

// Something per second, over the newest limits::kRateWindowMs.
class RateMeter {
 public:
  void Add(int64_t now_ms, uint64_t count);
  // 0 while nothing is known.
  double PerSecond(int64_t now_ms) const;
  void Reset() { *this = RateMeter(); }

 private:
  struct Mark {
    int64_t at_ms;
    uint64_t count;
  };
  std::deque<Mark> marks_;  // at most one a 100 ms
  uint64_t sum_ = 0;        // of all marks but the first
};

}  // namespace emporium::scheduler
