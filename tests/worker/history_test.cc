#include "worker/history.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "tests/worker/data_fixture.h"
#include "worker/sampler.h"
#include "worker/training_samples.h"

namespace emporium::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kDay = 86400;
constexpr const char* kData = R"(
  name: "j" seed: 5
  data {
    events { file: "e.csv" column { name: "t" type: FLOAT } column { name: "u" }
             column { name: "i" } column { name: "g" } }
    user_column: "u" item_column: "i" time_column: "t"
  )";

class HistoryTest : public DataTest {
 protected:
  // Few users, items and times, so that everything coincides; a tenth are searches.
  void WriteRandom(uint64_t seed, int rows) {
    RandomStream random(seed, Purpose::kSynthetic, {});
    std::string text = "t,u,i,g\n";
    for (int row = 0; row < rows; ++row) {
      const double time = 1e9 + static_cast<double>(random.Below(40)) * kDay / 4;
      text += std::to_string(time) + ",u" + std::to_string(random.Below(8)) + ",";
      text += random.Below(10) == 0 ? "" : "i" + std::to_string(random.Below(12));
      text += ",g" + std::to_string(random.Below(30)) + "\n";
    }
    Write("e.csv", text);
  }
  std::unique_ptr<History> Make(const Dataset& data, const spec::Job& job, bool searches) {
    auto history = History::Create(data, job.data(), searches);
    EXPECT_TRUE(history.ok()) << history.status().ToString();
    return std::move(history).value();
  }
};

// The planted-leak test: for random data and every kind of lag, no history ever shows an event at
// or after its reference time, and no reference lies after its sample; checked against a history
// that is built by looking at every event.
TEST_F(HistoryTest, NeverShowsTheFuture) {
  const char* histories[] = {
      "history { max_length: 5 }", "history { max_length: 1000 lag_seconds: 30000 }",
      "history { max_length: 4 distinct_items: true random_lag_days: 3 }",
      "history { max_length: 1000 distinct_items: true random_lag_days: 2 midnight: true }"};
  for (int round = 0; round < 12; ++round) {
    WriteRandom(static_cast<uint64_t>(round), 400);
    const bool searches = round % 2 == 0;
    const spec::Job job = ParseJob(std::string(kData) + histories[round % 4] +
                                   " split { last_days { test_days: 2 } } }");
    const auto data = Data(job);
    const auto history = Make(*data, job, searches);
    const auto& options = job.data().history();
    RandomStream random(9, Purpose::kLag, {});
    for (int32_t user = 0; user < data->users(); ++user) {
      const auto events = data->events_of_user(user);
      for (int32_t index = 0; index < static_cast<int32_t>(events.size()); ++index) {
        const auto self = static_cast<size_t>(events[static_cast<size_t>(index)]);
        const double time = data->event_time()[self];
        const Reference reference = history->TrainReference(user, index, random.Unit());
        ASSERT_LE(reference.time, time - options.lag_seconds());
        ASSERT_GE(reference.time, time - options.lag_seconds() -
                                      (options.random_lag_days() + options.midnight()) * kDay);
        if (options.midnight()) {
          ASSERT_EQ(std::fmod(reference.time, kDay), 0);
        }
        // The slow twin: newest first, over all events of the data.
        std::vector<std::pair<int32_t, int32_t>> want;
        std::map<int32_t, size_t> entry;
        std::set<int32_t> had;
        for (int64_t e = data->events() - 1; e >= 0; --e) {
          const auto event = static_cast<size_t>(e);
          if (data->event_user()[event] != user || data->event_time()[event] >= reference.time) {
            continue;
          }
          const int32_t item = data->event_item()[event];
          had.insert(item);
          if (item < 0 && !searches) {
            continue;
          }
          if (options.distinct_items() && item >= 0 && entry.count(item) != 0) {
            ++want[entry[item]].second;
            continue;
          }
          entry[item] = want.size();
          want.emplace_back(static_cast<int32_t>(e), 1);
        }
        ASSERT_EQ(history->Entries(reference), static_cast<int32_t>(want.size()));
        want.resize(std::min<size_t>(want.size(), options.max_length()));
        std::reverse(want.begin(), want.end());
        std::vector<PastEvent> past;
        history->Build(reference, &past);
        ASSERT_EQ(past.size(), want.size());
        for (size_t i = 0; i < past.size(); ++i) {
          ASSERT_EQ(past[i].event, want[i].first);
          ASSERT_EQ(past[i].count, want[i].second);
        }
        // All past items, however old; and the question whether one is among them.
        had.erase(-1);
        std::set<int32_t> items;
        history->ForEachPastItem(reference, [&](int32_t item) { items.insert(item); });
        ASSERT_EQ(items, had);
        if (data->event_item()[self] >= 0) {
          ASSERT_EQ(history->Had(reference, static_cast<int32_t>(self)),
                    had.count(data->event_item()[self]) != 0);
        }
      }
    }
  }
}

