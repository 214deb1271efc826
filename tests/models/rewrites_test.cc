// Layers that are computed otherwise than they are written, against the form in which they are
// written, with gradients: random inputs, sequences of every length.
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "models/layers/target_attention.h"
#include "models/layers/transformer.h"
#include "models/rows.h"
#include "tests/models/feed.h"

namespace emporium::models {
namespace {

using Build = std::function<at::Tensor(Pass&)>;

// What came of a pass over `build`, and the gradients of the dense parameters and of the leaves.
struct Outcome {
  std::vector<float> out;
  std::vector<float> dense_gradient;
  std::vector<std::vector<float>> leaf_gradients;
};

std::vector<float> FloatsOf(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous();
  return {flat.data_ptr<float>(), flat.data_ptr<float>() + flat.numel()};
}

Outcome OutcomeOf(const ParameterList& list, const std::vector<at::Tensor>& leaves,
                  const Build& build) {
  std::vector<float> values(static_cast<size_t>(list.total()));
  Outcome outcome;
  outcome.dense_gradient.resize(values.size());
  list.Initialize(3, values);
  const Batch batch;
  const RowSet rows;
  Pass pass(Cpu(), list, batch, rows, {values, outcome.dense_gradient}, uint64_t{1});
  for (at::Tensor leaf : leaves) leaf.mutable_grad() = at::Tensor();
  const at::Tensor y = build(pass);
  outcome.out = FloatsOf(y);
  // Every output matters differently.
  pass.Backward({y}, {at::arange(y.numel(), at::kFloat).remainder(7).sub(3).view(y.sizes())});
  for (const at::Tensor& leaf : leaves) outcome.leaf_gradients.push_back(FloatsOf(leaf.grad()));
  return outcome;
}

void ExpectSame(const Outcome& actual, const Outcome& expected) {
  ExpectNear(actual.out, expected.out, 1e-5, "out");
  ExpectNear(actual.dense_gradient, expected.dense_gradient, 2e-5, "dense gradient");
  ASSERT_EQ(actual.leaf_gradients.size(), expected.leaf_gradients.size());
  for (size_t i = 0; i < actual.leaf_gradients.size(); ++i) {
    ExpectNear(actual.leaf_gradients[i], expected.leaf_gradients[i], 1e-5, "leaf gradient");
  }
}

at::Tensor Leaf(int64_t rows, int64_t width, uint64_t seed) {
  at::Tensor leaf = at::zeros({rows, width}, at::kFloat);
  Random random(seed);
  for (int64_t i = 0; i < leaf.numel(); ++i) leaf.data_ptr<float>()[i] = random.Normal();
  return leaf.set_requires_grad(true);
}

// Of every group of lengths: one and several, full and padded.
const std::vector<int32_t> kOffset = {0, 1, 3, 6, 10, 15, 24, 41, 42, 46, 63};
constexpr int32_t kSequences = 10;
constexpr int64_t kWidth = 6;
constexpr EncoderShape kOneBlock = {1, 2, kWidth, 5, 0};
constexpr EncoderShape kTwoBlocks = {2, 2, kWidth, 5, 0};

TEST(Rewrites, TheLastBlockAtTheFirstPositionIsThatOfAll) {
  for (const EncoderShape& shape : {kOneBlock, kTwoBlocks}) {
    ParameterList list;
    const Encoder encoder(list, "encoder", shape);
    const at::Tensor x = Leaf(kOffset.back(), kWidth, 1);
    const std::vector<int32_t> firsts(kOffset.begin(), kOffset.end() - 1);
    ExpectSame(OutcomeOf(list, {x}, [&](Pass& p) { return encoder.Forward(p, x, kOffset); }),
               OutcomeOf(list, {x}, [&](Pass& p) {
                 return TakeRows(p, encoder.ForwardAll(p, x, kOffset), firsts);
               }));
  }
}

TEST(Rewrites, ASequenceAmongOthersIsASequenceAlone) {
  ParameterList list;
  const Encoder encoder(list, "encoder", kTwoBlocks);
  const at::Tensor x = Leaf(kOffset.back(), kWidth, 2);
  const Outcome together =
      OutcomeOf(list, {x}, [&](Pass& p) { return encoder.ForwardAll(p, x, kOffset); });
  const Outcome alone = OutcomeOf(list, {x}, [&](Pass& p) {
    std::vector<at::Tensor> parts;
    for (size_t b = 0; b < kSequences; ++b) {
      const int32_t length = kOffset[b + 1] - kOffset[b];
      const at::Tensor own = x.narrow(0, kOffset[b], length).contiguous();
      parts.push_back(encoder.ForwardAll(p, own, p.Keep({0, length})));
    }
    return at::cat(parts);
  });
  ExpectSame(together, alone);
}

TEST(Rewrites, SequencesMayReadTheSameRows) {
  constexpr int32_t kRows = 20;
  std::vector<int32_t> row;
  for (int32_t i = 0; i < kOffset.back(); ++i) row.push_back(i * 7 % kRows);
  for (const EncoderShape& shape : {kOneBlock, kTwoBlocks}) {
    ParameterList list;
    const Encoder encoder(list, "encoder", shape);
    const at::Tensor x = Leaf(kRows, kWidth, 3);
    ExpectSame(OutcomeOf(list, {x}, [&](Pass& p) { return encoder.Forward(p, x, kOffset, row); }),
               OutcomeOf(list, {x}, [&](Pass& p) {
                 return encoder.Forward(p, TakeRows(p, x, row), kOffset);
               }));
    ExpectSame(
        OutcomeOf(list, {x}, [&](Pass& p) { return encoder.ForwardAll(p, x, kOffset, row); }),
        OutcomeOf(list, {x},
                  [&](Pass& p) { return encoder.ForwardAll(p, TakeRows(p, x, row), kOffset); }));
  }
}

// Narrower than the rows, or wider.
spec::Mlp Hidden(uint32_t first = 4) {
  spec::Mlp hidden;
  hidden.add_hidden(first);
  hidden.add_hidden(3);
  return hidden;
}

TEST(Rewrites, TheSplitFirstLayerOfTargetAttentionIsTheWholeOne) {
  ParameterList split;
  const TargetAttention attention(split, "attention", kWidth, Hidden(), false);
  ParameterList whole;  // of the same names, so of the same values
  const Mlp mlp(whole, "attention", 4 * kWidth, Hidden(), 1);
  const at::Tensor target = Leaf(kSequences, kWidth, 4);
  const at::Tensor events = Leaf(kOffset.back(), kWidth, 5);
  ExpectSame(OutcomeOf(split, {target, events},
                       [&](Pass& p) {
                         return attention.Forward(p, target, events, {kOffset, {}});
                       }),
             OutcomeOf(whole, {target, events}, [&](Pass& p) {
               const at::Tensor t = TakeRows(p, target, SampleOfEvents(p, kOffset));
               const at::Tensor pairs = at::cat({t, events, t.sub(events), t.mul(events)}, 1);
               return PoolRows(p, events.mul(mlp.Forward(p, pairs)), kOffset, PoolKind::kSum);
             }));
}

TEST(Rewrites, SamplesMayShareTheirHistory) {
  const std::vector<int32_t> of = {0, 0, 3, 3, 3, 9, 6, 0};
  std::vector<int32_t> offset{0};
  std::vector<int32_t> event;
  for (int32_t k : of) {
    for (int32_t e = kOffset[k]; e < kOffset[k + 1]; ++e) event.push_back(e);
    offset.push_back(static_cast<int32_t>(event.size()));
  }
  for (const uint32_t first : {4u, 8u}) {
    ParameterList list;
    const TargetAttention attention(list, "attention", kWidth, Hidden(first), /*softmax=*/true);
    const at::Tensor target = Leaf(static_cast<int64_t>(of.size()), kWidth, 6);
    const at::Tensor events = Leaf(kOffset.back(), kWidth, 7);
    ExpectSame(OutcomeOf(list, {target, events},
                         [&](Pass& p) {
                           return attention.Forward(p, target, events, {kOffset, of});
                         }),
               OutcomeOf(list, {target, events}, [&](Pass& p) {
                 return attention.Forward(p, target, TakeRows(p, events, event), {offset, {}});
               }));
  }
}

}  // namespace
}  // namespace emporium::models
