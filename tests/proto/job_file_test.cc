// Reading a job file: lines, syntax, unknown fields, all faults at once. Random damage:
// tests/random.
#include "proto/job_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "proto/limits.h"
#include "tests/proto/job_samples.h"

namespace emporium {
namespace {

using ::testing::AllOf;
using testing::ComplaintsOf;
using ::testing::Contains;
using testing::DeepFmJob;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Replaced;
using testing::TwoTowerJob;

class JobFileTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& text) {
    const std::string path = ::testing::TempDir() + "job_file_test.textproto";
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  std::vector<Complaint> complaints_;
};

TEST_F(JobFileTest, ReadsAValidJob) {
  const Result<spec::Job> job = LoadJobFile(Write(TwoTowerJob()), &complaints_);
  ASSERT_TRUE(job.ok()) << job.status().message();
  EXPECT_THAT(complaints_, IsEmpty());
  EXPECT_EQ(job->name(), "shop");
  EXPECT_EQ(job->table_size(), 2);
  EXPECT_EQ(job->table(1).optimizer().rowwise_adagrad().learning_rate(), 0.05F);
}

TEST_F(JobFileTest, BothSamplesAreValid) {
  EXPECT_THAT(ComplaintsOf(TwoTowerJob()), IsEmpty());
  EXPECT_THAT(ComplaintsOf(DeepFmJob()), IsEmpty());
}

TEST_F(JobFileTest, MissingEmptyAndHugeFilesAreNamed) {
  Result<spec::Job> job = LoadJobFile("no/such.textproto", &complaints_);
  EXPECT_EQ(job.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(job.status().message(), HasSubstr("no/such.textproto: cannot be opened"));

  job = LoadJobFile(Write(" \n\t\n"), &complaints_);
  EXPECT_EQ(job.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(job.status().message(), HasSubstr("the file is empty"));

  job = LoadJobFile(Write(std::string(limits::kMaxJobFileBytes + 1, '#')), &complaints_);
  EXPECT_THAT(job.status().message(), HasSubstr("larger than 4 MiB"));

  job = LoadJobFile(::testing::TempDir(), &complaints_);
  EXPECT_FALSE(job.ok());
}

TEST_F(JobFileTest, ATypoIsCorrected) {
  EXPECT_THAT(ComplaintsOf(Replaced(TwoTowerJob(), "dim: 16", "dmi: 16")),
              ElementsAre("job:4: dmi: no such field in Table; did you mean dim?"));
}

TEST_F(JobFileTest, AFieldFarFromAnyNameGetsTheList) {
  EXPECT_THAT(ComplaintsOf(Replaced(DeepFmJob(), "hidden: [32, 16]", "depth: 3")),
              ElementsAre("job:27: depth: no such field in DeepFm; fields are feature, "
                          "linear_table, fm, hidden, dropout, mlp"));
}

TEST_F(JobFileTest, AllFaultsAtOnceInTheOrderOfLines) {
  std::string text = TwoTowerJob();
  text = Replaced(text, "name: \"shop\"", "name: \"my shop\"");
  text = Replaced(text, "  dim: 16", "  dim: \"wide\"");
  text = Replaced(text, "max_length: 50", "maxlength: 50");
  text = Replaced(text, "early_stop { metric: \"ndcg@10\" }", "early_stop { metric: \"fun\" }");
  text = Replaced(text, "partitions: 1024", "partitions: 1000");
  EXPECT_THAT(
      ComplaintsOf(text),
      ElementsAre(
          "job:1: name: \"my shop\" is not a plain name; use up to 64 letters, digits, '-' and '_'",
          "job:4: dim: Expected integer, got: \"wide\"; see docs/job.md for what belongs there",
          "job:35: maxlength: no such field in History; did you mean max_length?",
          HasSubstr("job:59: stage[0].train.early_stop.metric: \"fun\" is not a metric; use "),
          HasSubstr("job:70: cluster.partitions: 1000 is not a power of two up to 65536; use ")));
}

TEST_F(JobFileTest, BadEnumValuesAreAllFound) {
  std::string text = Replaced(TwoTowerJob(), "type: INT }", "type: INTEGER }");
  text = Replaced(text, "source: ITEM", "source: ITEMS");
  const std::vector<std::string> lines = ComplaintsOf(text);
  ASSERT_GE(lines.size(), 3U);
  EXPECT_THAT(lines[0], HasSubstr("job:19: type: Unknown enumeration value of \"INTEGER\""));
  EXPECT_THAT(lines[1], HasSubstr("job:31: data.time_column: \"time\" is a STRING column; decl"));
  EXPECT_THAT(lines[2], HasSubstr("job:38: source: Unknown enumeration value of \"ITEMS\""));
}

TEST_F(JobFileTest, ABrokenBraceEndsTheSearchButKeepsWhatWasFound) {
  std::string text = Replaced(TwoTowerJob(), "dim: 16", "dmi: 16");
  text = Replaced(text, "model {", "model }");
  const std::vector<std::string> lines = ComplaintsOf(text);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_THAT(lines[0], HasSubstr("job:4: dmi"));
  EXPECT_THAT(lines[1], HasSubstr("job:43:"));
}

TEST_F(JobFileTest, AnElementOfAListHasTheLineOfItsList) {
  EXPECT_THAT(ComplaintsOf(Replaced(DeepFmJob(), "hidden: [32, 16]", "hidden: [32, 0]")),
              ElementsAre(HasSubstr("job:27: model.deepfm.hidden[1]: 0 is outside 1 to 65536")));
}

TEST_F(JobFileTest, MessagesNestToABoundedDepth) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "nonsense { ";
  const std::vector<std::string> lines = ComplaintsOf(text);
  EXPECT_THAT(lines, Contains(AllOf(HasSubstr("job:1: "), HasSubstr("too deep"))));
}

TEST_F(JobFileTest, ASecondValueOfASingularFieldIsRefused) {
  EXPECT_THAT(ComplaintsOf(Replaced(TwoTowerJob(), "dim: 16", "dim: 16 dim: 32")),
              ElementsAre(HasSubstr("job:4: dim: Non-repeated field \"dim\"")));
}

TEST_F(JobFileTest, EndlessFaultsEnd) {
  std::string text;
  for (int i = 0; i < 500; ++i) {
    text += "seed: \"x\"\n";
  }
  EXPECT_EQ(ComplaintsOf(text).size(), 100U);
}

TEST_F(JobFileTest, ColumnsOfTheDataAreCompared) {
  const std::string path = Write(TwoTowerJob());
  const Result<spec::Job> job = LoadJobFile(path, &complaints_);
  ASSERT_TRUE(job.ok());
  std::vector<Complaint> found =
      CheckColumns(*job, DataRole::kEvents, "events.csv",
                   {"user", "items", "time", "action", "query", "price", "extra"});
  ASSERT_EQ(found.size(), 1U);
  ASSERT_TRUE(LocateComplaints(path, &found).ok());
  EXPECT_EQ(found[0].ToString(),
            path +
                ":18: data.events.column[1].name: no column \"item\" in events.csv; did you "
                "mean \"items\"? the file has user, items, time, action, query, price, extra");
  EXPECT_THAT(CheckColumns(*job, DataRole::kItems, "items.csv", {"title", "id"}), IsEmpty());
}

TEST_F(JobFileTest, WhatIsNotInTheFileHasTheLineOfItsMessage) {
  std::vector<Complaint> found = {{"", 0, "table[1].popularity", "is odd", "remove it"},
                                  {"", 0, "table[0].dim", "is odd", "change it"},
                                  {"", 0, "mode", "is odd", "change it"}};
  ASSERT_TRUE(LocateComplaints(Write(TwoTowerJob()), &found).ok());
  EXPECT_EQ(found[0].field, "mode");
  EXPECT_EQ(found[0].line, 1);
  EXPECT_EQ(found[1].line, 4);
  EXPECT_EQ(found[2].line, 8);
}

TEST(NearestNameTest, FindsSlipsAndNothingElse) {
  const std::vector<std::string> names = {"learning_rate", "epsilon", "l2"};
  EXPECT_EQ(NearestName("leraning_rate", names), "learning_rate");
  EXPECT_EQ(NearestName("epsilom", names), "epsilon");
  EXPECT_EQ(NearestName("l1", names), "l2");
  EXPECT_EQ(NearestName("momentum", names), "");
  EXPECT_EQ(NearestName("x", {}), "");
}

}  // namespace
}  // namespace emporium
