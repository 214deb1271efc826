#include "worker/dataset.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <set>

#include "tests/worker/data_fixture.h"

namespace emporium::worker {
namespace {

using ::testing::HasSubstr;

constexpr const char* kJob = R"(data {
  events { file: "e.tsv" column { name: "t" type: INT } column { name: "u" type: INT }
           column { name: "i" } }
  user_column: "u" item_column: "i" time_column: "t" time_unit: MILLISECONDS })";

class DatasetTest : public DataTest {
 protected:
  void SetUp() override {
    DataTest::SetUp();
    std::string text = "t\tu\ti\n";
    uint64_t state = 11;
    const auto next = [&](uint64_t n) {
      state = state * 6364136223846793005ull + 1442695040888963407ull;
      return (state >> 33) % n;
    };
    for (int row = 0; row < 2'000; ++row) {
      rows_.push_back({static_cast<int64_t>(next(300)) * 500, static_cast<int64_t>(next(60)) - 30,
                       "item" + std::to_string(next(90))});
      text += std::to_string(rows_.back().time) + "\t" + std::to_string(rows_.back().user) + "\t" +
              rows_.back().item + "\n";
    }
    Write("e.tsv", text);
    std::stable_sort(rows_.begin(), rows_.end(),
                     [](const Row& a, const Row& b) { return a.time < b.time; });
  }

  struct Row {
    int64_t time;
    int64_t user;
    std::string item;
  };
  std::vector<Row> rows_;  // in the order that the data set must have
};

// Against maps and vectors made straight from the rows.
TEST_F(DatasetTest, LookupsAgreeWithAPlainModel) {
  const auto data = Data(ParseJob(kJob));
  ASSERT_EQ(data->events(), static_cast<int64_t>(rows_.size()));
  std::map<std::string, std::vector<int32_t>> of_user;
  std::map<std::string, std::vector<int32_t>> of_item;
  int32_t users = 0;
  for (int32_t row = 0; row < static_cast<int32_t>(rows_.size()); ++row) {
    const Row& want = rows_[static_cast<size_t>(row)];
    const auto r = static_cast<size_t>(row);
    EXPECT_EQ(data->event_time()[r], static_cast<double>(want.time) / 1000);
    EXPECT_EQ(data->user_id(data->event_user()[r]), std::to_string(want.user));
    EXPECT_EQ(data->item_id(data->event_item()[r]), want.item);
    EXPECT_EQ(data->event_column("u")->ints[r], want.user);
    of_item[want.item].push_back(row);
    if (of_user[std::to_string(want.user)].empty()) {
      EXPECT_EQ(data->event_user()[r], users++);  // numbered by first appearance
    }
    of_user[std::to_string(want.user)].push_back(row);
  }
  EXPECT_EQ(data->users(), users);
  EXPECT_EQ(data->items(), static_cast<int32_t>(of_item.size()));
  for (const auto& [id, events] : of_user) {
    const auto got = data->events_of_user(data->FindUser(id));
    EXPECT_EQ(std::vector<int32_t>(got.begin(), got.end()), events);
  }
  for (const auto& [id, events] : of_item) {
    const auto got = data->events_of_item(data->FindItem(id));
    EXPECT_EQ(std::vector<int32_t>(got.begin(), got.end()), events);
  }
  EXPECT_EQ(data->FindItem("item"), -1);
  EXPECT_EQ(data->FindItem(""), -1);
  EXPECT_EQ(data->FindItem("zzz"), -1);
  EXPECT_EQ(data->item_title(0), "");
  EXPECT_EQ(data->digest().size(), 64u);
}

TEST_F(DatasetTest, SaysWhatIsMissing) {
  EXPECT_EQ(Dataset::Open(Path("nothing")).status().code(), StatusCode::kNotFound);
  const auto data = Data(ParseJob(kJob));
  EXPECT_THAT(data->event_column("x").status().message(), HasSubstr("there are: i, t, u"));
  std::filesystem::remove(Path("prepared/index.columns"));
  EXPECT_THAT(Dataset::Open(Path("prepared")).status().message(), HasSubstr("index.columns"));
}

TEST_F(DatasetTest, FilesOfDifferentDataDoNotFit) {
  ASSERT_TRUE(Prepare(ParseJob(kJob), "a").ok());
  Write("e.tsv", "t\tu\ti\n1\t1\tx\n");
  ASSERT_TRUE(Prepare(ParseJob(kJob), "b").ok());
  std::filesystem::copy_file(Path("a/index.columns"), Path("b/index.columns"),
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_EQ(Dataset::Open(Path("b")).status().code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace emporium::worker
