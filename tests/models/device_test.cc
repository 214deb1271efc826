// A device's kernels and whole models on it, against the CPU: bit for bit, except where a header
// says that the arithmetic differs. Each test runs twice: on the host's memory with the very tasks,
// plans and copies of a GPU, and on a GPU where there is one.
#include "models/device.h"

#include <gtest/gtest.h>

#include <cstring>

#include "models/launch_shape.h"
#include "tests/models/host_backend.h"
#include "tests/models/two_tower_feed.h"

namespace emporium::models {
namespace {

std::vector<float> RandomFloats(Random& random, size_t n) {
  std::vector<float> result(n);
  for (float& x : result) x = random.Normal();
  return result;
}

// What the device has of `host`; kept in the device's memory until the next Begin.
float* Put(Device& device, const std::vector<float>& host) {
  return static_cast<float*>(
      const_cast<void*>(device.Put(host.data(), host.size() * sizeof(float))));
}
void Get(Device& device, const float* from, std::vector<float>& to) {
  const Device::Copy copy = {from, to.data(), to.size() * sizeof(float)};
  device.Get({&copy, 1});
}

enum class Kind { kHost, kGpu };

class DeviceTest : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    ConfigureLibTorch();
    if (GetParam() == Kind::kHost) {
      device_ = MakeHostDevice();
      return;
    }
    auto made = MakeCudaDevice(0);
    if (!made.ok()) GTEST_SKIP() << "not run: " << made.status().message();
    device_ = std::move(made).value();
  }
  // For functions of the C library that a GPU computes in its own way.
  double tolerance() const { return GetParam() == Kind::kHost ? 0 : 1e-6; }
  void ExpectSame(const std::vector<float>& actual, const std::vector<float>& expected,
                  double tolerance, const std::string& what) {
    if (tolerance > 0) return ExpectNear(actual, expected, tolerance, what);
    ASSERT_EQ(actual.size(), expected.size()) << what;
    EXPECT_EQ(std::memcmp(actual.data(), expected.data(), actual.size() * sizeof(float)), 0)
        << what;
  }

  std::unique_ptr<Device> device_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, DeviceTest, testing::Values(Kind::kHost, Kind::kGpu),
                         [](const auto& info) {
                           return std::string(info.param == Kind::kHost ? "Host" : "Gpu");
                         });

TEST_P(DeviceTest, CopiesThereAndBack) {
  Random random(1);
  for (int round = 0; round < 3; ++round) {
    device_->Begin();
    std::vector<std::vector<float>> given;
    std::vector<const void*> there;
    for (size_t n : {size_t{1}, size_t{0}, size_t{1000}, size_t{700000}, size_t{33}}) {
      given.push_back(RandomFloats(random, n));
      there.push_back(Put(*device_, given.back()));
    }
    std::vector<std::vector<float>> back;
    std::vector<Device::Copy> copies;
    for (size_t i = 0; i < given.size(); ++i) {
      back.emplace_back(given[i].size());
      copies.push_back({there[i], back.back().data(), given[i].size() * sizeof(float)});
    }
    device_->Get(copies);
    EXPECT_EQ(back, given);
  }
}

// Lists of `kind` (0: rows as they come, 1: one row or none each, else pooled) over `rows` rows.
struct RandomLists {
  RandomLists(Random& random, int kind, int32_t n, int32_t rows) {
    lists.pool = kind == 2 ? PoolKind::kMean : kind == 3 ? PoolKind::kSum : PoolKind::kSqrtN;
    if (kind == 0) return;
    for (int32_t i = 0; i < n; ++i) {
      const int32_t count = kind == 1 ? 1 : static_cast<int32_t>(random.Next() % 5);
      begin.push_back(static_cast<int32_t>(index.size()));
      for (int32_t j = 0; j < count; ++j) {
        const auto row = static_cast<int32_t>(random.Next() % rows);
        index.push_back(kind == 1 && row % 7 == 0 ? -1 : row);
      }
      end.push_back(static_cast<int32_t>(index.size()));
    }
    lists.index = index.data();
    if (kind == 1) return;
    lists.begin = begin.data();
    lists.end = end.data();
  }
  std::vector<int32_t> index, begin, end;
  struct Lists lists;
};

