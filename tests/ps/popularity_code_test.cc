// What compressing a popularity may cost: the bounds of popularity_code.h, and that nothing is lost
// on average.
#include "ps/popularity_code.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "ps/popularity.h"

namespace emporium::ps {
namespace {

float RoundTrip(const PopularityCode& code, float value, uint32_t random) {
  std::array<std::byte, 4> bytes{};
  code.Encode(value, random, bytes.data());
  return code.Decode(bytes.data());
}

TEST(PopularityCodeTest, EveryCodeComesBack) {
  for (const uint32_t bytes : {1u, 2u, 3u}) {
    const PopularityCode code(bytes);
    float last = -1;
    for (uint32_t c = 0; c < 1u << (8 * bytes); c += bytes == 3 ? 17 : 1) {
      const auto* raw = reinterpret_cast<const std::byte*>(&c);
      const float value = code.Decode(raw);
      ASSERT_GT(value, last) << "codes are in the order of their values";
      last = value;
      for (const uint32_t random : {0u, 0x80000000u, 0xffffffffu}) {
        ASSERT_EQ(RoundTrip(code, value, random), value) << bytes << " " << c;
      }
    }
  }
}

TEST(PopularityCodeTest, RangesAreAsStated) {
  EXPECT_EQ(PopularityCode(1).largest(), 0x1.ep24f);
  EXPECT_EQ(PopularityCode(2).largest(), 0x1.ffcp40f);
  EXPECT_EQ(PopularityCode(3).largest(), 0x1.ffff8p64f);
  for (const uint32_t bytes : {1u, 2u, 3u, 4u}) {
    const PopularityCode code(bytes);
    EXPECT_EQ(RoundTrip(code, std::numeric_limits<float>::max(), 7), code.largest());
    EXPECT_EQ(RoundTrip(code, 0, 0xffffffff), 0);
  }
}

TEST(PopularityCodeTest, OneRoundingErrsBelowTheStatedBound) {
  std::mt19937_64 random(4);
  std::uniform_real_distribution<double> octave(-5, 20);
  const double bounds[] = {0x1p-3, 0x1p-10, 0x1p-17, 0};
  for (const uint32_t bytes : {1u, 2u, 3u, 4u}) {
    const PopularityCode code(bytes);
    for (int i = 0; i < 20'000; ++i) {
      const auto value = static_cast<float>(std::exp2(octave(random)));
      const float read = RoundTrip(code, value, static_cast<uint32_t>(random()));
      ASSERT_LE(std::abs(read - value), value * bounds[bytes - 1]) << bytes;
    }
  }
}

TEST(PopularityCodeTest, TheMeanIsExact) {
  const float values[] = {0.0004f, 0.011f, 1.03f, 77.7f, 1023.4f, 1e6f};
  for (const uint32_t bytes : {1u, 2u, 3u}) {
    const PopularityCode code(bytes);
    for (const float value : values) {
      double sum = 0;
      constexpr int kDraws = 1 << 15;
      for (int i = 0; i < kDraws; ++i) {
        // Evenly spread random words: the mean is exact but for the last of them.
        sum += RoundTrip(code, value, static_cast<uint32_t>(i) << 17);
      }
      EXPECT_NEAR(sum / kDraws / value, 1, 1e-3) << bytes << " bytes, " << value;
    }
  }
}

// A row that is sighted once in each step: without random rounding a byte stops counting at 16.
TEST(PopularityCodeTest, SmallIncrementsAreNotLost) {
  struct Bound {
    uint32_t bytes;
    double mean, spread;
  };
  // Of 600 rows after 5000 steps: relative error of their mean, and standard deviation of one.
  for (const Bound bound : {Bound{1, 0.01, 0.07}, Bound{2, 1e-3, 6e-3}, Bound{3, 1e-5, 1e-4}}) {
    const PopularityCode code(bound.bytes);
    const Decay decay(1000);
    double exact = 0;
    for (int step = 1; step <= 5000; ++step) exact = exact * decay.Factor(1, 2) + 1;
    double sum = 0, squares = 0;
    constexpr int kRows = 600;
    for (uint64_t key = 0; key < kRows; ++key) {
      float count = 0;
      for (uint32_t step = 1; step <= 5000; ++step) {
        const auto next = static_cast<float>(count * decay.Factor(1, 2) + 1);
        count = RoundTrip(code, next, PopularityBits(9, key, step));
      }
      sum += count;
      squares += (count - exact) * (count - exact);
    }
    EXPECT_NEAR(sum / kRows / exact, 1, bound.mean) << bound.bytes;
    EXPECT_LT(std::sqrt(squares / kRows) / exact, bound.spread) << bound.bytes;
    RecordProperty("spread_of_" + std::to_string(bound.bytes),
                   std::to_string(std::sqrt(squares / kRows) / exact));
  }
  const PopularityCode byte(1);
  float nearest = 16;
  for (int i = 0; i < 100; ++i) nearest = RoundTrip(byte, nearest + 0.9f, 0x7fffffff);
  EXPECT_EQ(nearest, 16) << "plain rounding loses every one of them";
}

TEST(PopularityCodeTest, RandomBitsArePinnedAndDiffer) {
  EXPECT_NE(PopularityBits(1, 2, 3), PopularityBits(1, 2, 4));
  EXPECT_NE(PopularityBits(1, 2, 3), PopularityBits(1, 3, 3));
  EXPECT_NE(PopularityBits(1, 2, 3), PopularityBits(2, 2, 3));
  double sum = 0;
  for (uint32_t step = 0; step < 100'000; ++step) sum += PopularityBits(5, 6, step) * 0x1p-32;
  EXPECT_NEAR(sum / 100'000, 0.5, 0.005);
}

}  // namespace
}  // namespace emporium::ps
