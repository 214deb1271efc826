// The plan, carried out on the host with the GPU's own sum, and NCCL where there are GPUs: both
// against pushing every gradient, as a shard sums them.
#include "worker/dense_reduce.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <thread>

#include "models/device.h"
#include "models/device_tasks.h"
#include "models/random.h"

namespace emporium::worker {
namespace {

struct Step {
  Step(size_t size, uint32_t micro_batches) : floats(size) {
    models::Random random(size + micro_batches);
    for (uint32_t m = 0; m < micro_batches; ++m) {
      gradients.emplace_back();
      for (size_t k = 0; k < floats; ++k) gradients.back().push_back(random.Normal());
      scales.push_back(0.1f + random.Uniform());
    }
  }
  // What a shard sums: pushes in the order of micro-batches, each scaled by its worker.
  std::vector<float> Plainly() const {
    std::vector<float> sum;
    for (size_t m = 0; m < gradients.size(); ++m) {
      for (size_t k = 0; k < floats; ++k) {
        const float scaled = gradients[m][k] * scales[m];
        if (m == 0) sum.push_back(scaled);
        if (m > 0) sum[k] += scaled;
      }
    }
    return sum;
  }
  size_t floats;
  std::vector<std::vector<float>> gradients;
  std::vector<float> scales;
};

std::vector<uint32_t> OwnersInTurn(uint32_t micro_batches, uint32_t ranks) {
  std::vector<uint32_t> owners;
  for (uint32_t m = 0; m < micro_batches; ++m) owners.push_back((m * 5 + 1) % ranks);
  return owners;
}

// Every transfer that one side lists is listed by the other; the sum is that of the segments.
std::vector<float> OnTheHost(const Step& step, const ReducePlan& plan) {
  using Wire = std::map<std::pair<uint32_t, uint32_t>, std::vector<std::vector<float>>>;
  Wire wires;  // by (from, to), in order
  for (uint32_t r = 0; r < plan.ranks(); ++r) {
    for (const auto& t : plan.Sends(r)) {
      EXPECT_EQ(plan.owner(t.micro_batch), r);
      const auto* from = step.gradients[t.micro_batch].data() + t.segment.offset;
      wires[{r, t.peer}].emplace_back(from, from + t.segment.floats);
    }
  }
  std::vector<float> sum(step.floats);
  for (uint32_t r = 0; r < plan.ranks(); ++r) {
    const ReducePlan::Segment own = plan.segment(r);
    std::vector<float> parts(own.floats * plan.micro_batches());
    for (uint32_t m = 0; m < plan.micro_batches(); ++m) {
      if (plan.owner(m) != r) continue;
      std::copy_n(step.gradients[m].data() + own.offset, own.floats, parts.data() + m * own.floats);
    }
    for (const auto& t : plan.Receives(r)) {
      auto& wire = wires[{t.peer, r}];
      EXPECT_EQ(wire.front().size(), own.floats);
      std::copy_n(wire.front().data(), own.floats, parts.data() + t.micro_batch * own.floats);
      wire.erase(wire.begin());
    }
    models::OrderedSumTask task = {};
    task.parts = parts.data();
    task.scale = step.scales.data();
    task.count = static_cast<int32_t>(plan.micro_batches());
    task.stride = static_cast<int64_t>(own.floats);
    task.out = sum.data() + own.offset;
    for (int64_t i = static_cast<int64_t>(own.floats) - 1; i >= 0; --i) task(i, 0);
  }
  for (const auto& [link, wire] : wires) EXPECT_TRUE(wire.empty()) << link.first << link.second;
  return sum;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(ReducePlan, GivesTheBitsOfPushingEveryGradientForAnyNumberOfGpus) {
  for (const size_t floats : {1, 63, 64, 65, 1000}) {
    for (const uint32_t micro_batches : {1u, 2u, 7u}) {
      const Step step(floats, micro_batches);
      const std::vector<float> expected = step.Plainly();
      for (uint32_t ranks = 1; ranks <= 5; ++ranks) {
        const ReducePlan plan(floats, OwnersInTurn(micro_batches, ranks), ranks);
        EXPECT_TRUE(SameBits(OnTheHost(step, plan), expected))
            << floats << " floats, " << micro_batches << " micro-batches, " << ranks << " GPUs";
      }
    }
  }
}

TEST(ReducePlan, SegmentsCoverTheGradientOnce) {
  for (const size_t floats : {0, 1, 64, 129, 100000}) {
    for (uint32_t ranks = 1; ranks <= 9; ++ranks) {
      const ReducePlan plan(floats, {0}, ranks);
      size_t at = 0;
      for (uint32_t r = 0; r < ranks; ++r) {
        EXPECT_EQ(plan.segment(r).offset, at);
        at += plan.segment(r).floats;
      }
      EXPECT_EQ(at, floats);
    }
  }
}

#ifdef EMPORIUM_HAVE_CUDA
TEST(NcclReduce, GivesTheBitsOfPushingEveryGradientForAnyNumberOfGpus) {
  const auto gpus = models::CountGpus();
  if (!gpus.ok()) GTEST_SKIP() << "not run: " << gpus.status().message();
  const Step step(100003, 7);
  for (uint32_t ranks = 1; ranks <= *gpus; ++ranks) {
    std::vector<uint32_t> numbers;
    for (uint32_t r = 0; r < ranks; ++r) numbers.push_back(r);
    const auto reduce = MakeNcclReduce(numbers);
    ASSERT_TRUE(reduce.ok()) << reduce.status().ToString();
    const ReducePlan plan(step.floats, OwnersInTurn(7, ranks), ranks);
    std::vector<float> sum(step.floats);
    for (int round = 0; round < 2; ++round) {  // its memory is used again
      std::vector<std::thread> threads;
      for (uint32_t r = 0; r < ranks; ++r) {
        threads.emplace_back([&, r] {
          const auto device = models::MakeCudaDevice(r);
          ASSERT_TRUE(device.ok()) << device.status().ToString();
          std::vector<DenseReduce::Part> mine;
          for (uint32_t m = 0; m < 7; ++m) {
            if (plan.owner(m) != r) continue;
            const void* there =
                (*device)->Put(step.gradients[m].data(), step.floats * sizeof(float));
            mine.push_back({static_cast<const float*>(there), m});
          }
          (*device)->Get({});  // waits for the copies
          const Status status = (*reduce)->Sum(r, plan, step.scales, mine, sum);
          EXPECT_TRUE(status.ok()) << status.ToString();
        });
      }
      for (std::thread& thread : threads) thread.join();
      EXPECT_TRUE(SameBits(sum, step.Plainly())) << ranks << " GPUs";
    }
  }
}

TEST(NcclReduce, SaysWhyThereIsNoGpu) {
  if (models::CountGpus().ok()) GTEST_SKIP() << "not run: there is a GPU here";
  const auto reduce = MakeNcclReduce({0, 1});
  ASSERT_FALSE(reduce.ok());
  EXPECT_NE(reduce.status().message().find("reducing gradients"), std::string::npos);
}
#endif

}  // namespace
}  // namespace emporium::worker
