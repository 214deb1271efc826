#include "worker/synthetic.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <thread>

#include "tests/worker/data_fixture.h"

namespace emporium::worker {
namespace {

constexpr const char* kJob = R"(
  name: "shop" seed: 1
  table { name: "items" dim: 8 optimizer { adamw {} } popularity {} }
  table { name: "words" dim: 8 optimizer { adamw {} } }
  table { name: "actions" dim: 8 optimizer { adamw {} } }
  data {
    events { file: "events.csv" column { name: "time" type: INT } column { name: "user" }
             column { name: "item" } column { name: "action" } column { name: "query" type: TEXT }
             column { name: "visit" type: INT } }
    items { file: "items.csv" column { name: "item" } column { name: "title" type: TEXT }
            column { name: "topic" } }
    user_column: "user" item_column: "item" time_column: "time" group_column: "visit"
    items_key_column: "item" items_title_column: "title"
    split { last_days { test_days: 20 validation_days: 10 } }
    history { max_length: 20 distinct_items: true random_lag_days: 3 midnight: true }
  }
  feature { name: "item" column: "item" table: "items" source: ITEM }
  feature { name: "title" column: "title" table: "words" source: ITEM }
  feature { name: "action" column: "action" table: "actions" source: HISTORY }
  feature { name: "query" column: "query" table: "words" source: HISTORY }
  model { two_tower { item_feature: "item" title_feature: "title" action_feature: "action"
                      query_feature: "query"
                      popularity { counter { window_days: 7 } counter { half_life_days: 10 } } } }
  stage { name: "pretrain" train { sampled_softmax { negatives { in_batch {} }
            negatives { uniform { count: 40 } } } epochs: 2 micro_batch_size: 32 } }
  stage { name: "finetune" train { ranking { negatives { unigram { count: 4 } } }
            micro_batch_size: 32 } }
  stage { name: "evaluate" evaluate { new_items_only: false } })";

class SyntheticTest : public DataTest {
 protected:
  void SetUp() override {
    DataTest::SetUp();
    options_.users = 400;
    options_.items = 300;
    options_.topics = 12;
    ASSERT_TRUE(WriteSyntheticShop(dir_.string(), options_).ok());
  }
  SyntheticShopOptions options_;
};

void ExpectRagged(const std::vector<int32_t>& offset, size_t lists, size_t values) {
  ASSERT_EQ(offset.size(), lists + 1);
  EXPECT_EQ(offset.front(), 0);
  EXPECT_TRUE(std::is_sorted(offset.begin(), offset.end()));
  EXPECT_EQ(offset.back(), static_cast<int32_t>(values));
}

void ExpectWithin(const std::vector<int32_t>& index, int64_t low, int64_t end) {
  for (const int32_t i : index) {
    ASSERT_GE(i, low);
    ASSERT_LT(i, end);
  }
}

// The invariants that models/batch.h states.
void ExpectSound(const PlannedBatch& planned) {
  const models::Batch& batch = planned.batch;
  const auto rows_of = [&](const models::RowLists& lists) -> int64_t {
    for (const TableKeys& table : planned.tables) {
      if (table.table == lists.table) {
        return static_cast<int64_t>(table.keys.size());
      }
    }
    return 0;
  };
  const auto expect_lists = [&](const models::RowLists& lists, size_t n) {
    ExpectRagged(lists.offset, n, lists.index.size());
    ExpectWithin(lists.index, 0, rows_of(lists));
  };
  const auto samples = static_cast<size_t>(batch.samples);
  expect_lists(batch.items.id, static_cast<size_t>(batch.items.count));
  expect_lists(batch.items.title, static_cast<size_t>(batch.items.count));
  const size_t events = batch.history.item.size();
  ExpectRagged(batch.history.offset, samples, events);
  ExpectWithin(batch.history.item, -1, batch.items.count);
  expect_lists(batch.history.action, events);
  expect_lists(batch.history.query, events);
  EXPECT_EQ(batch.history.age_days.size(), events);
  EXPECT_EQ(batch.history.count.size(), events);
  for (const float age : batch.history.age_days) {
    EXPECT_GT(age, 0);
  }
  const models::CandidateColumns& c = batch.candidates;
  ExpectWithin(c.item, 0, batch.items.count);
  EXPECT_EQ(c.log_q.size(), c.item.size());
  EXPECT_EQ(c.sampled.size(), c.item.size());
  const auto candidates = static_cast<int64_t>(c.item.size());
  ExpectRagged(c.positive_offset, samples, c.positive.size());
  ExpectWithin(c.positive, 0, candidates);
  ExpectRagged(c.masked_offset, samples, c.masked.size());
  ExpectWithin(c.masked, 0, candidates);
  if (!c.group_offset.empty()) {
    ExpectRagged(c.group_offset, samples, c.group.size());
    ExpectWithin(c.group, 0, candidates);
    EXPECT_EQ(c.group_label.size(), c.group.size());
  }
  EXPECT_EQ(c.log_counts.size(), samples * c.item.size() * 2);
  for (const TableKeys& table : planned.tables) {
    EXPECT_EQ(std::set<uint64_t>(table.keys.begin(), table.keys.end()).size(), table.keys.size());
  }
}

// Everything of a batch in one text, to compare batches by.
std::string Everything(const PlannedBatch& planned) {
  std::ostringstream out;
  const auto add = [&](const auto& values) {
    for (const auto value : values) {
      out << static_cast<double>(value) << ' ';
    }
    out << '\n';
  };
  const models::Batch& batch = planned.batch;
  add(batch.items.id.index);
  add(batch.items.title.index);
  add(batch.history.item);
  add(batch.history.age_days);
  add(batch.history.count);
  add(batch.candidates.item);
  add(batch.candidates.log_q);
  add(batch.candidates.masked);
  add(batch.candidates.group);
  add(batch.candidates.log_counts);
  for (const TableKeys& table : planned.tables) {
    add(table.keys);
    add(table.counts);
  }
  return out.str();
}

TEST_F(SyntheticTest, IsAFunctionOfItsOptions) {
  const std::string events = Read(Path("events.csv"));
  const std::string items = Read(Path("items.csv"));
  ASSERT_TRUE(WriteSyntheticShop(Path("again"), options_).ok());
  EXPECT_TRUE(Read(Path("again/events.csv")) == events);
  EXPECT_TRUE(Read(Path("again/items.csv")) == items);
  options_.seed = 2;
  ASSERT_TRUE(WriteSyntheticShop(Path("other"), options_).ok());
  EXPECT_FALSE(Read(Path("other/events.csv")) == events);
  options_.users = 0;
  EXPECT_EQ(WriteSyntheticShop(Path("none"), options_).code(), StatusCode::kInvalidArgument);
}

TEST_F(SyntheticTest, PopularityIsSkewedAndTimesAscend) {
  const auto data = Data(ParseJob(kJob));
  EXPECT_EQ(data->users(), options_.users);
  EXPECT_EQ(data->items(), options_.items);
  EXPECT_TRUE(std::is_sorted(data->event_time().begin(), data->event_time().end()));
  std::vector<size_t> counts;
  for (int32_t item = 0; item < data->items(); ++item) {
    counts.push_back(data->events_of_item(item).size());
  }
  std::sort(counts.rbegin(), counts.rend());
  const size_t all = std::accumulate(counts.begin(), counts.end(), size_t{0});
  EXPECT_GT(std::accumulate(counts.begin(), counts.begin() + 30, size_t{0}), all / 4);
}

// The plant: ranking by the topics of the user's past finds his last item far more often than
// ranking by popularity.
TEST_F(SyntheticTest, TastesBeatPopularity) {
  const auto data = Data(ParseJob(kJob));
  const auto topic = data->item_column("topic")->codes;
  const auto items = data->event_item();
  int users = 0;
  int by_popularity = 0;
  int by_taste = 0;
  for (int32_t user = 0; user < data->users(); ++user) {
    std::vector<int32_t> past;
    for (const int32_t event : data->events_of_user(user)) {
      if (items[static_cast<size_t>(event)] >= 0) {
        past.push_back(items[static_cast<size_t>(event)]);
      }
    }
    const int32_t target = past.back();
    past.erase(std::remove(past.begin(), past.end(), target), past.end());
    if (past.empty()) {
      continue;
    }
    const auto rank_of = [&](const auto& score) {
      int better = 0;
      for (int32_t item = 0; item < data->items(); ++item) {
        const bool had = std::find(past.begin(), past.end(), item) != past.end();
        better += !had && score(item) > score(target) ? 1 : 0;
      }
      return better;
    };
    const auto popularity = [&](int32_t item) {
      return static_cast<double>(data->events_of_item(item).size());
    };
    const auto taste = [&](int32_t item) {
      const auto same = std::count_if(past.begin(), past.end(), [&](int32_t p) {
        return topic[static_cast<size_t>(p)] == topic[static_cast<size_t>(item)];
      });
      return (0.1 + static_cast<double>(same)) * popularity(item);
    };
    ++users;
    by_popularity += rank_of(popularity) < 10 ? 1 : 0;
    by_taste += rank_of(taste) < 10 ? 1 : 0;
  }
  EXPECT_GT(users, 300);
  EXPECT_GT(by_popularity, users / 50);
  EXPECT_GT(by_taste, by_popularity * 3 / 2) << by_popularity << " of " << users;
}

TEST_F(SyntheticTest, BatchesAreSoundAndTheSameInEveryThread) {
  const spec::Job job = ParseJob(kJob);
  const auto source = Source(job);
  const auto again = BatchSource::Open(job, Path("prepared"));
  for (uint32_t stage = 0; stage < 2; ++stage) {
    const StagePlan plan = source->plan(StageId(stage));
    ASSERT_GT(plan.samples, 500u);
    const uint64_t steps = std::min<uint64_t>(plan.total_steps, 12);
    std::vector<std::string> want;
    for (uint64_t step = 0; step < steps; ++step) {
      const auto batch = source->Train(StageId(stage), Step(step), MicroBatch(0));
      ASSERT_TRUE(batch.ok());
      ExpectSound(*batch);
      want.push_back(Everything(*batch));
    }
    EXPECT_EQ(std::set<std::string>(want.begin(), want.end()).size(), want.size());
    std::vector<std::thread> threads;
    for (uint64_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (uint64_t i = 0; i < steps; ++i) {
          const uint64_t step = (i + t * 3) % steps;
          const auto batch = (*again)->Train(StageId(stage), Step(step), MicroBatch(0));
          EXPECT_TRUE(Everything(*batch) == want[step]);
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
  }
}

TEST_F(SyntheticTest, ChunksCoverUsersAndItemsOnce) {
  options_.users = 700;
  options_.items = 1500;
  ASSERT_TRUE(WriteSyntheticShop(dir_.string(), options_).ok());
  const auto source = Source(ParseJob(kJob));
  std::set<int32_t> evaluated;
  for (int64_t chunk = 0; chunk < source->EvalChunks(StageId(2), EvalSplit::kTest); ++chunk) {
    const auto eval = source->Eval(StageId(2), EvalSplit::kTest, chunk);
    for (size_t b = 0; b < eval->user.size(); ++b) {
      EXPECT_TRUE(evaluated.insert(eval->user[b]).second);
      EXPECT_GT(eval->target_offset[b + 1], eval->target_offset[b]);
      EXPECT_GT(eval->planned.batch.history.offset[b + 1], eval->planned.batch.history.offset[b]);
    }
  }
  EXPECT_GT(evaluated.size(), 256u);
  std::set<int32_t> users;
  for (int64_t chunk = 0; chunk < source->UserChunks(); ++chunk) {
    std::vector<int32_t> ids;
    ASSERT_TRUE(source->Users(chunk, AsOf::kNow, &ids).ok());
    users.insert(ids.begin(), ids.end());
  }
  EXPECT_EQ(users.size(), 700u);
  int32_t next = 0;
  for (int64_t chunk = 0; chunk < source->ItemChunks(); ++chunk) {
    const auto items = source->Items(chunk, AsOf::kTestCut);
    EXPECT_EQ(items->first_item, next);
    next += items->planned.batch.items.count;
    EXPECT_EQ(items->log_counts.size(), static_cast<size_t>(items->planned.batch.items.count) * 2);
  }
  EXPECT_EQ(next, source->dataset().items());
}

}  // namespace
}  // namespace emporium::worker
