#include "ps/initializer.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

namespace emporium::ps {
namespace {

Result<Initializer> Try(const std::string& text, uint64_t seed) {
  spec::Initializer spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &spec)) << text;
  return Initializer::Make(spec, seed);
}

std::vector<float> Values(const std::string& text, uint64_t seed, uint64_t key, size_t n) {
  std::vector<float> values(n, -7.0f);
  Try(text, seed).value().Fill(key, values);
  return values;
}

struct Moments {
  double mean = 0, stddev = 0;
  float low = 0, high = 0;
};

// Over many keys, as a table sees it.
Moments MomentsOf(const std::string& text) {
  std::vector<float> all;
  for (uint64_t key = 0; key < 20'000; ++key) {
    const auto row = Values(text, 11, key, 5);
    all.insert(all.end(), row.begin(), row.end());
  }
  Moments m;
  for (float x : all) m.mean += x / static_cast<double>(all.size());
  for (float x : all) m.stddev += (x - m.mean) * (x - m.mean) / static_cast<double>(all.size());
  m.stddev = std::sqrt(m.stddev);
  m.low = *std::min_element(all.begin(), all.end());
  m.high = *std::max_element(all.begin(), all.end());
  return m;
}

TEST(NormalQuantileTest, IsTheInverseOfTheNormalDistribution) {
  for (double x = -8; x <= 5; x += 0.037) {
    const double p = 0.5 * std::erfc(-x / std::sqrt(2.0));
    EXPECT_NEAR(NormalQuantile(p), x, 3e-7 * std::max(1.0, std::fabs(x))) << x;
  }
  EXPECT_EQ(NormalQuantile(0.5), 0);
}

TEST(InitializerTest, KindsHaveTheirDistribution) {
  EXPECT_EQ(Values("zeros {}", 1, 2, 3), (std::vector<float>{0, 0, 0}));
  EXPECT_EQ(Values("constant { value: 1.5 }", 1, 2, 2), (std::vector<float>{1.5f, 1.5f}));

  const Moments uniform = MomentsOf("uniform { low: -1 high: 3 }");
  EXPECT_NEAR(uniform.mean, 1, 0.02);
  EXPECT_NEAR(uniform.stddev, 4 / std::sqrt(12.0), 0.01);
  EXPECT_GE(uniform.low, -1);
  EXPECT_LT(uniform.high, 3);

  const Moments normal = MomentsOf("normal { mean: 2 stddev: 0.5 }");
  EXPECT_NEAR(normal.mean, 2, 0.01);
  EXPECT_NEAR(normal.stddev, 0.5, 0.005);
  EXPECT_LT(normal.low, 2 - 3.5 * 0.5);
  EXPECT_GT(normal.high, 2 + 3.5 * 0.5);

  const Moments truncated = MomentsOf("truncated_normal { mean: 2 stddev: 0.5 }");
  EXPECT_NEAR(truncated.mean, 2, 0.01);
  EXPECT_NEAR(truncated.stddev, 0.87963 * 0.5, 0.005);
  EXPECT_NEAR(truncated.low, 1, 0.002);
  EXPECT_NEAR(truncated.high, 3, 0.002);
  EXPECT_GE(truncated.low, 1);
  EXPECT_LE(truncated.high, 3);

  const Moments xavier = MomentsOf("xavier { gain: 2 }");  // rows of 5
  EXPECT_NEAR(xavier.mean, 0, 0.02);
  EXPECT_NEAR(xavier.stddev, 2 / std::sqrt(5.0), 0.01);
  EXPECT_NEAR(xavier.high, 2 * std::sqrt(3 / 5.0), 0.001);
  EXPECT_EQ(Values("xavier { gain: 0 }", 1, 2, 3), (std::vector<float>{0, 0, 0}));
}

TEST(InitializerTest, EveryLevelGivesTheSameBits) {
  for (const char* text :
       {"zeros {}", "constant { value: 3 }", "uniform {}", "normal { mean: 1 stddev: 3 }",
        "truncated_normal { stddev: 2 }", "xavier {}"}) {
    const Initializer initializer = Try(text, 8).value();
    for (uint64_t key = 0; key < 200; ++key) {
      const size_t dim = 1 + key % 130;
      std::vector<float> want(dim + 3, -7.0f), got = want;
      initializer.FillWith(SimdLevel::kPlain, key, std::span(want).subspan(key % 3, dim));
      for (const SimdLevel level : kSimdLevels) {
        if (!HasSimd(level)) continue;
        initializer.FillWith(level, key, std::span(got).subspan(key % 3, dim));
        EXPECT_EQ(got, want) << text << " dim " << dim << " level " << static_cast<int>(level);
      }
    }
  }
}

