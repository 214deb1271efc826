#include "ps/popularity.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "proto/exact_math.h"

namespace emporium::ps {
namespace {

TEST(HalfToTheTest, IsExp2ToTheLastBits) {
  std::mt19937_64 random(3);
  std::uniform_real_distribution<double> uniform(0, 1000);
  for (int i = 0; i < 100'000; ++i) {
    const double x = i % 2 == 0 ? uniform(random) : uniform(random) * 1e-4;
    EXPECT_NEAR(HalfToThe(x) / std::exp2(-x), 1, 5e-16) << x;
  }
}

TEST(HalfToTheTest, WholeNumbersAreExact) {
  EXPECT_EQ(HalfToThe(0), 1);
  for (int n = 0; n < 1070; ++n) EXPECT_EQ(HalfToThe(n), std::ldexp(1.0, -n)) << n;
  EXPECT_EQ(HalfToThe(5000), 0);
  EXPECT_EQ(HalfToThe(std::numeric_limits<double>::infinity()), 0);
}

TEST(DecayTest, HalvesEveryHalfLife) {
  const Decay decay(10);
  EXPECT_EQ(decay.Factor(100, 100), 1);
  EXPECT_NEAR(decay.Factor(100, 110), 0.5, 1e-15);
  EXPECT_NEAR(decay.Factor(100, 130), 0.125, 1e-15);
  EXPECT_NEAR(decay.Factor(3, 4), std::exp2(-0.1), 1e-15);
}

TEST(DecayTest, AStepBeforeCountsAsTheStepItself) {
  EXPECT_EQ(Decay(10).Factor(100, 99), 1);
  EXPECT_EQ(Decay(10).Factor(100, 0), 1);
}

TEST(DecayTest, WithoutHalfLifeNothingFades) {
  EXPECT_EQ(Decay(0).Factor(0, std::numeric_limits<uint32_t>::max()), 1);
}

TEST(DecayTest, ExtremeHalfLives) {
  EXPECT_EQ(Decay(1e-310).Factor(0, 1), 0);
  EXPECT_NEAR(Decay(1e300).Factor(0, 1), 1, 1e-15);
}

}  // namespace
}  // namespace emporium::ps
