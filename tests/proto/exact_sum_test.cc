#include "proto/exact_sum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace emporium {
namespace {

// Squares of floats of every size, many of which a double that holds the largest would lose.
std::vector<double> Terms(size_t count, uint64_t seed, int spread) {
  std::mt19937_64 random(seed);
  std::vector<double> terms;
  for (size_t i = 0; i < count; ++i) {
    const auto x = static_cast<double>(static_cast<float>(random() % 16'777'216 + 1));
    const int exponent =
        static_cast<int>(random() % static_cast<uint64_t>(2 * spread + 1)) - spread;
    terms.push_back(std::ldexp(x * x, exponent));
  }
  return terms;
}

ExactSum SumOf(const std::vector<double>& terms) {
  ExactSum sum;
  for (const double term : terms) sum.Add(term);
  return sum;
}

TEST(ExactSum, OrderAndPartsDoNotShow) {
  std::vector<double> terms = Terms(1000, 1, 200);
  const ExactSum::Digits expected = SumOf(terms).digits();
  std::mt19937_64 random(2);
  for (int round = 0; round < 20; ++round) {
    std::shuffle(terms.begin(), terms.end(), random);
    std::vector<ExactSum> parts(1 + static_cast<size_t>(round));
    for (const double term : terms) parts[random() % parts.size()].Add(term);
    ExactSum sum;
    for (const ExactSum& part : parts) sum.Add(ExactSum(part.digits()));
    EXPECT_EQ(sum.digits(), expected);
  }
  for (const uint64_t digit : expected) EXPECT_LT(digit, ExactSum::kBase);
}

TEST(ExactSum, IsTheSum) {
  EXPECT_EQ(ExactSum().Rounded(), 0);
  EXPECT_EQ(SumOf({0, 0.25, 0, 3}).Rounded(), 3.25);
  for (const int exponent : {-300, -298, -33, -32, -1, 0, 31, 32, 300}) {
    const double term = std::ldexp(1.0, exponent);
    EXPECT_EQ(SumOf({term}).Rounded(), term) << exponent;
    EXPECT_EQ(SumOf({term, term, term}).Rounded(), 3 * term) << exponent;
  }
  const std::vector<double> terms = Terms(1000, 3, 20);
  long double plain = 0;
  for (const double term : terms) plain += term;
  EXPECT_NEAR(SumOf(terms).Rounded() / static_cast<double>(plain), 1, 1e-15);
  // Small terms are not lost beside a large one.
  std::vector<double> small(1 << 12, std::ldexp(1.0, -60));
  small.push_back(1);
  ExactSum sum = SumOf(small);
  EXPECT_EQ(sum.Rounded(), 1 + std::ldexp(1.0, -48));
}

// As many terms as carry from digit to digit.
TEST(ExactSum, DoublesItselfManyTimes) {
  for (const double term : {std::ldexp(1.0, -300), 1.0 / 3, 0x1.fffffffffffffp0}) {
    ExactSum sum = SumOf({term});
    for (int i = 1; i <= 60; ++i) {
      sum.Add(ExactSum(sum));
      ASSERT_EQ(sum.Rounded(), std::ldexp(term, i));
    }
  }
}

}  // namespace
}  // namespace emporium