// All kinds of lists, widths around a warp, parts that add to others, a table that is named twice.
TEST_P(DeviceTest, AssemblesAsTheCpuDoes) {
  Random random(2);
  for (const int32_t dim : {1, 8, 31, 64, 100}) {
    for (const int32_t n : {1, 63, 64, 65, 300}) {
      SCOPED_TRACE(std::to_string(dim) + " x " + std::to_string(n));
      const int32_t rows = std::max(n, 20);
      const auto floats = static_cast<size_t>(rows) * dim;
      const std::vector<std::vector<float>> tables = {RandomFloats(random, floats),
                                                      RandomFloats(random, floats)};
      const std::vector<std::vector<float>> stands = {RandomFloats(random, floats),
                                                      RandomFloats(random, floats)};
      std::vector<std::unique_ptr<RandomLists>> lists;
      struct Use {
        int kind, table, place;
        float weight;
      };
      const Use uses[] = {{1, 0, 0, 1}, {2, 1, 0, 1},    {3, 0, 1, 0.3f},
                          {0, 1, 2, 1}, {4, 0, 1, 2.5f}, {1, 0, 0, -0.7f}};
      for (const Use& use : uses) {
        lists.push_back(std::make_unique<RandomLists>(random, use.kind, n, rows));
      }
      const int64_t width = 3 * dim;
      const std::vector<float> gradient = RandomFloats(random, static_cast<size_t>(n * width));
      const auto run = [&](Device& device) {
        device.Begin();
        std::vector<float> out(static_cast<size_t>(n * width), NAN);
        std::vector<std::vector<float>> sinks = stands;
        Assembly assembly;
        assembly.rows = n;
        assembly.width = width;
        float* const there[] = {Put(device, sinks[0]), Put(device, sinks[1])};
        bool named[3] = {};
        for (size_t u = 0; u < std::size(uses); ++u) {
          AssemblyPart part;
          part.values = Put(device, tables[uses[u].table]);
          part.sink = there[uses[u].table];
          part.sink_rows = rows;
          part.lists = lists[u]->lists;
          part.dim = dim;
          part.column = uses[u].place * dim;
          part.weight = uses[u].weight;
          part.add = std::exchange(named[uses[u].place], true);
          assembly.parts.push_back(part);
        }
        float* const device_out = Put(device, out);
        device.kernels().Assemble(assembly, device_out);
        device.kernels().AssembleBackward(assembly, Put(device, gradient));
        Get(device, device_out, out);
        Get(device, there[0], sinks[0]);
        Get(device, there[1], sinks[1]);
        out.insert(out.end(), sinks[0].begin(), sinks[0].end());
        out.insert(out.end(), sinks[1].begin(), sinks[1].end());
        return out;
      };
      ExpectSame(run(*device_), run(Cpu()), 0, "matrix and row gradients");
    }
  }
}

