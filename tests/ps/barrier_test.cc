// The barrier holds two steps of pushes, each micro-batch once, in bounded memory.
#include "ps/barrier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace emporium::ps {
namespace {

using ::testing::HasSubstr;

StagedPush Push(uint64_t step, uint32_t m, uint32_t of, size_t keys = 1, float factor = 1) {
  FrameHeader header;
  header.type = FrameType::kPush;
  header.step = Step(step);
  header.micro_batch = MicroBatch(m);
  header.micro_batches = of;
  header.learning_rate_factor = factor;
  const FrameBuilder::Section sections[] = {
      {.table = TableId(0), .keys = static_cast<uint32_t>(keys), .dim = 1}};
  FrameBytes bytes(FrameBuilder(header, sections).Finish());
  FrameView view = FrameView::Parse(bytes.bytes()).value();
  return {std::move(bytes), std::move(view), std::nullopt};
}

// What can be taken now.
std::vector<uint32_t> TakeAll(Barrier* barrier) {
  std::vector<uint32_t> taken;
  while (const auto push = barrier->TakeNext()) {
    taken.push_back(push->frame.header().micro_batch.value());
  }
  return taken;
}

// A push that is refused does not decide what the others must say.
TEST(Barrier, RefusedPushesLeaveNothing) {
  Barrier barrier(4'000);
  barrier.Reset(Step(0));
  StagedPush big = Push(0, 0, 3, 1000);
  EXPECT_EQ(barrier.Stage(std::move(big)).status().code(), StatusCode::kBusy);
  EXPECT_EQ(big.frame.sections().size(), 1u);
  EXPECT_TRUE(barrier.empty());
  EXPECT_TRUE(barrier.Stage(Push(0, 0, 2)).ok());
}

TEST(Barrier, CompletesInAnyOrderAndGivesMicroBatchOrder) {
  Barrier barrier(1 << 20);
  barrier.Reset(Step(4));
  EXPECT_FALSE(barrier.complete());
  const std::vector<std::vector<uint32_t>> taken = {{}, {0}, {}, {1, 2, 3}};
  const uint32_t order[] = {2, 0, 3, 1};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_FALSE(barrier.complete());
    EXPECT_EQ(barrier.Stage(Push(4, order[i], 4)).value(), Barrier::Outcome::kStaged);
    EXPECT_EQ(TakeAll(&barrier), taken[i]);
    EXPECT_TRUE(barrier.Knows(Push(4, order[i], 4).frame.header()));
    EXPECT_EQ(barrier.Stage(Push(4, order[i], 4)).value(), Barrier::Outcome::kKnown);
    EXPECT_FALSE(barrier.empty());
  }
  ASSERT_TRUE(barrier.complete());
  barrier.Advance();
  EXPECT_EQ(barrier.step(), Step(5));
  EXPECT_TRUE(barrier.empty());
  EXPECT_FALSE(barrier.complete());
}

TEST(Barrier, HoldsTheNextStepMeanwhile) {
  Barrier barrier(1 << 20);
  barrier.Reset(Step(0));
  EXPECT_TRUE(barrier.Stage(Push(1, 0, 1)).ok());
  EXPECT_FALSE(barrier.complete());
  EXPECT_TRUE(barrier.Stage(Push(0, 0, 1)).ok());
  EXPECT_EQ(TakeAll(&barrier).size(), 1u);
  ASSERT_TRUE(barrier.complete());
  barrier.Advance();
  EXPECT_FALSE(barrier.empty());
  EXPECT_FALSE(barrier.complete());
  EXPECT_EQ(barrier.TakeNext()->frame.header().step, Step(1));
  ASSERT_TRUE(barrier.complete());
}

TEST(Barrier, KnowsDuplicatesAndDisagreement) {
  Barrier barrier(1 << 20);
  barrier.Reset(Step(0));
  EXPECT_TRUE(barrier.Stage(Push(0, 1, 3)).ok());
  const uint64_t bytes = barrier.staged_bytes();
  EXPECT_EQ(barrier.Stage(Push(0, 1, 3)).value(), Barrier::Outcome::kKnown);
  EXPECT_EQ(barrier.staged_bytes(), bytes);
  EXPECT_THAT(barrier.Stage(Push(0, 0, 2)).status().message(), HasSubstr("micro-batches"));
  EXPECT_THAT(barrier.Stage(Push(0, 0, 3, 1, 0.5f)).status().message(),
              HasSubstr("learning-rate factor"));
  StagedPush scaled = Push(0, 0, 3);
  FrameHeader header = scaled.frame.header();
  header.awaits_scale = true;
  scaled.bytes = FrameBytes(FrameBuilder(header, {}).Finish());
  scaled.frame = FrameView::Parse(scaled.bytes.bytes()).value();
  EXPECT_THAT(barrier.Stage(std::move(scaled)).status().message(), HasSubstr("clipped"));
  EXPECT_EQ(barrier.staged_bytes(), bytes);
}

TEST(Barrier, IsBoundedAndKeepsRoomForThePresentStep) {
  Barrier barrier(40'000);
  barrier.Reset(Step(0));
  // Each push: 96 + 24 + 1000 * 12 bytes and some overhead.
  EXPECT_TRUE(barrier.Stage(Push(1, 0, 3, 1000)).ok());
  EXPECT_EQ(barrier.Stage(Push(1, 1, 3, 1000)).status().code(), StatusCode::kBusy);
  EXPECT_TRUE(barrier.Stage(Push(0, 0, 3, 1000)).ok());
  EXPECT_TRUE(barrier.Stage(Push(0, 1, 3, 1000)).ok());
  EXPECT_EQ(barrier.Stage(Push(0, 2, 3, 1000)).status().code(), StatusCode::kBusy);
  EXPECT_LE(barrier.staged_bytes(), 40'000u);
  EXPECT_TRUE(barrier.Stage(Push(0, 2, 3, 10)).ok());
  EXPECT_EQ(TakeAll(&barrier).size(), 3u);
  EXPECT_GT(barrier.staged_bytes(), 36'000u);  // what was taken counts until the step is over
  ASSERT_TRUE(barrier.complete());
  barrier.Advance();
  EXPECT_TRUE(barrier.Stage(Push(1, 1, 3, 1000)).ok());
}

}  // namespace
}  // namespace emporium::ps
