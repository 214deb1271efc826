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
  return {std::move(bytes), std::move(view)};
}

TEST(Barrier, CompletesInAnyOrderAndGivesMicroBatchOrder) {
  Barrier barrier(1 << 20);
  barrier.Reset(Step(4));
  EXPECT_FALSE(barrier.complete());
  for (uint32_t m : {2u, 0u, 3u, 1u}) {
    EXPECT_FALSE(barrier.complete());
    EXPECT_EQ(barrier.Stage(Push(4, m, 4)).value(), Barrier::Outcome::kStaged);
  }
  ASSERT_TRUE(barrier.complete());
  const std::vector<StagedPush> pushes = barrier.Take();
  ASSERT_EQ(pushes.size(), 4u);
  for (uint32_t m = 0; m < 4; ++m) EXPECT_EQ(pushes[m].frame.header().micro_batch, MicroBatch(m));
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
  ASSERT_TRUE(barrier.complete());
  EXPECT_EQ(barrier.Take().size(), 1u);
  EXPECT_FALSE(barrier.empty());
  ASSERT_TRUE(barrier.complete());
  EXPECT_EQ(barrier.Take()[0].frame.header().step, Step(1));
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
  ASSERT_TRUE(barrier.complete());
  barrier.Take();
  EXPECT_TRUE(barrier.Stage(Push(1, 1, 3, 1000)).ok());
}

}  // namespace
}  // namespace emporium::ps
