// Runs the simulator over seeds: simulate [--from N] [--seeds N] [--trace]. Prints figures for
// bench/figures; exit code 1 when a promise was broken.
#include <gflags/gflags.h>

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdio>

#include "proto/planted_bug.h"
#include "tests/sim/simulation.h"

DEFINE_uint64(from, 1, "first seed");
DEFINE_uint64(seeds, 1'000, "how many");
DEFINE_bool(faults, true, "let things fail");
DEFINE_string(bug, "none", "of proto/planted_bug.h, in simulate_bugs");
DEFINE_bool(trace, false, "print what happens");

#ifdef EMPORIUM_PLANTED_BUGS
namespace emporium {
PlantedBug planted_bug = PlantedBug::kNone;
}
#endif

namespace {

// False when this program has no such bug.
bool Plant(const std::string& name) {
#ifdef EMPORIUM_PLANTED_BUGS
  for (size_t i = 0; i < emporium::kPlantedBugNames.size(); ++i) {
    if (emporium::kPlantedBugNames[i] != name) continue;
    emporium::planted_bug = static_cast<emporium::PlantedBug>(i);
    return true;
  }
  return false;
#else
  return name == "none";
#endif
}

}  // namespace

int main(int argc, char** argv) {
  gflags::ParseCommandLineFlags(&argc, &argv, true);
  using emporium::sim::Outcome;
  using emporium::sim::Simulate;
  const auto start = std::chrono::steady_clock::now();
  const emporium::sim::Truths truths;
  if (!truths.broken().empty()) {
    std::printf("%s\n", truths.broken().c_str());
    return 1;
  }
  if (!Plant(FLAGS_bug)) {
    std::fprintf(stderr, "there is no bug %s here\n", FLAGS_bug.c_str());
    return 2;
  }
  uint64_t broken = 0;
  int64_t faults = 0, returns = 0;
  uint64_t stale = 0;
  double longest = 0;
  for (uint64_t seed = FLAGS_from; seed < FLAGS_from + FLAGS_seeds; ++seed) {
    const Outcome outcome = Simulate(
        {.seed = seed, .faults = FLAGS_faults, .print = FLAGS_trace, .truth = &truths.Of(seed)});
    faults += outcome.faults;
    returns += outcome.returns;
    stale += outcome.stale;
    longest = std::max(longest, outcome.seconds);
    if (outcome.broken.empty()) continue;
    ++broken;
    std::printf("seed %" PRIu64 ": %s; replay it with --from %" PRIu64 " --seeds 1 --trace\n", seed,
                outcome.broken.c_str(), seed);
  }
  const double minutes =
      std::chrono::duration<double, std::ratio<60>>(std::chrono::steady_clock::now() - start)
          .count();
  std::printf("figure simulated_seeds %" PRIu64 "\n", FLAGS_seeds);
  std::printf("figure simulated_faults %" PRId64 "\n", faults);
  std::printf("figure simulated_returns %" PRId64 "\n", returns);
  std::printf("figure simulated_stale_frames %" PRIu64 "\n", stale);
  std::printf("figure simulated_longest_seconds %.0f\n", longest);
  std::printf("figure simulated_seeds_per_minute %.0f\n",
              static_cast<double>(FLAGS_seeds) / minutes);
  std::printf("figure simulated_broken %" PRIu64 "\n", broken);
  return broken == 0 ? 0 : 1;
}
