#include "worker/backups.h"

#include <gtest/gtest.h>

#include <optional>
#include <set>

namespace emporium::worker {
namespace {

using std::chrono::milliseconds;
using Time = Backups::Time;

// A worker whose own part of a step takes 10 ms, and who then waits.
class BackupsTest : public testing::Test {
 protected:
  // Trains `steps` steps in which the others are waited for `wait` long.
  void Train(uint64_t steps, milliseconds wait) {
    for (uint64_t i = 0; i < steps; ++i) {
      Wait();
      now_ += wait;
      EXPECT_FALSE(Due()) << "step " << step_.value();
      backups_.Reached(step_ = step_.next(), now_);
    }
  }
  // Up to where only others are waited for.
  void Wait() {
    now_ += milliseconds(10);
    backups_.Waits(step_, now_);
  }
  bool Due() const { return backups_.due().has_value() && *backups_.due() <= now_; }
  std::optional<uint32_t> Choose(uint32_t lowest, uint32_t of) {
    const Step step = backups_.Look();
    EXPECT_EQ(step, step_);
    EXPECT_FALSE(backups_.due().has_value()) << "one lane at a time";
    const auto chosen = backups_.Choose(step, lowest, of, now_);
    return chosen ? std::optional(chosen->value()) : std::nullopt;
  }
  void Begin(uint32_t rank, uint32_t workers) {
    backups_.Begin(rank, workers);
    backups_.Reached(step_, now_);
  }

  Backups backups_{5};
  Time now_{0};
  Step step_{0};
};

TEST_F(BackupsTest, NothingIsDueBeforeEnoughIsKnown) {
  Begin(0, 3);
  for (int i = 0; i < 19; ++i) Train(1, milliseconds(i % 2 == 0 ? 3 : 5'000));
}

TEST_F(BackupsTest, DueWhenTheWaitIsLongerThanUsual) {
  Begin(0, 3);
  Train(100, milliseconds(5));
  Wait();
  const Time since = now_;
  // Twice its own part of a step is longer than nearly all waits.
  EXPECT_EQ(backups_.due(), since + milliseconds(20));
  backups_.Reached(step_ = step_.next(), now_);
  Train(10, milliseconds(19));

  // Where waits are long in general they are nothing to act upon.
  Begin(0, 3);
  for (int i = 0; i < 128; ++i) {
    Wait();
    now_ += milliseconds(80);
    backups_.Reached(step_ = step_.next(), now_);
  }
  Wait();
  EXPECT_EQ(backups_.due(), now_ + milliseconds(80));
}

TEST_F(BackupsTest, NothingIsDueWhileThereIsWorkAndForAWorkerAlone) {
  Begin(0, 1);
  Train(200, milliseconds(1));
  Wait();
  EXPECT_FALSE(backups_.due());
  Begin(0, 2);
  now_ += milliseconds(1'000);
  EXPECT_FALSE(backups_.due()) << "its own part is not done";
  Wait();
  EXPECT_TRUE(backups_.due());
  Begin(0, 2);
  EXPECT_FALSE(backups_.due()) << "another span";

  Backups none(0);
  none.Begin(0, 2);
  for (uint64_t step = 0; step < 100; ++step) {
    none.Reached(Step(step), Time(step));
    none.Waits(Step(step), Time(step));
    EXPECT_FALSE(none.due());
  }
}

TEST_F(BackupsTest, ManySlowStepsInARowAreAllBackedUp) {
  Begin(0, 2);
  Train(100, milliseconds(2));
  for (int i = 0; i < 300; ++i) {
    Wait();
    const Time since = now_;
    now_ += milliseconds(20);
    ASSERT_TRUE(Due()) << "slow step " << i;
    ASSERT_EQ(Choose(1, 2), 1u);
    now_ += milliseconds(15);
    EXPECT_LE(now_ - since, milliseconds(35));
    backups_.Reached(step_ = step_.next(), now_);
  }
}

TEST_F(BackupsTest, WhatTheOwnerHasLeftIsSharedOut) {
  // Of 12 micro-batches worker 1 of 4 has 1, 5 and 9; 5 and 9 are missing.
  std::multiset<uint32_t> first, second;
  for (const uint32_t rank : {0u, 2u, 3u}) {
    backups_ = Backups(5);
    Begin(rank, 4);
    Train(50, milliseconds(1));
    Wait();
    now_ += milliseconds(20);
    if (const auto chosen = Choose(5, 12)) first.insert(*chosen);
    if (!backups_.due().has_value()) FAIL();
    now_ = std::max(now_, *backups_.due());
    if (const auto chosen = Choose(5, 12)) second.insert(*chosen);
  }
  EXPECT_EQ(first, (std::multiset<uint32_t>{5, 9})) << "two of three workers, one each";
  EXPECT_EQ(second, (std::multiset<uint32_t>{5, 5, 9}))
      << "the third joins when they are late, too";
}

TEST_F(BackupsTest, EachOnceAndNeverItsOwn) {
  Begin(0, 2);
  Train(50, milliseconds(1));
  Wait();
  now_ += milliseconds(20);
  EXPECT_EQ(Choose(1, 6), 1u);
  EXPECT_EQ(Choose(1, 6), 3u) << "another lane";
  EXPECT_EQ(Choose(1, 6), 5u);
  EXPECT_EQ(Choose(1, 6), std::nullopt);
  EXPECT_FALSE(Due()) << "after a while";
  now_ += milliseconds(20);
  EXPECT_TRUE(Due());
  EXPECT_EQ(Choose(0, 6), std::nullopt) << "its own";
  now_ += milliseconds(20);
  EXPECT_EQ(Choose(6, 6), std::nullopt) << "all are there";
  EXPECT_TRUE(backups_.Waiting(step_));
  const Step old = step_;
  backups_.Reached(step_ = step_.next(), now_);
  EXPECT_FALSE(backups_.Waiting(old));
  EXPECT_EQ(backups_.Choose(old, 1, 6, now_), std::nullopt) << "too late";
}

}  // namespace
}  // namespace emporium::worker
