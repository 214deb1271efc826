#include "worker/counters.h"

#include <gmock/gmock.h>

#include <cmath>
#include <map>
#include <thread>

#include "tests/worker/data_fixture.h"
#include "worker/counter_cursor.h"
#include "worker/sampler.h"

namespace emporium::worker {
namespace {

using ::testing::HasSubstr;

constexpr double kDay = 86400;

class CountersTest : public DataTest {
 protected:
  void SetUp() override {
    DataTest::SetUp();
    RandomStream random(4, Purpose::kSynthetic, {});
    std::string text = "t,u,i\n";
    for (int row = 0; row < 600; ++row) {
      text += std::to_string(static_cast<double>(random.Below(60)) * kDay / 2) + ",u" +
              std::to_string(random.Below(20)) + ",i" + std::to_string(random.Below(15)) + "\n";
    }
    Write("e.csv", text);
    job_ = ParseJob(R"(data {
      events { file: "e.csv" column { name: "t" type: FLOAT } column { name: "u" }
               column { name: "i" } }
      user_column: "u" item_column: "i" time_column: "t" }
      model { two_tower { popularity {
        counter { window_days: 3 } counter { window_days: 7.5 first_of_user: true }
        counter { half_life_days: 4 } counter { half_life_days: 9 first_of_user: true } } } })");
    data_ = Data(job_);
    history_ = std::move(History::Create(*data_, job_.data(), false)).value();
  }
  std::unique_ptr<ItemCounters> Make(size_t cache_bytes) {
    auto counters =
        ItemCounters::Create(*data_, *history_, job_.model().two_tower().popularity(), cache_bytes);
    EXPECT_TRUE(counters.ok()) << counters.status().ToString();
    return std::move(counters).value();
  }

  spec::Job job_;
  std::unique_ptr<Dataset> data_;
  std::unique_ptr<History> history_;
};

// By counting every event again for every question.
TEST_F(CountersTest, AgreeWithPlainCounting) {
  const auto counters = Make(1 << 20);
  ASSERT_EQ(counters->count(), 4);
  std::map<std::pair<int32_t, int32_t>, int64_t> first_of_pair;
  std::map<int32_t, double> first_time;
  for (int64_t e = 0; e < data_->events(); ++e) {
    const auto event = static_cast<size_t>(e);
    first_of_pair.emplace(std::pair(data_->event_user()[event], data_->event_item()[event]), e);
    first_time.emplace(data_->event_user()[event], data_->event_time()[event]);
  }
  for (double day = -1; day < 33; day += 0.25) {
    const double reference = day * kDay;
    for (int32_t item = 0; item < data_->items(); ++item) {
      double want[4] = {};
      for (int64_t e = 0; e < data_->events(); ++e) {
        const auto event = static_cast<size_t>(e);
        const double age = reference - data_->event_time()[event];
        const int32_t user = data_->event_user()[event];
        if (data_->event_item()[event] != item || age <= 0) {
          continue;
        }
        const bool first =
            first_of_pair[{user, item}] == e && data_->event_time()[event] > first_time[user];
        want[0] += age <= 3 * kDay;
        want[1] += first && age <= 7.5 * kDay;
        want[2] += std::exp2(-age / (4 * kDay));
        want[3] += first ? std::exp2(-age / (9 * kDay)) : 0;
      }
      float got[4];
      counters->LogCounts(item, reference, got);
      for (int k = 0; k < 4; ++k) {
        ASSERT_NEAR(got[k], std::log1p(want[k]), 1e-5) << k << " day " << day;
      }
    }
  }
}

TEST_F(CountersTest, CataloguesAreTheSameWhetherKeptOrNot) {
  const auto roomy = Make(1 << 20);
  const auto tight = Make(1);  // keeps one catalogue at most
  EXPECT_TRUE(roomy->Keeps());
  EXPECT_FALSE(tight->Keeps());
  for (int round = 0; round < 2; ++round) {
    for (double day = 1; day < 20; ++day) {
      const auto a = roomy->Catalogue(day * kDay);
      const auto b = tight->Catalogue(day * kDay);
      ASSERT_EQ(*a, *b);
      float got[4];
      roomy->LogCounts(3, day * kDay, got);
      EXPECT_EQ((*a)[3 * 4 + 2], got[2]);
    }
  }
  EXPECT_EQ(roomy->Catalogue(kDay), roomy->Catalogue(kDay));  // the same object
}

// Moments close together, equal, and further apart than every window.
TEST_F(CountersTest, ACursorGivesTheBitsOfTheSearch) {
  for (const char* split : {"", "leave_one_out {}"}) {
    job_.mutable_data()->clear_split();
    ASSERT_TRUE(
        google::protobuf::TextFormat::ParseFromString(split, job_.mutable_data()->mutable_split()));
    history_ = std::move(History::Create(*data_, job_.data(), false)).value();
    const auto counters = Make(1 << 20);
    for (const double step : {0.1, 0.5, 2.0, 11.0}) {
      for (const double first : {-1.0, 3.5, 20.0}) {
        CounterCursor cursor(*data_, *history_, *counters);
        for (double day = first; day < 50; day += day < 10 ? step : 2 * step) {
          for (int again = 0; again < 2; ++again) {
            const auto got = cursor.MoveTo(day * kDay);
            ASSERT_EQ(std::vector<float>(got.begin(), got.end()), *counters->Catalogue(day * kDay))
                << split << " day " << day << " of step " << step;
          }
        }
      }
    }
  }
}

TEST_F(CountersTest, ManyThreadsMayAsk) {
  const auto counters = Make(4 * 15 * 4 * 5);
  const auto want = Make(1 << 20);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const double reference = ((i * 7 + t) % 23) * kDay;
        EXPECT_EQ(*counters->Catalogue(reference), *want->Catalogue(reference));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

TEST_F(CountersTest, ACounterNeedsALength) {
  job_.mutable_model()->mutable_two_tower()->mutable_popularity()->add_counter();
  const auto counters =
      ItemCounters::Create(*data_, *history_, job_.model().two_tower().popularity(), 1 << 20);
  EXPECT_THAT(counters.status().message(), HasSubstr("counter 4: set window_days"));
}

// Leave-one-out events that are held back must not show in popularity.
TEST_F(CountersTest, HeldBackEventsAreNotCounted) {
  Write("e.csv", "t,u,i\n1,a,x\n2,a,y\n3,a,z\n4,a,z\n1,b,x\n2,b,x\n");
  job_.mutable_data()->mutable_split()->mutable_leave_one_out();
  data_ = Data(job_);
  history_ = std::move(History::Create(*data_, job_.data(), false)).value();
  const auto counters = Make(1 << 20);
  float got[4];
  counters->LogCounts(data_->FindItem("x"), history_->TimeOf(AsOf::kTestCut), got);
  EXPECT_FLOAT_EQ(got[0], std::log1p(1.0f));
  counters->LogCounts(data_->FindItem("z"), history_->TimeOf(AsOf::kTestCut), got);
  EXPECT_EQ(got[0], 0);
}

}  // namespace
}  // namespace emporium::worker