TEST_F(HistoryTest, LeaveOneOutGoesByPosition) {
  // All of ann's events at one time: only the order of the file is left.
  Write("e.csv", "t,u,i,g\n5,ann,a,\n5,ann,b,\n5,ann,c,\n5,ann,d,\n5,bob,a,\n6,bob,b,\n7,eve,a,\n");
  const spec::Job job = ParseJob(std::string(kData) + "split { leave_one_out {} } }");
  const auto data = Data(job);
  const auto history = Make(*data, job, false);
  EXPECT_EQ(history->TrainEnd(0), 2);
  EXPECT_EQ(history->Targets(0, EvalSplit::kTest), std::pair(3, 4));
  EXPECT_EQ(history->Targets(0, EvalSplit::kValidation), std::pair(2, 3));
  EXPECT_EQ(history->EvalReference(0, EvalSplit::kTest).known, 3);  // sees the validation event
  EXPECT_EQ(history->EvalReference(0, EvalSplit::kValidation).known, 2);
  EXPECT_EQ(history->TrainReference(0, 1, 0).known, 1);
  EXPECT_EQ(history->ReferenceAt(0, AsOf::kNow).known, 4);
  EXPECT_EQ(history->TrainEnd(1), 0);
  EXPECT_EQ(history->Targets(1, EvalSplit::kValidation), std::pair(0, 1));
  EXPECT_EQ(history->Targets(2, EvalSplit::kValidation), std::pair(0, 0));  // eve has one event
  EXPECT_EQ(history->EvalReference(2, EvalSplit::kTest).known, 0);
  EXPECT_FALSE(history->Counted(3));
  EXPECT_TRUE(history->Counted(1));
  // With a lag, time decides again.
  spec::Job lagged = job;
  lagged.mutable_data()->mutable_history()->set_lag_seconds(1);
  EXPECT_EQ(Make(*data, lagged, false)->TrainReference(0, 3, 0).known, 0);
}

TEST_F(HistoryTest, LastDaysCutByTime) {
  std::string text = "t,u,i,g\n";
  for (int day = 0; day <= 10; ++day) {
    text += std::to_string(day * 86400) + ",ann,i" + std::to_string(day) + ",\n";
  }
  Write("e.csv", text);
  const spec::Job job =
      ParseJob(std::string(kData) + "split { last_days { test_days: 3 validation_days: 2 } } }");
  const auto data = Data(job);
  const auto history = Make(*data, job, false);
  EXPECT_EQ(history->TrainEnd(0), 5);  // days 0 to 4
  EXPECT_EQ(history->Targets(0, EvalSplit::kValidation), std::pair(5, 7));
  EXPECT_EQ(history->Targets(0, EvalSplit::kTest), std::pair(7, 11));  // the cut's own moment is in
  const Reference test = history->EvalReference(0, EvalSplit::kTest);
  EXPECT_EQ(test.known, 7);
  EXPECT_EQ(test.time, 7 * kDay);
  EXPECT_EQ(history->TimeOf(AsOf::kValidationCut), 5 * kDay);
  EXPECT_GT(history->TimeOf(AsOf::kNow), 10 * kDay);
  EXPECT_EQ(history->train_cut(), 5 * kDay);
}

TEST_F(HistoryTest, FilesMustFollowInTime) {
  Write("e.csv", "t,u,i,g\n1,a,x,\n5,a,y,\n");
  Write("late.csv", "t,u,i,g\n5,a,z,\n9,a,x,\n");
  const std::string split = "split { files { test_file: \"late.csv\" } } }";
  const spec::Job job = ParseJob(kData + split);
  const auto data = Data(job);
  const auto history = Make(*data, job, false);
  EXPECT_EQ(history->TrainEnd(0), 2);
  EXPECT_EQ(history->Targets(0, EvalSplit::kTest), std::pair(2, 4));
  Write("late.csv", "t,u,i,g\n4,a,z,\n9,a,x,\n");
  const auto mixed = Data(job);
  EXPECT_THAT(History::Create(*mixed, job.data(), false).status().message(),
              HasSubstr("files that follow in time"));
}

