// Every element type: the paths against the plain one bit by bit, the plain one against the
// definition of the types, and what rounding does to a long sum of small updates.
#include "proto/element.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace emporium {
namespace {

constexpr spec::ElementType kTypes[] = {spec::FP32, spec::FP16, spec::BF16, spec::INT8};
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

using Bytes = std::vector<std::byte>;

// The rows of one kind differ in magnitude and in what is special in them.
std::vector<float> Row(uint32_t dim, int kind, uint64_t seed) {
  std::mt19937_64 random(seed * 16 + static_cast<uint64_t>(kind));
  std::normal_distribution<float> normal;
  const float scales[] = {1, 0.01f, 1e-6f, 1e-41f, 3e4f, 3e38f};
  std::vector<float> row(dim);
  for (float& x : row) x = scales[kind % 6] * std::clamp(normal(random), -1.1f, 1.1f);
  if (kind == 6) {
    for (float& x : row) x = std::bit_cast<float>(static_cast<uint32_t>(random()));  // any bits
  } else if (kind == 7) {
    for (size_t i = 0; i < row.size(); i += 5) row[i] = i % 2 == 0 ? 0.0f : -0.0f;
    row[dim / 2] = -kInf;
  } else if (kind == 8) {
    std::fill(row.begin(), row.end(), -0.0f);
  }
  return row;
}
constexpr int kKinds = 9;

Bytes EncodeAt(SimdLevel level, spec::ElementType type, const float* from, uint32_t dim,
               bool nearest, uint64_t seed, size_t shift) {
  Bytes bytes(shift + WeightBytes(type, dim) + 16, std::byte{0xa5});
  if (nearest) {
    EncodeNearestWith(level, type, from, dim, bytes.data() + shift);
  } else {
    EncodeWith(level, type, from, dim, RoundingSeedOf(seed, dim, 7), bytes.data() + shift);
  }
  for (size_t i = 0; i < shift; ++i) EXPECT_EQ(bytes[i], std::byte{0xa5});
  for (size_t i = bytes.size() - 16; i < bytes.size(); ++i) EXPECT_EQ(bytes[i], std::byte{0xa5});
  return {bytes.begin() + static_cast<ptrdiff_t>(shift), bytes.end()};
}

TEST(ElementTest, EveryPathEncodesTheSameBits) {
  for (const SimdLevel level : kSimdLevels) {
    if (!HasSimd(level)) continue;
    for (const spec::ElementType type : kTypes) {
      for (uint32_t dim = 1; dim <= 130; ++dim) {
        for (int kind = 0; kind < kKinds; ++kind) {
          std::vector<float> row = Row(dim, kind, dim);
          const size_t shift = (dim + static_cast<size_t>(kind)) % 5;
          row.insert(row.begin(), shift, 1e30f);  // misaligned, and not to be read
          row.push_back(kNan);
          const float* from = row.data() + shift;
          for (const bool nearest : {false, true}) {
            EXPECT_EQ(EncodeAt(level, type, from, dim, nearest, 3, shift),
                      EncodeAt(SimdLevel::kPlain, type, from, dim, nearest, 3, 0))
                << spec::ElementType_Name(type) << " dim " << dim << " kind " << kind << " level "
                << static_cast<int>(level);
          }
        }
      }
    }
  }
}

TEST(ElementTest, EveryPathDecodesTheSameBits) {
  for (const SimdLevel level : kSimdLevels) {
    if (!HasSimd(level)) continue;
    for (const spec::ElementType type : kTypes) {
      for (uint32_t dim = 1; dim <= 130; ++dim) {
        const size_t rows = 1 + dim % 3;
        const size_t shift = dim % 7;
        std::mt19937_64 random(dim);
        Bytes bytes(shift + rows * WeightBytes(type, dim));
        for (std::byte& b : bytes) b = static_cast<std::byte>(random());
        std::vector<uint32_t> got(rows * dim + 4, 0xabcdef01u);
        std::vector<uint32_t> want = got;
        DecodeWith(level, type, bytes.data() + shift, rows, dim,
                   reinterpret_cast<float*>(got.data()));
        for (size_t r = 0; r < rows; ++r) {
          DecodeWith(SimdLevel::kPlain, type, bytes.data() + shift + r * WeightBytes(type, dim), 1,
                     dim, reinterpret_cast<float*>(want.data()) + r * dim);
        }
        if (type == spec::INT8) {  // which NaN comes of a NaN and which is not said
          for (auto* bits : {&got, &want}) {
            for (uint32_t& b : *bits) b = (b & 0x7fffffffu) > 0x7f800000u ? 0x7fc00000u : b;
          }
        }
        EXPECT_EQ(got, want) << spec::ElementType_Name(type) << " dim " << dim;
      }
    }
  }
}

// What the bits of a 16-bit type mean, by its definition.
double Meaning(uint16_t bits, int exponent_bits, int fraction_bits) {
  const int fraction = bits & ((1 << fraction_bits) - 1);
  const int exponent = (bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double sign = bits >> 15 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) return fraction ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - fraction_bits);
  return sign * std::ldexp((1 << fraction_bits) + fraction, exponent - bias - fraction_bits);
}

