#include "worker/prepare.h"

#include <gmock/gmock.h>

#include <chrono>
#include <thread>

#include "tests/worker/data_fixture.h"
#include "worker/column_file.h"

namespace emporium::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kShop = R"(
  data {
    events {
      file: "events.csv"
      column { name: "t" type: FLOAT } column { name: "u" } column { name: "i" type: INT }
      column { name: "q" type: TEXT } column { name: "price" type: FLOAT }
    }
    items { file: "items.csv" column { name: "i" type: INT } column { name: "title" type: TEXT }
            column { name: "brand" } column { name: "weight" type: FLOAT } }
    user_column: "u" item_column: "i" time_column: "t"
    items_key_column: "i" items_title_column: "title"
  })";
constexpr const char* kEvents =
    "t,u,i,q,price\n"
    "30.5,bob,7,,1.5\n"
    "10,ann,9,Red  SHOES!,2\n"
    "20,bob,9,,3\n"
    "10,eve,7,red tea,4\n";
constexpr const char* kItems =
    "i,title,brand,weight\n"
    "5,Green Tea,b1,0.5\n"
    "9,\"Shoes, red\",b2,2\n";

class PrepareTest : public DataTest {
 protected:
  void SetUp() override {
    DataTest::SetUp();
    Write("events.csv", kEvents);
    Write("items.csv", kItems);
  }
};

TEST_F(PrepareTest, SortsByTimeAndNumbersByFirstAppearance) {
  const auto data = Data(ParseJob(kShop));
  EXPECT_EQ(data->events(), 4);
  EXPECT_THAT(data->event_time(), ElementsAre(10, 10, 20, 30.5));
  EXPECT_THAT(data->event_user(), ElementsAre(0, 1, 2, 2));  // ann, eve (file order), bob
  EXPECT_THAT(data->event_item(), ElementsAre(0, 1, 0, 1));  // 9, 7
  EXPECT_EQ(data->user_id(2), "bob");
  EXPECT_EQ(data->item_id(1), "7");
  EXPECT_EQ(data->items(), 3);  // 5 has no events and comes last
  EXPECT_EQ(data->item_id(2), "5");
  EXPECT_EQ(data->FindUser("eve"), 1);
  EXPECT_EQ(data->FindUser("zoe"), -1);
  EXPECT_EQ(data->FindItem("5"), 2);
  EXPECT_THAT(data->events_of_user(2), ElementsAre(2, 3));
  EXPECT_THAT(data->events_of_item(0), ElementsAre(0, 2));
  EXPECT_TRUE(data->events_of_item(2).empty());
}