// Words so small that their quantiles lie in the far tail, which the vector loops leave to the
// plain one: the inverse of the mixer finds streams that begin with them.
TEST(InitializerTest, FarTailsAreTheSameAtEveryLevel) {
  const auto unmix = [](uint64_t word) {
    const auto unshift = [](uint64_t x, int by) {
      uint64_t out = x;
      for (int i = 0; i < 64; i += by) out = x ^ (out >> by);
      return out;
    };
    word = unshift(word, 31) * 0x319642b2d24d8ec3u;
    word = unshift(word, 27) * 0x96de1b173f119089u;
    return unshift(word, 30);
  };
  for (const uint64_t word : {uint64_t{0}, uint64_t{5} << 20, ~uint64_t{0}, ~(uint64_t{9} << 21)}) {
    const uint64_t stream = unmix(word) - 3 * kStreamStep;  // the third value
    std::vector<float> want(16), got(16);
    FillNormal(SimdLevel::kPlain, stream, {0, 1, 0, 1}, want);
    EXPECT_GT(std::fabs(want[2]), 6.7f);
    for (const SimdLevel level : kSimdLevels) {
      if (!HasSimd(level)) continue;
      FillNormal(level, stream, {0, 1, 0, 1}, got);
      EXPECT_EQ(got, want);
    }
  }
}

TEST(InitializerTest, WithoutAKindItIsTheSchemasDefault) {
  EXPECT_EQ(Values("", 5, 6, 8), Values("normal { mean: 0 stddev: 0.01 }", 5, 6, 8));
}

TEST(InitializerTest, SeedAndKeyDecide) {
  const std::string spec = "uniform { low: 0 high: 1 }";
  EXPECT_EQ(Values(spec, 1, 2, 16), Values(spec, 1, 2, 16));
  std::set<std::vector<float>> seen;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    for (uint64_t key = 0; key < 20; ++key) seen.insert(Values(spec, seed, key, 4));
  }
  EXPECT_EQ(seen.size(), 400u);
  // A longer row starts like a shorter one: no hidden dependence on the dimension.
  const auto longer = Values(spec, 1, ~0ull, 16);
  EXPECT_EQ(Values(spec, 1, ~0ull, 3), std::vector<float>(longer.begin(), longer.begin() + 3));
}

// Checkpoints do not hold rows that were never updated: these numbers may never change. (Python's
// statistics.NormalDist gives the normal ones to seven digits.)
TEST(InitializerTest, ValuesArePinned) {
  EXPECT_EQ(Values("normal { stddev: 1 }", 1, 0, 4),
            (std::vector<float>{-0.169390038f, -0.187505439f, 0.0995989591f, 0.904937148f}));
  EXPECT_EQ(Values("uniform { low: -0.05 high: 0.05 }", 42, ~0ull, 4),
            (std::vector<float>{-0.0288749579f, -0.0400131419f, 0.0189973135f, 0.000810473808f}));
  EXPECT_EQ(Values("truncated_normal { stddev: 1 }", 1, 0, 4),
            (std::vector<float>{-0.161613658f, -0.178880081f, 0.0950531736f, 0.851721525f}));
  EXPECT_EQ(Values("xavier {}", 42, ~0ull, 4),
            (std::vector<float>{-0.500128925f, -0.693047941f, 0.32904312f, 0.0140378177f}));
}

TEST(InitializerTest, TheExcludedBoundStaysExcluded) {
  // So narrow that doubles inside round to either bound.
  const float high = std::nextafter(1.0f, 2.0f);
  spec::Initializer spec;
  spec.mutable_uniform()->set_low(1.0f);
  spec.mutable_uniform()->set_high(high);
  const Initializer initializer = Initializer::Make(spec, 3).value();
  std::vector<float> values(1000);
  initializer.Fill(9, values);
  for (float value : values) EXPECT_EQ(value, 1.0f);
}

TEST(InitializerTest, SettingsThatMakeNoSenseAreRefused) {
  for (const char* text :
       {"constant { value: nan }", "uniform { low: 1 high: 1 }", "uniform { low: 1 high: 0 }",
        "uniform { high: inf }", "normal { stddev: -1 }", "normal { mean: nan }",
        "truncated_normal { stddev: -1 }", "truncated_normal { mean: inf }",
        "xavier { gain: -1 }"}) {
    const auto made = Try(text, 1);
    ASSERT_FALSE(made.ok()) << text;
    EXPECT_EQ(made.status().code(), StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace emporium::ps