TEST_F(HistoryTest, RefusesWhatWouldLeak) {
  Write("e.csv", "t,u,i,g\n1,a,x,\n");
  spec::Job job = ParseJob(std::string(kData) + "}");
  const auto data = Data(job);
  job.mutable_data()->mutable_history()->set_lag_seconds(-1);
  EXPECT_EQ(History::Create(*data, job.data(), false).status().code(),
            StatusCode::kInvalidArgument);
}

class TrainingSamplesTest : public HistoryTest {
 protected:
  // Samples of stage 0, each as "user:items@known", in the stage's order.
  std::vector<std::string> Samples(const std::string& data_options, const std::string& train) {
    const spec::Job job = ParseJob(std::string(kData) + data_options +
                                   "} stage { name: \"s\" train { " + train + " } }");
    const auto data = Data(job);
    const auto history = Make(*data, job, false);
    const auto samples = TrainingSamples::Create(*data, *history, job, StageId(0));
    if (!samples.ok()) {
      return {samples.status().message()};
    }
    std::vector<std::string> all;
    for (uint64_t s = 0; s < samples->size(); ++s) {
      const Reference& reference = samples->reference(s);
      std::string text = std::string(data->user_id(reference.user)) + ":";
      for (const int32_t event : samples->events(s)) {
        text += data->item_id(data->event_item()[static_cast<size_t>(event)]);
      }
      all.push_back(text + "@" + std::to_string(reference.known));
    }
    return all;
  }
};

TEST_F(TrainingSamplesTest, EventsOrGroupsInTheOrderOfTime) {
  Write("e.csv", "t,u,i,g\n1,b,x,g1\n1,a,p,g2\n2,a,q,g3\n3,a,r,g3\n4,b,y,g1\n5,a,p,g4\n6,a,,g5\n");
  EXPECT_THAT(Samples("history { min_length: 0 }", "sampled_softmax {}"),
              ElementsAre("b:x@0", "a:p@0", "a:q@1", "a:r@2", "b:y@1", "a:p@3"));
  EXPECT_THAT(Samples("", "sampled_softmax {}"), ElementsAre("a:q@1", "a:r@2", "b:y@1", "a:p@3"));
  EXPECT_THAT(Samples("group_column: \"g\"", "sampled_softmax {}"), ElementsAre("a:qr@1", "a:p@3"));
  EXPECT_THAT(Samples("group_column: \"g\"", "sampled_softmax { new_items_only: true }"),
              ElementsAre("a:qr@1"));
  EXPECT_THAT(Samples("history { warm_up_days: 0.00004 }", "sampled_softmax {}"),
              ElementsAre("a:p@3"));  // 3.5 seconds after the first event, 1
  EXPECT_THAT(Samples("", "sampled_softmax {} last_days: 0.00003"),
              ElementsAre("b:y@1", "a:p@3"));  // 2.6 seconds before now, 6
}

TEST_F(TrainingSamplesTest, HeldOutEventsAreNeverSampled) {
  Write("e.csv", "t,u,i,g\n1,a,p,\n2,a,q,\n3,a,r,\n4,a,s,\n5,a,t,\n");
  EXPECT_THAT(Samples("split { leave_one_out {} }", "sampled_softmax {}"),
              ElementsAre("a:q@1", "a:r@2"));
  EXPECT_THAT(Samples("split { last_days { test_days: 0.00002 } }", "sampled_softmax {}"),
              ElementsAre("a:q@1", "a:r@2"));
}

TEST_F(TrainingSamplesTest, SaysWhyNothingIsLeft) {
  Write("e.csv", "t,u,i,g\n1,a,p,\n1,a,q,\n");
  EXPECT_THAT(Samples("", "sampled_softmax {}")[0],
              HasSubstr("stage \"s\": no training sample is left; 2 were looked at; 2 have fewer "
                        "than 1 events of history"));
}

TEST_F(TrainingSamplesTest, TheLagIsAFunctionOfSeedStageAndSample) {
  WriteRandom(3, 300);
  const std::string options = "history { random_lag_days: 4 }";
  const auto first = Samples(options, "sampled_softmax {}");
  EXPECT_EQ(first, Samples(options, "sampled_softmax {}"));
  EXPECT_NE(first, Samples("history { random_lag_days: 0.001 }", "sampled_softmax {}"));
}

}  // namespace
}  // namespace emporium::worker