TEST_F(PrepareTest, KeepsColumnsTitlesAndWords) {
  const auto data = Data(ParseJob(kShop));
  EXPECT_THAT(data->event_column("price")->floats, ElementsAre(2, 4, 3, 1.5));
  EXPECT_THAT(data->event_column("i")->ints, ElementsAre(9, 7, 9, 7));
  const auto words = data->event_column("q");
  EXPECT_THAT(words->text_offset, ElementsAre(0, 2, 4, 4, 4));
  EXPECT_THAT(words->words, ElementsAre(0, 1, 0, 2));
  EXPECT_EQ(words->text(1), "shoes");
  EXPECT_EQ(data->text("q", 2), "tea");
  EXPECT_EQ(data->item_title(0), "Shoes, red");
  EXPECT_EQ(data->item_title(1), "");  // 7 has no line
  EXPECT_EQ(data->item_title(2), "Green Tea");
  EXPECT_THAT(data->item_column("weight")->floats, ElementsAre(2, 0, 0.5));
  EXPECT_THAT(data->item_column("i")->ints, ElementsAre(9, 7, 5));
  const auto none = data->item_column("colour");
  EXPECT_EQ(none.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(none.status().message(), HasSubstr("brand, i, title, weight"));
}

TEST_F(PrepareTest, TinySortRunsGiveTheSameBytes) {
  std::string text = "t,u,i,q,price\n";
  for (int n = 0; n < 500; ++n) {
    text += std::to_string(n * 7919 % 101) + ",u" + std::to_string(n % 17) + "," +
            std::to_string(n % 23) + ",w" + std::to_string(n % 5) + "," + std::to_string(n) + "\n";
  }
  Write("events.csv", text);
  const auto large = Prepare(ParseJob(kShop), "large");
  const auto tiny = Prepare(ParseJob(kShop), "tiny", 100);
  ASSERT_TRUE(large.ok() && tiny.ok());
  EXPECT_EQ(large->digest, tiny->digest);
  for (const char* name : {"events.columns", "items.columns", "index.columns"}) {
    EXPECT_TRUE(Read(Path("large/") + name) == Read(Path("tiny/") + name)) << name;
  }
}

TEST_F(PrepareTest, UnchangedSourcesAreNotReadAgain) {
  const auto first = Prepare(ParseJob(kShop), "out");
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  EXPECT_FALSE(first->reused);
  const auto second = Prepare(ParseJob(kShop), "out");
  EXPECT_TRUE(second->reused);
  EXPECT_EQ(second->digest, first->digest);
  EXPECT_EQ(second->rows, 4);
  // How histories are taken is no part of the prepared data; which columns there are is.
  spec::Job job = ParseJob(kShop);
  job.mutable_data()->mutable_history()->set_max_length(3);
  EXPECT_TRUE(Prepare(job, "out")->reused);
  job.mutable_data()->mutable_events()->mutable_column()->RemoveLast();
  EXPECT_FALSE(Prepare(job, "out")->reused);
  Write("events.csv", std::string(kEvents) + "40,zoe,9,,5\n");
  const auto changed = Prepare(job, "out");
  EXPECT_FALSE(changed->reused);
  EXPECT_EQ(changed->rows, 5);
  EXPECT_EQ((*Dataset::Open(Path("out")))->users(), 4);
}

TEST_F(PrepareTest, ConvertedFilesStandInForText) {
  spec::Job job = ParseJob(kShop);
  ASSERT_TRUE(Prepare(job, "first").ok());
  for (const char* events : {"first", "first/events.columns"}) {
    job.mutable_data()->mutable_events()->set_file(0, events);
    job.mutable_data()->mutable_items()->set_file(0, "first/items.columns");
    const auto again = Prepare(job, "again");
    ASSERT_TRUE(again.ok()) << again.status().ToString();
    for (const char* name : {"events.columns", "items.columns", "index.columns"}) {
      EXPECT_TRUE(Read(Path("first/") + name) == Read(Path("again/") + name)) << events << name;
    }
  }
  job.mutable_data()->mutable_items()->set_file(0, "first");  // the directory does for both
  EXPECT_TRUE(Prepare(job, "again").ok());
}

TEST_F(PrepareTest, ADamagedConvertedFileIsNotBelieved) {
  spec::Job job = ParseJob(kShop);
  ASSERT_TRUE(Prepare(job, "first").ok());
  std::string bytes = Read(Path("first/events.columns"));
  bytes[bytes.rfind("annevebob")] ^= 1;
  Write("first/events.columns", bytes);
  EXPECT_EQ(Dataset::Open(Path("first")).status().code(), StatusCode::kDataLoss);
  job.mutable_data()->mutable_events()->set_file(0, "first/events.columns");
  EXPECT_EQ(Prepare(job, "again").status().code(), StatusCode::kDataLoss);
}

TEST_F(PrepareTest, AFailureLeavesTheOldDataAlone) {
  ASSERT_TRUE(Prepare(ParseJob(kShop), "out").ok());
  const std::string before = Read(Path("out/events.columns"));
  Write("events.csv", "t,u,item,q,price\n1,a,2,,1\n");
  const auto failed = Prepare(ParseJob(kShop), "out");
  EXPECT_EQ(failed.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(failed.status().message(), HasSubstr("no column \"i\""));
  EXPECT_TRUE(Read(Path("out/events.columns")) == before);
  // What a crash left behind is no hindrance.
  std::filesystem::create_directories(Path("out.making"));
  Write("out.making/junk", "x");
  Write("events.csv", kEvents);
  EXPECT_TRUE(Prepare(ParseJob(kShop), "out").ok());
}

TEST_F(PrepareTest, SearchesHaveNoItemAndUsersMustHaveNames) {
  spec::Job job = ParseJob(kShop);
  for (spec::TextSource* source :
       {job.mutable_data()->mutable_events(), job.mutable_data()->mutable_items()}) {
    for (spec::Column& column : *source->mutable_column()) {
      if (column.name() == "i") {
        column.set_type(spec::STRING);
      }
    }
  }
  Write("events.csv", "t,u,i,q,price\n1,ann,,red shoes,0\n2,,9,,1\n3,ann,9,,2\n");
  const auto report = Prepare(job, "out");
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->bad_rows, 1);
  const auto data = Dataset::Open(Path("out"));
  EXPECT_THAT((*data)->event_item(), ElementsAre(-1, 0));
}

TEST_F(PrepareTest, AnItemThatOccursTwiceIsABadRow) {
  Write("items.csv", std::string(kItems) + "9,Other,b3,1\n");
  const auto report = Prepare(ParseJob(kShop), "out");
  ASSERT_TRUE(report.ok()) << report.status().ToString();
  EXPECT_EQ(report->bad_rows, 1);
  EXPECT_EQ((*Dataset::Open(Path("out")))->item_title(0), "Shoes, red");
}

TEST_F(PrepareTest, ColumnsWithAPartMustExistAndFit) {
  spec::Job job = ParseJob(kShop);
  job.mutable_data()->set_user_column("customer");
  job.mutable_data()->set_time_column("q");
  const Status status = Prepare(job, "out").status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("data.user_column: \"customer\" is not among"));
  EXPECT_THAT(status.message(), HasSubstr("data.time_column: column \"q\" must be INT or FLOAT"));
}

