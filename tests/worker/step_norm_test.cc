#include "worker/step_norm.h"

#include <gtest/gtest.h>

#include <vector>

namespace emporium::worker {
namespace {

ShardSquares At(Step version, double squares) {
  ShardSquares shard{version, {}};
  shard.squares.Add(squares);
  return shard;
}

TEST(StepNorm, IsTheRootOfAllShardsSquares) {
  // One of them has applied the step already.
  std::vector<ShardSquares> shards = {At(Step(7), 9), At(Step(8), 16), At(Step(7), 0)};
  EXPECT_EQ(NormOf(Step(7), shards), 5.0);
  // One that is two steps on says that all have applied it.
  shards.push_back(At(Step(9), 0));
  EXPECT_FALSE(NormOf(Step(7), shards).has_value());
}

TEST(StepNorm, ClipsDownNeverUp) {
  EXPECT_EQ(ClipFactor(0, 2), 1);
  EXPECT_EQ(ClipFactor(2, 2), 1);
  EXPECT_EQ(ClipFactor(8, 2), 0.25f);
  EXPECT_EQ(ClipFactor(1e60, 1), 0);
}

}  // namespace
}  // namespace emporium::worker
