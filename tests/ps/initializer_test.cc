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
        "uniform { high: inf }", "normal { stddev: -1 }", "normal { mean: nan }"}) {
    const auto made = Try(text, 1);
    ASSERT_FALSE(made.ok()) << text;
    EXPECT_EQ(made.status().code(), StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace emporium::ps