TEST_F(PrepareTest, FilesOfASplitFollowEachOther) {
  Write("train.csv", "y,a\n1,x\n0,y\n");
  Write("valid.csv", "y,a\n1,z\n");
  Write("test.csv", "y,a\n0,x\n1,w\n0,z\n");
  const auto data = Data(ParseJob(R"(data {
    events { file: "train.csv" column { name: "y" type: FLOAT } column { name: "a" } }
    label_column: "y"
    split { files { validation_file: "valid.csv" test_file: "test.csv" } } })"));
  EXPECT_EQ(data->train_range(), std::pair(int64_t{0}, int64_t{2}));
  EXPECT_EQ(data->validation_range(), std::pair(int64_t{2}, int64_t{3}));
  EXPECT_EQ(data->test_range(), std::pair(int64_t{3}, int64_t{6}));
  EXPECT_THAT(data->event_column("a")->codes, ElementsAre(0, 1, 2, 0, 3, 2));
  EXPECT_EQ(data->users(), 0);
  EXPECT_TRUE(data->event_time().empty());
}

TEST_F(PrepareTest, SeveralAtOnceAgree) {
  const spec::Job job = ParseJob(kShop);
  std::vector<std::string> digests(4);
  std::vector<std::thread> threads;
  for (std::string& digest : digests) {
    threads.emplace_back([&] {
      const auto report = Prepare(job, "shared");
      digest = report.ok() ? report->digest : report.status().ToString();
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (const std::string& digest : digests) {
    EXPECT_EQ(digest, digests[0]);
    EXPECT_EQ(digest.size(), 64u);
  }
}

TEST_F(PrepareTest, NoUsableRowIsAnError) {
  Write("events.csv", "t,u,i,q,price\n");
  EXPECT_THAT(Prepare(ParseJob(kShop), "out").status().message(), HasSubstr("no usable row"));
}

}  // namespace
}  // namespace emporium::worker
