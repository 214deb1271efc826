// Implicit feedback through the whole system: sampled negatives and rankings among sampled items
// are the same for any number of workers, and a model that reads the history beats the popular
// items.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "runtime/manifest.h"
#include "tests/cluster/command.h"

namespace emporium::cluster {
namespace {

// Users stay in one of five groups of items and never take an item twice.
std::string Events() {
  std::string text = "user,item,time\n";
  for (int user = 0; user < 150; ++user) {
    for (int k = 0; k < 6; ++k) {
      const int item = user % 5 * 12 + (user / 5 * 5 + k * 7) % 12;
      text +=
          "u" + std::to_string(user) + ",i" + std::to_string(item) + "," + std::to_string(k) + "\n";
    }
  }
  return text;
}
std::string Items() {
  std::string text = "item,words\n";
  for (int item = 0; item < 60; ++item) {
    text += "i" + std::to_string(item) + ",w" + std::to_string(item % 3) + "\n";
  }
  return text;
}

constexpr const char* kJob = R"(
  name: "implicit" seed: 5
  table { name: "item" dim: 8 optimizer { adam { learning_rate: 0.01 } } popularity {}
          initializer { normal { stddev: 0.3 } } }
  table { name: "word" dim: 4 optimizer { adam { learning_rate: 0.01 } } }
  dense { name: "dense" optimizer { adam { learning_rate: 0.01 } } }
  data {
    events { file: "events.csv" column { name: "user" } column { name: "item" }
             column { name: "time" type: INT } }
    items { file: "items.csv" column { name: "item" } column { name: "words" type: TEXT } }
    user_column: "user" item_column: "item" time_column: "time" items_key_column: "item"
    split { leave_one_out {} } history { max_length: 5 }
  }
  feature { name: "item" column: "item" table: "item" }
  feature { name: "past" column: "item" table: "item" source: HISTORY }
  feature { name: "words" column: "words" table: "word" source: ITEM }
  model { din { pair { target: "item" history: "past" } attention { hidden: 8 } softmax: true
                mlp { hidden: 16 } } }
  stage {
    name: "train"
    train {
      pointwise { negatives { uniform { count: 2 } } negatives { unigram {} } }
      epochs: 40 micro_batch_size: 20 micro_batches_per_step: 3 validate_every_epochs: 10
      early_stop { metric: "sampled20_ndcg@5" patience: 30 }
    }
  }
  stage { name: "test" evaluate { k: 5 sampled_negatives: 20 } })";

TEST(Implicit, SampledItemsAreTheSameForAnyNumberOfWorkers) {
  const TempDir dir;
  WriteText(dir / "events.csv", Events());
  WriteText(dir / "items.csv", Items());
  std::string job = kJob;
  job.replace(job.find("unigram {}"), 10, "unigram { count: 1 }");
  WriteText(dir / "job.textproto", job);
  std::string digest;
  nlohmann::json stages;
  for (const char* workers : {"1", "2", "3"}) {
    const std::string work = dir / (std::string("work") + workers);
    const Output output =
        RunEmporium({std::string(workers) == "1" ? "run" : "launch", dir / "job.textproto",
                     "--work_dir=" + work, std::string("--workers=") + workers, "--lanes=1"});
    ASSERT_EQ(output.code, 0) << output.text;
    const auto all = runtime::ListCheckpoints(work + "/checkpoints");
    ASSERT_TRUE(all.ok() && !all->empty());
    const auto manifest = runtime::ReadManifest(all->back().dir);
    ASSERT_TRUE(manifest.ok());
    const auto status = nlohmann::json::parse(ReadText(work + "/status.json"));
    std::vector<nlohmann::json> metrics;
    for (const auto& stage : status.at("stages")) {
      metrics.push_back(stage.value("metrics", nlohmann::json()));
    }
    if (digest.empty()) {
      digest = manifest->content_digest();
      stages = metrics;
    }
    EXPECT_EQ(manifest->content_digest(), digest) << workers;
    EXPECT_EQ(nlohmann::json(metrics), stages) << workers;
  }
  const nlohmann::json test = stages.back();
  EXPECT_EQ(test.at("rows"), 150);
  // Few of the sampled items are of the user's own group. Chance alone hits 5 / 21.
  EXPECT_GT(test.at("sampled20_hr@5").get<double>(), 0.6) << test;
  EXPECT_EQ(test.count("logloss"), 0u);
}

}  // namespace
}  // namespace emporium::cluster
