#include <gtest/gtest.h>

#include "tests/sim/simulation.h"

namespace emporium::sim {
namespace {

constexpr uint64_t kSeeds = 150;

// How to see what happened.
std::string Replay(uint64_t seed) {
  return "replay it with: build/release/tests/simulate --from " + std::to_string(seed) +
         " --seeds 1 --trace";
}

TEST(Simulation, EndsInTheSameBitsUnderAnyFaults) {
  const Truths truths;
  ASSERT_EQ(truths.broken(), "");
  int64_t faults = 0, returns = 0;
  uint64_t backups = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const Outcome outcome = Simulate({.seed = seed, .truth = &truths.Of(seed)});
    ASSERT_EQ(outcome.broken, "") << Replay(seed);
    faults += outcome.faults;
    returns += outcome.returns;
    backups += outcome.backups;
  }
  // The faults reach what they are meant for.
  EXPECT_GT(faults, static_cast<int64_t>(5 * kSeeds));
  EXPECT_GT(returns, static_cast<int64_t>(kSeeds / 4));
  EXPECT_GT(backups, kSeeds / 4);
}

TEST(Simulation, TheSameSeedGivesTheSameTrace) {
  for (const uint64_t seed : {3u, 77u}) {
    EXPECT_EQ(Simulate({.seed = seed}).trace_hash, Simulate({.seed = seed}).trace_hash);
  }
  EXPECT_NE(Simulate({.seed = 3}).trace_hash, Simulate({.seed = 4}).trace_hash);
}

}  // namespace
}  // namespace emporium::sim
