// What the equal rewrites of the layers save: each beside the form in which its paper writes it,
// forward and backward in one thread, in turn (bench/bursts.h). That both forms say the same is
// tested (tests/models/rewrites_test.cc, sequence_test.cc, kernels_test.cc).
//
// usage: bench_rewrites
#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/randn.h>

#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "bench/bursts.h"
#include "models/layers/target_attention.h"
#include "models/layers/transformer.h"
#include "models/rows.h"

namespace emporium::bench {
namespace {

using models::Encoder;
using models::EncoderShape;
using models::Histories;
using models::ParameterList;
using models::Pass;
using models::TargetAttention;
using Build = std::function<at::Tensor(Pass&)>;

constexpr int kSamples = 250;
constexpr int kShare = 5;  // samples of one history: a positive and four negatives
constexpr int kLongest = 50;

// Layers of one list of parameters, and passes over them.
class Layers {
 public:
  ParameterList list;

  void Start() {
    values_.resize(static_cast<size_t>(list.total()));
    gradient_.resize(values_.size());
    list.Initialize(1, values_);
  }
  Work Training(const Build& build) {
    return [this, build](size_t first, size_t batches) {
      for (size_t i = first; i < first + batches; ++i) {
        Pass pass(models::Cpu(), list, batch_, rows_, {values_, gradient_}, i);
        const at::Tensor y = build(pass);
        pass.Backward({y}, {at::ones_like(y)});
      }
    };
  }

 private:
  models::Batch batch_;
  models::RowSet rows_;
  std::vector<float> values_;
  std::vector<float> gradient_;
};

at::Tensor Leaf(int64_t rows, int64_t width) {
  return at::randn({rows, width}, at::kFloat).set_requires_grad(true);
}

void Print(const std::string& name, const Comparison& compared) {
  std::printf("%-58s %5.2f (%.2f - %.2f)\n", name.c_str(), compared.ratio.median,
              compared.ratio.low, compared.ratio.high);
  std::fflush(stdout);
}

void Compare(const std::string& name, Layers& layers, const Build& written, const Build& ours) {
  constexpr int kRuns = 3;
  constexpr int kPairs = 15;
  Bursts bursts;
  Print(name, bursts.Compare(layers.Training(written), layers.Training(ours), kRuns, kPairs));
}

// Offsets of sequences that are short more often than long, as users' histories are.
std::vector<int32_t> Offsets(int sequences, int least) {
  std::mt19937_64 random(1);
  std::geometric_distribution<int> length(0.12);
  std::vector<int32_t> offset{0};
  for (int i = 0; i < sequences; ++i) {
    offset.push_back(offset.back() + std::min(kLongest, least + length(random)));
  }
  return offset;
}

std::vector<int32_t> EqualOffsets(int sequences, int length) {
  std::vector<int32_t> offset;
  for (int i = 0; i <= sequences; ++i) offset.push_back(i * length);
  return offset;
}

// The form of the DIN paper, all four parts of every pair side by side.
at::Tensor WrittenAttention(Pass& pass, const models::Mlp& mlp, const at::Tensor& target,
                            const at::Tensor& events, std::span<const int32_t> offset) {
  const at::Tensor t = models::TakeRows(pass, target, models::SampleOfEvents(pass, offset));
  const at::Tensor a = mlp.Forward(pass, at::cat({t, events, t.sub(events), t.mul(events)}, 1));
  return models::PoolRows(pass, events.mul(a), offset, models::PoolKind::kSum);
}

void CompareAttention(int64_t width) {
  spec::Mlp hidden;
  hidden.add_hidden(64);
  hidden.add_hidden(16);
  Layers layers;
  const TargetAttention attention(layers.list, "attention", width, hidden, false);
  const models::Mlp mlp(layers.list, "written", 4 * width, hidden, 1);
  layers.Start();
  const at::Tensor target = Leaf(kSamples, width);
  const std::vector<int32_t> full = EqualOffsets(kSamples, kLongest);
  const at::Tensor events = Leaf(full.back(), width);
  const std::string name = "target attention, rows of " + std::to_string(width);
  Compare(
      name + ": first layer split", layers,
      [&](Pass& pass) { return WrittenAttention(pass, mlp, target, events, full); },
      [&](Pass& pass) {
        return attention.Forward(pass, target, events, {full, {}});
      });

  std::vector<int32_t> of;
  std::vector<int32_t> event;
  for (int b = 0; b < kSamples; ++b) {
    of.push_back(b / kShare);
    for (int j = 0; j < kLongest; ++j) event.push_back(b / kShare * kLongest + j);
  }
  const std::vector<int32_t> offset = EqualOffsets(kSamples / kShare, kLongest);
  const at::Tensor few = Leaf(offset.back(), width);
  Compare(
      name + ": history of five shared", layers,
      [&](Pass& pass) {
        return attention.Forward(pass, target, models::TakeRows(pass, few, event), {full, {}});
      },
      [&](Pass& pass) {
        return attention.Forward(pass, target, few, {offset, of});
      });
}

void CompareEncoder() {
  const EncoderShape shape = {2, 2, 64, 256, 0.1f};
  Layers layers;
  const Encoder encoder(layers.list, "encoder", shape);
  const Encoder single(layers.list, "single", {1, 2, 64, 256, 0.1f});
  layers.Start();

  const std::vector<int32_t> full = EqualOffsets(kSamples, kLongest);
  const std::vector<int32_t> firsts(full.begin(), full.end() - 1);
  const at::Tensor x = Leaf(full.back(), shape.width);
  Compare(
      "encoder of 2 blocks: the last at the position that is read", layers,
      [&](Pass& pass) { return models::TakeRows(pass, encoder.ForwardAll(pass, x, full), firsts); },
      [&](Pass& pass) { return encoder.Forward(pass, x, full); });

  const std::vector<int32_t> offset = Offsets(kSamples, 1);
  const at::Tensor packed = Leaf(offset.back(), shape.width);
  Compare(
      "encoder of 2 blocks: padded within groups of like length", layers,
      [&](Pass& pass) { return encoder.Forward(pass, x, full); },
      [&](Pass& pass) { return encoder.Forward(pass, packed, offset); });

  // A target and a history of five samples: 1 + kLongest elements.
  const std::vector<int32_t> with_target = EqualOffsets(kSamples, 1 + kLongest);
  std::vector<int32_t> row;
  for (int b = 0; b < kSamples; ++b) {
    row.push_back(b);
    for (int j = 0; j < kLongest; ++j) row.push_back(kSamples + b / kShare * kLongest + j);
  }
  const at::Tensor distinct = Leaf(kSamples + kSamples / kShare * kLongest, shape.width);
  Compare(
      "encoder of 1 block: history of five shared", layers,
      [&](Pass& pass) {
        return single.Forward(pass, models::TakeRows(pass, distinct, row), with_target);
      },
      [&](Pass& pass) { return single.Forward(pass, distinct, with_target, row); });
}

}  // namespace
}  // namespace emporium::bench

int main() {
  at::set_num_threads(1);
  std::printf("%-58s %s\n", "rewrite", "times as fast: median (least - most of 3 runs)");
  for (const int64_t width : {16, 96}) emporium::bench::CompareAttention(width);
  emporium::bench::CompareEncoder();
  return 0;
}