TEST_P(DeviceTest, PoolsByAgeAsTheCpuDoes) {
  Random random(3);
  const int32_t dim = 19, rows = 40, ages = 5, counts = 3;
  std::vector<PoolEvent> events;
  std::vector<int32_t> offset = {0};
  for (int b = 0; b < 70; ++b) {
    for (uint64_t n = random.Next() % 9; n > 0; --n) {
      events.push_back({static_cast<int32_t>(random.Next() % rows),
                        static_cast<int32_t>(random.Next() % ages),
                        static_cast<int32_t>(random.Next() % counts)});
    }
    offset.push_back(static_cast<int32_t>(events.size()));
  }
  const auto items = RandomFloats(random, rows * dim);
  const auto by_age = RandomFloats(random, ages);
  const auto by_count = RandomFloats(random, counts);
  const auto gradient = RandomFloats(random, 70 * dim);
  const auto stands = RandomFloats(random, rows * dim + ages + counts);
  const auto run = [&](Device& device) {
    device.Begin();
    AgePoolInputs in = {Put(device, items),
                        dim,
                        rows,
                        Put(device, by_age),
                        ages,
                        Put(device, by_count),
                        counts,
                        events,
                        offset};
    std::vector<float> shares(events.size()), out(gradient.size()), sums = stands;
    float* const s = Put(device, shares);
    float* const o = Put(device, out);
    float* const g = Put(device, sums);
    device.kernels().PoolByAge(in, s, o);
    device.kernels().PoolByAgeBackward(in, s, Put(device, gradient), g, g + rows * dim,
                                       g + rows * dim + ages);
    Get(device, o, out);
    Get(device, g, sums);
    out.insert(out.end(), sums.begin(), sums.end());
    return out;
  };
  ExpectSame(run(*device_), run(Cpu()), tolerance(), "pooled, gradients");
}

TEST_P(DeviceTest, FactorizesAsTheCpuDoes) {
  Random random(4);
  for (const int32_t dim : {1, 8, 13}) {
    const int32_t samples = 37, fields = 5, stride = fields * dim + 3;
    const auto x = RandomFloats(random, samples * stride);
    const auto gradient = RandomFloats(random, samples);
    const auto run = [&](Device& device) {
      device.Begin();
      const FactorizationInputs in = {Put(device, x), stride, samples, fields, dim};
      std::vector<float> sums(samples * dim), out(samples), dx(x.size(), 0);
      float* const s = Put(device, sums);
      float* const o = Put(device, out);
      float* const d = Put(device, dx);
      device.kernels().Factorize(in, s, o);
      device.kernels().FactorizeBackward(in, s, Put(device, gradient), d);
      Get(device, o, out);
      Get(device, d, dx);
      out.insert(out.end(), dx.begin(), dx.end());
      return out;
    };
    ExpectSame(run(*device_), run(Cpu()), 0, "logits, gradient");
  }
}

// The gradient is one sum over all terms on the CPU, and one of chunks on a device.
TEST_P(DeviceTest, WeighsCountersAsTheCpuDoes) {
  Random random(5);
  const int32_t width = 3;
  const int64_t n = 5 * CounterChunkTask::kTerms + 7;
  const auto counters = RandomFloats(random, static_cast<size_t>(n * width));
  const auto beta = RandomFloats(random, width);
  const auto gradient = RandomFloats(random, static_cast<size_t>(n));
  std::vector<int32_t> rows(static_cast<size_t>(n));
  for (int32_t& row : rows) row = static_cast<int32_t>(random.Next() % n);
  for (const bool named : {false, true}) {
    std::vector<float> sums;
    const auto run = [&](Device& device) {
      device.Begin();
      CounterInputs in;
      in.counters = Put(device, counters);
      if (named) in.rows = rows;
      in.n = n;
      in.width = width;
      std::vector<float> out(static_cast<size_t>(n));
      sums.assign(width, 0.5f);
      float* const o = Put(device, out);
      float* const s = Put(device, sums);
      device.kernels().Weigh(in, Put(device, beta), o);
      device.kernels().WeighBackward(in, Put(device, gradient), s);
      Get(device, o, out);
      Get(device, s, sums);
      return out;
    };
    const auto expected = run(Cpu());
    const auto expected_sums = sums;
    ExpectSame(run(*device_), expected, 0, "popularity logits");
    ExpectNear(sums, expected_sums, 1e-6, "gradient");
  }
}

// -- Whole models: three steps of descent, so that rounding would show.

class ModelOnDeviceTest : public DeviceTest {
 protected:
  // LibTorch's own products have other sums on a GPU, which three steps make larger.
  double model_tolerance() const { return GetParam() == Kind::kHost ? 0 : 2e-4; }

