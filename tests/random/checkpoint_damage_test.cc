// Some of the damage that bench_damage does to a checkpoint, in the same way: all is seen, and the
// older checkpoint is chosen.
#include "bench/checkpoint_damage.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/ps/shard_fixture.h"

namespace emporium::bench {
namespace {

TEST(CheckpointDamageTest, IsSeenAndTheOlderOneIsChosen) {
  const std::string root = ps::testing::ScratchDir("checkpoint-damage");
  const Result<DamageCounts> counts = CheckpointDamage(root).Run(300);
  std::filesystem::remove_all(root);
  ASSERT_TRUE(counts.ok()) << counts.status().ToString();
  EXPECT_GT(counts->truncations, 200u);
  EXPECT_GT(counts->flips, 200u);
  EXPECT_EQ(counts->truncations_detected, counts->truncations);
  EXPECT_EQ(counts->flips_detected, counts->flips);
  EXPECT_EQ(counts->previous_chosen, counts->truncations + counts->flips);
}

}  // namespace
}  // namespace emporium::bench
