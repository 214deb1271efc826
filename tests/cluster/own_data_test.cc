// A user's own CSV and job file: another model is another line of the job.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/cluster/command.h"

namespace emporium::cluster {
namespace {

// What a shop's log may look like: quoted text, an empty field, a column that nobody asks for.
std::string Log() {
  std::string text = "when,customer,product,device,campaign,price,bought\n";
  uint64_t word = 11;
  const auto draw = [&word](uint64_t n) {
    word = word * 6364136223846793005u + 1442695040888963407u;
    return (word >> 33) % n;
  };
  for (int i = 0; i < 6000; ++i) {
    const uint64_t customer = draw(60);
    const uint64_t product = draw(40);
    const bool bought = draw(10) < 2 * (customer % 3) + 2 * (product % 3) + 1;
    text += std::to_string(1'700'000'000 + 60 * i) + ",c" + std::to_string(customer) + ",p" +
            std::to_string(product) + "," + (draw(2) == 0 ? "\"phone, small\"" : "desk") + "," +
            (draw(3) == 0 ? "" : "spring") + "," + std::to_string(5 + product) + ".5," +
            (bought ? "1" : "0") + "\n";
  }
  return text;
}

constexpr const char* kBeforeModel = R"(name: "shop"
seed: 2
table { name: "id" dim: 8 optimizer { adam { learning_rate: 0.01 } }
        initializer { normal { stddev: 0.1 } } }
dense { name: "dense" optimizer { adam { learning_rate: 0.01 } } }
data {
  events {
    file: "log.csv"
    column { name: "when" type: INT }
    column { name: "customer" }
    column { name: "product" }
    column { name: "device" }
    column { name: "price" type: FLOAT }
    column { name: "bought" type: INT }
  }
  user_column: "customer"
  item_column: "product"
  time_column: "when"
  label_column: "bought"
  split { last_days { test_days: 0.8 validation_days: 0.4 } }
  history { max_length: 8 min_length: 0 }
}
feature { name: "customer" column: "customer" table: "id" }
feature { name: "product" column: "product" table: "id" salt: 1 }
feature { name: "device" column: "device" table: "id" salt: 2 }
feature { name: "price" column: "price" }
feature { name: "earlier" column: "product" table: "id" salt: 1 source: HISTORY }
)";
constexpr const char* kAfterModel = R"(
stage {
  name: "train"
  train {
    pointwise {}
    epochs: 8
    micro_batch_size: 128
    validate_every_epochs: 1
    early_stop { metric: "auc" patience: 2 }
  }
}
stage { name: "test" evaluate { slice_column: "device" } }
)";

TEST(OwnData, AnotherModelIsAnotherLine) {
  const TempDir dir;
  WriteText(dir / "log.csv", Log());
  std::map<std::string, double> auc;
  for (const auto& [name, line] : std::map<std::string, std::string>{
           {"deepfm", "model { deepfm { hidden: 16 } }"},
           {"dcn_v2", "model { dcn_v2 { layers: 1 mlp { hidden: 16 } } }"},
           {"din",
            "model { din { pair { target: 'product' history: 'earlier' } mlp { hidden: 32 } } }"},
       }) {
    SCOPED_TRACE(name);
    WriteText(dir / "shop.textproto", kBeforeModel + line + kAfterModel);
    const Output check = RunEmporium({"check", dir / "shop.textproto"});
    EXPECT_EQ(check.code, 0) << check.text;
    const std::string work = dir / name;
    const Output output = RunEmporium({"run", dir / "shop.textproto", "--work_dir=" + work});
    ASSERT_EQ(output.code, 0) << output.text;
    EXPECT_THAT(output.text, ::testing::HasSubstr("device=phone, small"));
    const auto status = nlohmann::json::parse(ReadText(work + "/status.json"));
    const auto& metrics = status.at("stages").back().at("metrics");
    auc[name] = metrics.at("auc").get<double>();
    EXPECT_GT(metrics.at("rows").get<int>(), 1000);
    EXPECT_TRUE(metrics.contains("logloss[device=desk]")) << metrics;
  }
  std::set<double> values;
  for (const auto& [name, value] : auc) {
    EXPECT_GT(value, 0.65) << name;
    values.insert(value);
  }
  EXPECT_EQ(values.size(), 3u) << "they are three models";
}

}  // namespace
}  // namespace emporium::cluster
