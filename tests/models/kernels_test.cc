// The row kernels against PyTorch's index_select and embedding_bag, and against their own slow
// forms.
#include "models/kernels.h"

#include <gtest/gtest.h>

#include <cmath>

#include "models/dropout.h"
#include "models/random.h"
#include "tests/models/feed.h"
#include "tests/models/tensor_file.h"

namespace emporium::models {
namespace {

std::vector<float> RandomFloats(Random& random, size_t n) {
  std::vector<float> result(n);
  for (float& x : result) x = random.Normal();
  return result;
}

TEST(Kernels, DropoutMaskIsTheStreamSixteenBitsEach) {
  constexpr int32_t kThreshold = 19660;
  for (int64_t n : {0, 1, 3, 4, 5, 127, 128, 129, 1000, 4099}) {
    Random random(static_cast<uint64_t>(n)), twin(static_cast<uint64_t>(n));
    std::vector<float> mask(static_cast<size_t>(n) + 1, -1);
    DropoutMask(random, kThreshold, 1.5f, n, mask.data());
    uint64_t word = twin.Next();
    for (int64_t i = 0; i < n; ++i) {
      if (i > 0 && i % 4 == 0) word = twin.Next();
      const bool dropped = ((word >> (16 * (i % 4))) & 0xffff) < kThreshold;
      ASSERT_EQ(mask[static_cast<size_t>(i)], dropped ? 0 : 1.5f) << i << " of " << n;
    }
    EXPECT_EQ(mask.back(), -1) << "written past the end";
    if (n > 0 && n % 4 == 0) twin.Next();
    EXPECT_EQ(random.Next(), twin.Next()) << "the stream goes on at the same place after " << n;
  }
}

TEST(Kernels, GatherAndScatterEqualPyTorch) {
  const TensorFile file("kernels.bin");
  for (int dim : {1, 8, 19}) {
    for (const std::string kind : {"select", "mean", "sum", "sqrt"}) {
      const std::string prefix = kind + std::to_string(dim) + "/";
      SCOPED_TRACE(prefix);
      const auto index = file.ints(prefix + "index");
      const auto& rows = file.floats(prefix + "rows");
      const auto& expected = file.floats(prefix + "out");
      const int32_t n = static_cast<int32_t>(expected.size()) / dim;
      std::vector<int32_t> offset;
      struct Lists lists;
      lists.index = index.data();
      if (kind != "select") {
        offset = file.ints(prefix + "offset");
        lists.begin = offset.data();
        lists.end = offset.data() + 1;
        lists.pool = kind == "mean"  ? PoolKind::kMean
                     : kind == "sum" ? PoolKind::kSum
                                     : PoolKind::kSqrtN;
      }
      std::vector<float> out(expected.size(), NAN);
      GatherRows(rows.data(), dim, lists, 0, n, 1, false, out.data(), dim);
      ExpectNear(out, expected, 1e-6, "out");
      std::vector<float> gradient(rows.size(), 0);
      ScatterAddRows(file.floats(prefix + "gradient").data(), dim, dim, lists, 0, n, 1,
                     gradient.data());
      ExpectNear(gradient, file.floats(prefix + "row_gradient"), 3e-6, "gradient");
    }
  }
}

TEST(Kernels, GatherAddsWeighsStridesAndSkips) {
  const std::vector<float> rows = {1, 2, 10, 20, 100, 200};
  const std::vector<int32_t> index = {2, -1, 0};
  struct Lists lists;
  lists.index = index.data();
  std::vector<float> out(9, 7);
  GatherRows(rows.data(), 2, lists, 0, 3, 1, false, out.data() + 1, 3);
  EXPECT_EQ(out, (std::vector<float>{7, 100, 200, 7, 0, 0, 7, 1, 2}));
  GatherRows(rows.data(), 2, lists, 0, 3, 0.5f, true, out.data() + 1, 3);
  EXPECT_EQ(out, (std::vector<float>{7, 150, 300, 7, 0, 0, 7, 1.5f, 3}));
  std::vector<float> gradient(6, 1);
  ScatterAddRows(out.data() + 1, 3, 2, lists, 0, 3, 2, gradient.data());
  EXPECT_EQ(gradient, (std::vector<float>{4, 7, 1, 1, 301, 601}));
  lists.index = nullptr;  // row i
  GatherRows(rows.data(), 2, lists, 0, 3, 1, false, out.data() + 1, 3);
  EXPECT_EQ(out, (std::vector<float>{7, 1, 2, 7, 10, 20, 7, 100, 200}));
}

// d(sum out * g) by central differences in double against the backward kernel.
template <class Forward>
void ExpectGradient(std::vector<float>& x, const std::vector<float>& gradient, Forward forward,
                    const std::string& what) {
  for (size_t i = 0; i < x.size(); ++i) {
    const float kept = x[i];
    x[i] = kept + 0.01f;
    const double above = forward();
    x[i] = kept - 0.01f;
    const double below = forward();
    x[i] = kept;
    EXPECT_NEAR(gradient[i], (above - below) / 0.02, 3e-3) << what << "[" << i << "]";
  }
}

TEST(Kernels, AgePoolBackwardIsTheDerivative) {
  Random random(3);
  const int32_t dim = 9;
  std::vector<float> items = RandomFloats(random, 4 * dim);
  std::vector<float> by_age = RandomFloats(random, 3);
  std::vector<float> by_count = RandomFloats(random, 2);
  const std::vector<PoolEvent> events = {{0, 2, 1}, {3, 0, 0}, {3, 1, 1}, {1, 2, 0}};
  const std::vector<int32_t> offset = {0, 3, 3, 4};  // the middle sample has no events
  const std::vector<float> g = RandomFloats(random, 3 * dim);
  std::vector<float> shares(events.size());
  std::vector<float> out(3 * dim);
  const auto forward = [&] {
    AgePool(items.data(), dim, by_age.data(), by_count.data(), events, offset, shares.data(),
            out.data());
    double sum = 0;
    for (size_t i = 0; i < out.size(); ++i) sum += static_cast<double>(out[i]) * g[i];
    return sum;
  };
  forward();
  for (int32_t k = 0; k < dim; ++k) EXPECT_EQ(out[dim + k], 0);
  EXPECT_FLOAT_EQ(shares[0] + shares[1] + shares[2], 1);
  std::vector<float> di(items.size()), da(by_age.size()), dc(by_count.size());
  AgePoolBackward(items.data(), dim, events, offset, shares.data(), g.data(), di.data(), da.data(),
                  dc.data());
  ExpectGradient(items, di, forward, "items");
  ExpectGradient(by_age, da, forward, "age");
  ExpectGradient(by_count, dc, forward, "count");
}

TEST(Kernels, FactorizationMachineIsTheSumOverPairs) {
  Random random(4);
  const int32_t samples = 3, fields = 4, dim = 5, stride = 23;
  std::vector<float> x = RandomFloats(random, samples * stride);
  std::vector<float> sums(samples * dim), out(samples);
  FactorizationMachine(x.data(), stride, samples, fields, dim, sums.data(), out.data());
  for (int32_t b = 0; b < samples; ++b) {
    double expected = 0;
    for (int32_t i = 0; i < fields; ++i) {
      for (int32_t j = 0; j < i; ++j) {
        for (int32_t k = 0; k < dim; ++k) {
          expected +=
              static_cast<double>(x[b * stride + i * dim + k]) * x[b * stride + j * dim + k];
        }
      }
    }
    EXPECT_NEAR(out[b], expected, 1e-5);
  }
}

TEST(Kernels, CountersAreWeighedAndTheirGradientSummed) {
  const std::vector<float> counters = {1, 2, 3, 4, 5, 6};
  const std::vector<float> beta = {10, 1};
  const std::vector<int32_t> rows = {2, 0, 2};
  std::vector<float> out(3);
  WeighCounters(counters.data(), {}, 3, beta, out.data());
  EXPECT_EQ(out, (std::vector<float>{12, 34, 56}));
  WeighCounters(counters.data(), rows, 3, beta, out.data());
  EXPECT_EQ(out, (std::vector<float>{56, 12, 56}));
  std::vector<float> gradient = {100, 100};
  const std::vector<float> g = {1, 2, 3};
  WeighCountersBackward(counters.data(), rows, 3, g.data(), gradient);
  EXPECT_EQ(gradient, (std::vector<float>{122, 128}));
}

}  // namespace
}  // namespace emporium::models
