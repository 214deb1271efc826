// Two pieces of work compared fairly on a machine whose speed drifts and which others use too: in
// bursts of about 50 ms, reference, candidate, reference, ..., each candidate burst compared with
// the mean of the references around it. A pair during which others took much of the CPU is thrown
// away; a run's ratio is the median of its pairs. Belongs to one thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <vector>

#include "bench/cpu_time.h"
#include "runtime/clock.h"

namespace emporium::bench {

// Does some batches of work, beginning with batch number `first`.
using Work = std::function<void(size_t first, size_t batches)>;

struct Spread {
  double median = 0;
  double low = 0;  // of the runs
  double high = 0;
};
inline Spread SpreadOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

struct Comparison {
  Spread ratio;            // rate of the candidate over that of the reference
  double candidate_s = 0;  // median seconds of a batch
  double reference_s = 0;
  double contended = 0;  // share of the pairs that others disturbed
};

class Bursts {
 public:
  // Seconds of a batch, and the share of the time that the thread did not have the CPU.
  struct Burst {
    double seconds = 0;
    double foreign = 0;
  };
  Burst Run(const Work& work, size_t batches) {
    const double cpu = ThreadCpuSeconds();
    const runtime::Stopwatch watch;
    work(next_, batches);
    next_ += batches;
    const double wall = watch.Seconds();
    const double used = ThreadCpuSeconds() - cpu;
    return {used / static_cast<double>(batches), std::max(0.0, 1 - used / wall)};
  }

  // As many batches as take about `seconds`.
  size_t BatchesIn(const Work& work, double seconds) {
    Run(work, 4);
    const double one = Run(work, 8).seconds;
    return std::max<size_t>(1, static_cast<size_t>(seconds / one));
  }

  Comparison Compare(const Work& reference, const Work& candidate, int runs, int pairs) {
    constexpr double kBurst = 0.05;
    constexpr double kForeign = 0.05;
    constexpr int kPatience = 2;  // times the wanted number of pairs
    const size_t reference_batches = BatchesIn(reference, kBurst);
    const size_t candidate_batches = BatchesIn(candidate, kBurst);
    std::vector<double> ratios;
    std::vector<double> candidate_s;
    std::vector<double> reference_s;
    int tried = 0;
    int disturbed = 0;
    for (int run = 0; run < runs; ++run) {
      std::vector<std::pair<double, double>> found;  // foreign share, ratio
      Burst before = Run(reference, reference_batches);
      int quiet = 0;
      for (int i = 0; i < kPatience * pairs && quiet < pairs; ++i) {
        const Burst mine = Run(candidate, candidate_batches);
        const Burst after = Run(reference, reference_batches);
        const double around = (before.seconds + after.seconds) / 2;
        const double foreign = std::max({before.foreign, mine.foreign, after.foreign});
        ++tried;
        (foreign > kForeign ? disturbed : quiet) += 1;
        found.emplace_back(foreign, around / mine.seconds);
        candidate_s.push_back(mine.seconds);
        reference_s.push_back(around);
        before = after;
      }
      // The quietest ones; without enough quiet pairs the least disturbed must do.
      std::sort(found.begin(), found.end());
      std::vector<double> kept;
      for (int i = 0; i < std::min<int>(pairs, static_cast<int>(found.size())); ++i) {
        kept.push_back(found[static_cast<size_t>(i)].second);
      }
      ratios.push_back(SpreadOf(kept).median);
    }
    return {SpreadOf(ratios), SpreadOf(candidate_s).median, SpreadOf(reference_s).median,
            static_cast<double>(disturbed) / tried};
  }

 private:
  size_t next_ = 0;
};

}  // namespace emporium::bench
