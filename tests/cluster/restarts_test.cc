#include "cluster/restarts.h"

#include <gtest/gtest.h>

namespace emporium::cluster {
namespace {

TEST(Restarts, AtOnceAfterALongLifeAndWithPausesAfterShortOnes) {
  Restarts restarts;
  int64_t now_ms = 0;
  restarts.Started("a", now_ms);
  now_ms += Restarts::kLongLifeMs;
  EXPECT_EQ(restarts.Died("a", false, now_ms), now_ms);
  EXPECT_TRUE(restarts.waiting("a"));
  EXPECT_EQ(restarts.NextDue(now_ms), "a");
  EXPECT_FALSE(restarts.waiting("a"));
  EXPECT_EQ(restarts.NextDue(now_ms), std::nullopt);

  int64_t pause_ms = 0;
  for (int life = 1; life < Restarts::kMaxShortLives; ++life) {
    restarts.Started("a", now_ms);
    ++now_ms;
    const std::optional<int64_t> due = restarts.Died("a", false, now_ms);
    ASSERT_TRUE(due.has_value());
    EXPECT_GE(*due - now_ms, pause_ms);
    pause_ms = *due - now_ms;
    if (pause_ms > 0) {
      EXPECT_EQ(restarts.NextDue(*due - 1), std::nullopt);
    }
    now_ms = *due;
    EXPECT_EQ(restarts.NextDue(now_ms), "a");
  }
  EXPECT_GT(pause_ms, 0);
  restarts.Started("a", now_ms);
  EXPECT_EQ(restarts.Died("a", false, now_ms + 1), std::nullopt);
  EXPECT_EQ(restarts.NextDue(now_ms + 1'000'000), std::nullopt);

  restarts.Started("b", now_ms);  // another one is another matter
  EXPECT_EQ(restarts.Died("b", false, now_ms), now_ms);
  restarts.Stop();
  EXPECT_EQ(restarts.NextDue(now_ms), std::nullopt);
}

TEST(Restarts, WhatIsKilledFromOutsideIsStartedAgainForEver) {
  Restarts restarts;
  int64_t now_ms = 0;
  for (int i = 0; i < 100; ++i) {
    restarts.Started("a", now_ms);
    const std::optional<int64_t> due = restarts.Died("a", true, now_ms + 1);
    ASSERT_TRUE(due.has_value());
    EXPECT_LE(*due, now_ms + 1 + Restarts::kMaxPauseMs);
    now_ms = *due;
  }
  // Its own faults count all the same.
  for (int i = 1; i < Restarts::kMaxShortLives; ++i) {
    EXPECT_TRUE(restarts.Died("a", false, now_ms).has_value());
  }
  EXPECT_EQ(restarts.Died("a", false, now_ms), std::nullopt);
}

TEST(Restarts, ALongLifeForgetsTheShortOnes) {
  Restarts restarts;
  for (int i = 0; i < 20; ++i) {
    restarts.Started("a", 0);
    const int64_t life_ms = i % 3 == 0 ? Restarts::kLongLifeMs : 1;
    EXPECT_TRUE(restarts.Died("a", false, life_ms).has_value());
  }
}

}  // namespace
}  // namespace emporium::cluster