struct Short {
  spec::ElementType type;
  int exponent_bits;
  int fraction_bits;
};
constexpr Short kShorts[] = {{spec::FP16, 5, 10}, {spec::BF16, 8, 7}};

TEST(ElementTest, ShortTypesMeanWhatTheirDefinitionSays) {
  for (const Short& type : kShorts) {
    std::vector<uint16_t> all(65536), again(65536);
    for (uint32_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
    std::vector<float> values(all.size());
    Decode(type.type, reinterpret_cast<const std::byte*>(all.data()), 65536, values.data());
    Encode(type.type, values.data(), 65536, {0x123456789abcdefu},
           reinterpret_cast<std::byte*>(again.data()));
    for (uint32_t i = 0; i < all.size(); ++i) {
      const double want = Meaning(all[i], type.exponent_bits, type.fraction_bits);
      if (std::isnan(want)) {
        EXPECT_TRUE(std::isnan(values[i])) << i;
        EXPECT_TRUE(std::isnan(Meaning(again[i], type.exponent_bits, type.fraction_bits))) << i;
      } else {
        EXPECT_EQ(values[i], want) << i;
        EXPECT_EQ(again[i], all[i]) << "what is exact stays";
      }
    }
  }
}

std::vector<float> RoundTrip(spec::ElementType type, const std::vector<float>& row, uint64_t seed) {
  const auto dim = static_cast<uint32_t>(row.size());
  Bytes bytes(WeightBytes(type, dim));
  Encode(type, row.data(), dim, RoundingSeedOf(seed, 1, 2), bytes.data());
  std::vector<float> out(dim);
  Decode(type, bytes.data(), dim, out.data());
  return out;
}

std::vector<float> Nearest(spec::ElementType type, const std::vector<float>& row) {
  const auto dim = static_cast<uint32_t>(row.size());
  Bytes bytes(WeightBytes(type, dim));
  EncodeNearest(type, row.data(), dim, bytes.data());
  std::vector<float> out(dim);
  Decode(type, bytes.data(), dim, out.data());
  return out;
}

TEST(ElementTest, LimitsAreAsStated) {
  const float greatest_brain = std::bit_cast<float>(0x7f7f0000u);
  const std::vector<float> row = {65504, 65519, 1e30f, -7e4f, kInf, -kInf, 3.4e38f, -3.4e38f};
  for (uint64_t seed = 0; seed < 50; ++seed) {
    EXPECT_EQ(RoundTrip(spec::FP16, row, seed),
              (std::vector<float>{65504, 65504, 65504, -65504, kInf, -kInf, 65504, -65504}));
    const std::vector<float> brain = RoundTrip(spec::BF16, row, seed);
    EXPECT_EQ(std::vector<float>(brain.begin() + 4, brain.end()),
              (std::vector<float>{kInf, -kInf, greatest_brain, -greatest_brain}));
    for (const spec::ElementType type : {spec::FP16, spec::BF16}) {
      EXPECT_TRUE(std::isnan(RoundTrip(type, {kNan}, seed)[0]));
    }
    for (const float bad : {kInf, -kInf, kNan}) {
      for (float x : RoundTrip(spec::INT8, {1, bad, 0, -2}, seed)) EXPECT_TRUE(std::isnan(x));
    }
    const float most = std::numeric_limits<float>::max();
    for (float x : RoundTrip(spec::INT8, {most, -most}, seed)) {
      EXPECT_NEAR(std::fabs(x) / most, 1, 1e-6);
    }
    // Below 127 * 2^-126 the scale stays where it is.
    EXPECT_EQ(RoundTrip(spec::INT8, {0x1p-126f, -0x1p-125f, 0, -0.0f}, seed),
              (std::vector<float>{0x1p-126f, -0x1p-125f, 0, 0}));
  }
  EXPECT_EQ(Nearest(spec::FP16, {1 + 0x1p-11f, -1 - 0x1p-11f, 0x1.8p-24f, 0x1.fp-26f}),
            (std::vector<float>{1 + 0x1p-10f, -1 - 0x1p-10f, 0x1p-23f, 0}));
  EXPECT_EQ(Nearest(spec::INT8, {127, 2.5f, -2.5f, 2.4f}), (std::vector<float>{127, 3, -3, 2}));
}

// One of the two neighbours, and their mean is the value itself.
TEST(ElementTest, RoundingIsToANeighbourAndFairOverSeeds) {
  constexpr int kSeeds = 20'000;
  for (const spec::ElementType type : {spec::FP16, spec::BF16, spec::INT8}) {
    std::vector<float> row = {1.0003f, -0.7301f, 0.0123f, 1.27f, -3.1e-4f};
    if (type != spec::INT8) row.insert(row.end(), {3e-6f, -2.1e-7f, 1e-9f});
    std::vector<double> sum(row.size());
    std::vector<float> low(row.size(), kInf), high(row.size(), -kInf);
    for (int seed = 0; seed < kSeeds; ++seed) {
      const std::vector<float> got = RoundTrip(type, row, static_cast<uint64_t>(seed));
      for (size_t i = 0; i < row.size(); ++i) {
        sum[i] += got[i];
        low[i] = std::min(low[i], got[i]);
        high[i] = std::max(high[i], got[i]);
      }
    }
    for (size_t i = 0; i < row.size(); ++i) {
      const double step = double{high[i]} - low[i];
      EXPECT_LE(low[i], row[i] * (1 + (row[i] < 0 ? -1 : 1) * 1e-6f));
      EXPECT_GE(high[i], row[i] * (1 - (row[i] < 0 ? -1 : 1) * 1e-6f));
      const double magnitude = std::fabs(row[i]);
      const double between = type == spec::INT8   ? 1.27 / 127 * 1.0001
                             : type == spec::FP16 ? std::max(magnitude * 0x1p-10, 0x1p-24)
                                                  : magnitude * 0x1p-7;
      EXPECT_LE(step, between) << spec::ElementType_Name(type) << " " << row[i];
      // Five standard deviations of a mean of choices between the two.
      EXPECT_NEAR(sum[i] / kSeeds, row[i], 2.5 * step / std::sqrt(kSeeds) + 1e-6 * magnitude)
          << spec::ElementType_Name(type) << " " << row[i];
    }
  }
}

// The mean growth of weights over that of the exact sum, after 10,000 updates of 1e-4 of their
// first value each. A greater weight that stays keeps the scale of an INT8 row where it is.
double GrowthOverExact(spec::ElementType type, bool nearest) {
  constexpr uint32_t kDim = 128;
  constexpr uint32_t kRows = 16;
  double ratio = 0;
  for (uint32_t key = 0; key < kRows; ++key) {
    std::vector<float> first = Row(kDim, 0, key);
    for (float& x : first) x = std::copysign(0.3f + std::fabs(x) / 4, x);
    first[0] = 1.25f;
    first = Nearest(type, first);
    Bytes bytes(WeightBytes(type, kDim));
    EncodeNearest(type, first.data(), kDim, bytes.data());
    std::vector<float> row(kDim);
    for (uint32_t step = 0; step < 10'000; ++step) {
      Decode(type, bytes.data(), kDim, row.data());
      for (uint32_t i = 1; i < kDim; ++i) row[i] += 1e-4f * first[i];
      if (nearest) {
        EncodeNearest(type, row.data(), kDim, bytes.data());
      } else {
        Encode(type, row.data(), kDim, RoundingSeedOf(5, key, step), bytes.data());
      }
    }
    Decode(type, bytes.data(), kDim, row.data());
    for (uint32_t i = 1; i < kDim; ++i) ratio += (row[i] - first[i]) / first[i];
  }
  return ratio / (kDim - 1) / kRows;
}

TEST(ElementTest, SmallUpdatesAddUpAsTheyDoNotWithRoundingToNearest) {
  for (const spec::ElementType type : {spec::FP16, spec::BF16, spec::INT8}) {
    EXPECT_NEAR(GrowthOverExact(type, false), 1, 0.01) << spec::ElementType_Name(type);
    EXPECT_EQ(GrowthOverExact(type, true), 0) << spec::ElementType_Name(type);
  }
}

TEST(ElementTest, TheRandomBitsDependOnSeedKeyAndStep) {
  const std::vector<float> row(64, 1.0004f);
  const auto of = [&row](uint64_t seed, uint64_t key, uint32_t step) {
    Bytes bytes(WeightBytes(spec::FP16, 64));
    Encode(spec::FP16, row.data(), 64, RoundingSeedOf(seed, key, step), bytes.data());
    return bytes;
  };
  EXPECT_EQ(of(1, 2, 3), of(1, 2, 3));
  EXPECT_NE(of(1, 2, 3), of(2, 2, 3));
  EXPECT_NE(of(1, 2, 3), of(1, 3, 3));
  EXPECT_NE(of(1, 2, 3), of(1, 2, 4));
}

// A run that continues from a checkpoint of another version of Emporium rounds as that one did.
TEST(ElementTest, BitsArePinned) {
  const std::vector<float> row = {0.1f, -0.2f, 0.3f, 1e-7f, 12.7f};
  std::vector<uint8_t> bytes(12);
  const auto of = [&](spec::ElementType type) {
    bytes.assign(WeightBytes(type, 5), 0);
    Encode(type, row.data(), 5, RoundingSeedOf(1, ~0ull, 1000),
           reinterpret_cast<std::byte*>(bytes.data()));
    return bytes;
  };
  EXPECT_EQ(RoundingSeedOf(1, ~0ull, 1000).bits, 8137008287646612904u);
  EXPECT_EQ(of(spec::FP16),
            (std::vector<uint8_t>{0x66, 0x2e, 0x66, 0xb2, 0xcd, 0x34, 0x02, 0x00, 0x5a, 0x4a}));
  EXPECT_EQ(of(spec::BF16),
            (std::vector<uint8_t>{0xcd, 0x3d, 0x4d, 0xbe, 0x9a, 0x3e, 0xd7, 0x33, 0x4c, 0x41}));
  EXPECT_EQ(of(spec::INT8),
            (std::vector<uint8_t>{0xcd, 0xcc, 0xcc, 0x3d, 1, 0xfe, 3, 0, 0x7f, 0, 0, 0}));
}

TEST(ElementTest, SizesAreAsStated) {
  EXPECT_EQ(WeightBytes(spec::FP32, 3), 12u);
  EXPECT_EQ(WeightBytes(spec::FP16, 3), 6u);
  EXPECT_EQ(WeightBytes(spec::BF16, 16), 32u);
  EXPECT_EQ(WeightBytes(spec::INT8, 1), 8u);
  EXPECT_EQ(WeightBytes(spec::INT8, 16), 20u);
}

}  // namespace
}  // namespace emporium