  void ExpectSameTraining(const spec::Job& job, const Batch& batch, const spec::Train& train,
                          const std::function<Feed(const spec::Job&, Device&)>& make,
                          double tolerance) {
    Feed on_device = make(job, *device_);
    Feed on_cpu = make(job, Cpu());
    for (uint64_t step = 0; step < 3; ++step) {
      const auto terms = on_device.Train(batch, train, step);
      const auto expected = on_cpu.Train(batch, train, step);
      for (const auto& [name, value] : expected) {
        EXPECT_NEAR(terms.at(name), value, tolerance * (1 + std::abs(value))) << name;
      }
      ExpectSame(on_device.Gradients(), on_cpu.Gradients(), tolerance, "gradients");
      on_device.Descend(0.1f);
      on_cpu.Descend(0.1f);
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Kinds, ModelOnDeviceTest, testing::Values(Kind::kHost, Kind::kGpu),
                         [](const auto& info) {
                           return std::string(info.param == Kind::kHost ? "Host" : "Gpu");
                         });

TEST_P(ModelOnDeviceTest, TwoTowerTrainsAndScoresAsOnTheCpu) {
  const std::string dropout =
      "action_feature: \"kind\" query_feature: \"query\" user_tower { history_dropout: 0.25 "
      "transformer { layers: 2 heads: 2 width: 8 feed_forward: 16 dropout: 0.25 gap_edges_days: "
      "[1, 5] } }";
  const std::string context = "context { feature: \"module\" hidden: 4 } ";
  for (const std::string& tower : {kTransformer, dropout}) {
    const spec::Job job = TwoTowerJob(
        tower + context + "item_tower { residual { blocks: 1 multiple: 2 } }", "form: PAIR");
    const Batch batch = TwoTowerBatch({3, 0, 9, 1}, 7, 0, true);
    const auto make = [](const spec::Job& j, Device& d) { return TwoTowerFeed(j, d); };
    for (int stage : {0, 1}) {
      ExpectSameTraining(job, batch, job.stage(stage).train(), make, model_tolerance());
    }
    Feed on_device = TwoTowerFeed(job, *device_);
    Feed on_cpu = TwoTowerFeed(job, Cpu());
    ExpectSame(on_device.UserVectors(batch), on_cpu.UserVectors(batch), model_tolerance(), "users");
    ExpectSame(on_device.ItemVectors(batch), on_cpu.ItemVectors(batch), model_tolerance(), "items");
  }
}

TEST_P(ModelOnDeviceTest, AgePoolingAndPopularityTrainAsOnTheCpu) {
  const spec::Job job = TwoTowerJob(kAgePooling +
                                    " popularity { counter { window_days: 3 } counter { "
                                    "half_life_days: 9 } }");
  const Batch batch = TwoTowerBatch({3, 0, 9, 1}, 8, 2, false);
  const auto make = [](const spec::Job& j, Device& d) { return TwoTowerFeed(j, d); };
  // The counters' gradient is summed in chunks.
  const double tolerance = GetParam() == Kind::kHost ? 1e-6 : model_tolerance();
  for (int stage : {0, 1}) {
    ExpectSameTraining(job, batch, job.stage(stage).train(), make, tolerance);
  }
}

TEST_P(ModelOnDeviceTest, DeepFmTrainsAndScoresAsOnTheCpu) {
  const spec::Job job = ParseJob(R"(
    name: "clicks" seed: 3
    table { name: "a" dim: 8 } table { name: "b" dim: 8 } table { name: "w" dim: 1 }
    feature { name: "a" column: "a" table: "a" } feature { name: "b" column: "b" table: "b" }
    feature { name: "c" column: "c" table: "b" pooling: SUM } feature { name: "x" column: "x" }
    model { deepfm { linear_table: "w" fm: true hidden: [16, 8] dropout: 0.25 } }
    stage { name: "train" train { pointwise {} } })");
  Random random(9);
  Batch batch;
  batch.samples = 70;
  for (int copy = 0; copy < 2; ++copy) {  // the features' own tables, then the linear one
    for (const std::string feature : {"a", "b", "c"}) {
      std::vector<int32_t> index, offset = {0};
      for (int b = 0; b < batch.samples; ++b) {
        for (uint64_t n = feature == "c" ? random.Next() % 4 : 1; n > 0; --n) {
          index.push_back(static_cast<int32_t>(random.Next() % 15));
        }
        offset.push_back(static_cast<int32_t>(index.size()));
      }
      const int table = copy == 1 ? 2 : feature == "a" ? 0 : 1;
      batch.fields.push_back({feature, Lists(table, std::move(index), std::move(offset))});
    }
  }
  batch.dense_width = 1;
  for (int b = 0; b < batch.samples; ++b) {
    batch.dense.push_back(random.Normal());
    batch.label.push_back(static_cast<float>(random.Next() % 2));
  }
  const auto make = [](const spec::Job& j, Device& d) {
    Feed feed(j, d);
    feed.AddRandomTable(15, 8, 31);
    feed.AddRandomTable(15, 8, 32);
    feed.AddRandomTable(15, 1, 33);
    return feed;
  };
  ExpectSameTraining(job, batch, job.stage(0).train(), make, model_tolerance());
  Feed on_device = make(job, *device_);
  Feed on_cpu = make(job, Cpu());
  ExpectSame(on_device.Score(batch), on_cpu.Score(batch), model_tolerance(), "scores");
}

// -- Plain logic

TEST(ScatterPlan, KeepsTheOrderOfARowsTerms) {
  const std::vector<ScatterTerm> terms = {
      {3, 10, 1}, {0, 11, 2}, {3, 12, 3}, {3, 13, 4}, {0, 14, 5}};
  const ScatterPlan plan = PlanScatter(terms, 5);
  EXPECT_EQ(plan.row, (std::vector<int32_t>{0, 3}));
  EXPECT_EQ(plan.begin, (std::vector<int32_t>{0, 2, 5}));
  EXPECT_EQ(plan.from, (std::vector<int64_t>{11, 14, 10, 12, 13}));
  EXPECT_EQ(plan.factor, (std::vector<float>{2, 5, 1, 3, 4}));
  const ScatterPlan none = PlanScatter({}, 3);
  EXPECT_TRUE(none.row.empty());
  EXPECT_EQ(none.begin, std::vector<int32_t>{0});
}

TEST(LaunchShape, CoversEveryElementWithinTheGpusLimits) {
  for (const int64_t items : {int64_t{0}, int64_t{1}, int64_t{255}, int64_t{1} << 40}) {
    for (const int32_t width : {0, 1, 2, 31, 32, 33, 4096}) {
      const LaunchShape shape = ShapeOf(items, width);
      EXPECT_EQ(shape.threads_x * shape.threads_y, 256u);
      EXPECT_LE(shape.threads_x, 32u);
      EXPECT_TRUE(shape.threads_x >= static_cast<uint32_t>(width) || shape.threads_x == 32u);
      EXPECT_GE(shape.blocks, 1u);
      EXPECT_LE(shape.blocks, 1u << 16);
      const bool in_one_go = static_cast<int64_t>(shape.blocks) * shape.threads_y >= items;
      EXPECT_TRUE(in_one_go || shape.blocks == 1u << 16);
    }
  }
}

TEST(Devices, SayWhyThereIsNoGpu) {
  const auto gpus = CountGpus();
  if (gpus.ok()) {
    EXPECT_FALSE(MakeCudaDevice(*gpus).ok());
    return;
  }
  EXPECT_NE(gpus.status().message().find("set cluster.device to CPU"), std::string::npos);
  EXPECT_EQ(MakeCudaDevice(0).status().message(), gpus.status().message());
}

}  // namespace
}  // namespace emporium::models
