// A data file with samples that no worker can train on: the job stops, or leaves their
// micro-batches out, which are the same ones in any shape of the cluster.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "tests/cluster/command.h"

namespace emporium::cluster {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Two prices are numbers, and squares of them are not.
std::string PoisonedLog() {
  std::string text = "when,customer,product,price,bought\n";
  uint64_t word = 11;
  const auto draw = [&word](uint64_t n) {
    word = word * 6364136223846793005u + 1442695040888963407u;
    return (word >> 33) % n;
  };
  for (int i = 0; i < 3000; ++i) {
    const std::string price = i == 700 || i == 1900 ? "3e38" : std::to_string(draw(9)) + ".5";
    text += std::to_string(1'700'000'000 + 60 * i) + ",c" + std::to_string(draw(60)) + ",p" +
            std::to_string(draw(40)) + "," + price + "," + std::to_string(draw(2)) + "\n";
  }
  return text;
}

constexpr const char* kJob = R"(name: "poisoned"
table { name: "id" dim: 8 optimizer { adam { learning_rate: 0.01 } } }
dense { name: "dense" optimizer { adam { learning_rate: 0.01 } } }
data {
  events {
    file: "log.csv"
    column { name: "when" type: INT }
    column { name: "customer" }
    column { name: "product" }
    column { name: "price" type: FLOAT }
    column { name: "bought" type: INT }
  }
  user_column: "customer"
  item_column: "product"
  time_column: "when"
  label_column: "bought"
  split { last_days { test_days: 0.2 validation_days: 0.1 } }
}
feature { name: "customer" column: "customer" table: "id" }
feature { name: "product" column: "product" table: "id" salt: 1 }
feature { name: "price" column: "price" }
model { dcn_v2 { layers: 1 mlp { hidden: 16 } } }
checkpoint { every_steps: 10 }
stage {
  name: "train"
  train { pointwise {} epochs: 2 micro_batch_size: 64 micro_batches_per_step: 3 QUARANTINE }
}
)";

class Quarantine : public testing::Test {
 protected:
  Quarantine() { WriteText(dir_ / "log.csv", PoisonedLog()); }
  // A run that may leave so many out.
  Output Run(const std::string& verb, const std::string& name, int most,
             const std::vector<std::string>& shape, const std::string& order = "") {
    std::string job = kJob;
    const std::string field = "quarantine_micro_batches: " + std::to_string(most);
    job.replace(job.find("QUARANTINE"), 10, order + (most > 0 ? field : ""));
    const std::string path = dir_ / (name + ".textproto");
    WriteText(path, job);
    std::vector<std::string> arguments = {verb, path, "--work_dir=" + (dir_ / name)};
    arguments.insert(arguments.end(), shape.begin(), shape.end());
    return RunEmporium(arguments);
  }
  nlohmann::json Status(const std::string& name) const {
    return nlohmann::json::parse(ReadText(dir_ / (name + "/status.json")));
  }

  TempDir dir_;
};

TEST_F(Quarantine, AJobThatAllowsNoneStopsAndNamesTheLines) {
  const Output output = Run("run", "none", 0, {"--workers=1"}, "in_time_order: true ");
  EXPECT_EQ(output.code, 1) << output.text;
  // The price of event 700 stands in line 702; micro-batch 10 has the events from 640 to 703.
  EXPECT_THAT(output.text,
              HasSubstr("step 3, micro-batch 1 (" + (dir_ / "log.csv") + " lines 642-705): "));
  EXPECT_THAT(output.text, HasSubstr("look for extreme inputs"));
}

TEST_F(Quarantine, TheSameMicroBatchesInAnyShape) {
  std::set<std::string> digests;
  std::set<std::string> left_out;
  const std::vector<std::pair<std::string, std::vector<std::string>>> shapes = {
      {"run", {"--workers=1", "--lanes=1"}},
      {"launch", {"--workers=2", "--lanes=2"}},
      {"launch", {"--workers=4", "--servers=2", "--lanes=1"}}};
  for (size_t i = 0; i < shapes.size(); ++i) {
    const std::string name = "shape-" + std::to_string(i);
    const Output output = Run(shapes[i].first, name, 4, shapes[i].second);
    ASSERT_EQ(output.code, 0) << output.text;
    EXPECT_THAT(output.text, HasSubstr("train: 4 micro-batches failed everywhere"));
    const nlohmann::json status = Status(name);
    const nlohmann::json& stage = status.at("stages").at(0);
    EXPECT_EQ(stage.at("quarantined_micro_batches"), 4);  // two samples in two epochs
    std::set<std::pair<int, int>> names;
    for (const auto& one : stage.at("left_out")) {
      names.emplace(one.at("step"), one.at("micro_batch"));
      EXPECT_THAT(
          one.at("error").get<std::string>(),
          AllOf(HasSubstr("/log.csv lines "), HasSubstr(" more): "), HasSubstr("extreme inputs")));
    }
    left_out.insert(nlohmann::json(names).dump());
    digests.insert(status.at("checkpoints").back().at("content_digest"));
  }
  EXPECT_EQ(left_out.size(), 1u) << nlohmann::json(left_out);
  EXPECT_EQ(digests.size(), 1u);
}

TEST_F(Quarantine, AJobThatStoppedGoesOnWhenItAllowsMore) {
  const Output stopped = Run("run", "more", 3, {"--workers=2"});
  EXPECT_EQ(stopped.code, 1) << stopped.text;
  EXPECT_THAT(stopped.text, HasSubstr("extreme inputs"));
  EXPECT_EQ(Status("more").at("stages").at(0).at("quarantined_micro_batches"), 3);
  const Output output = Run("run", "more", 4, {"--workers=2"});
  ASSERT_EQ(output.code, 0) << output.text;
  EXPECT_EQ(Status("more").at("stages").at(0).at("quarantined_micro_batches"), 4);
  ASSERT_EQ(Run("run", "whole", 4, {"--workers=1"}).code, 0);
  EXPECT_EQ(Status("more").at("checkpoints").back().at("content_digest"),
            Status("whole").at("checkpoints").back().at("content_digest"));
}

}  // namespace
}  // namespace emporium::cluster
