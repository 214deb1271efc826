// What clipping by the norm of all gradients is for: a few labels that are far off throw a
// regression head away without it, and do not with it (models.md M9: views after a click).
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/cluster/command.h"

namespace emporium::cluster {
namespace {

constexpr int kRows = 4000;
constexpr int kBurstBegin = 2000, kBurstEnd = 2080;  // rows whose views are a fault of the log
constexpr int kRowsPerStep = 40;

// Clicks and views hang together with user and item.
std::string Events(bool burst) {
  std::string text = "time,user,item,click,views\n";
  uint64_t word = 5;
  const auto draw = [&word](uint64_t n) {
    word = word * 6364136223846793005u + 1442695040888963407u;
    return (word >> 33) % n;
  };
  for (int i = 0; i < kRows; ++i) {
    const uint64_t user = draw(20), item = draw(30);
    const bool click = draw(10) < 2 + (user * 7 + item * 3) % 8;
    const bool off = burst && i >= kBurstBegin && i < kBurstEnd;
    text += std::to_string(i) + ",u" + std::to_string(user) + ",i" + std::to_string(item) +
            (click ? ",1," : ",0,") + std::to_string(off ? 1'000'000'000 : draw(1 + item % 7)) +
            "\n";
  }
  return text;
}

std::string Job(const std::string& clip) {
  return R"(
    name: "views" seed: 3
    table { name: "user" dim: 8 optimizer { sgd { learning_rate: 0.3 } } }
    table { name: "item" dim: 8 optimizer { sgd { learning_rate: 0.3 } } }
    dense { name: "dense" optimizer { sgd { learning_rate: 0.05 } } }
    data {
      events {
        file: "events.csv" column { name: "time" type: INT } column { name: "user" }
        column { name: "item" } column { name: "click" type: INT } column { name: "views" type: INT }
      }
      label_column: "click" time_column: "time" split { train_only {} }
    }
    feature { name: "user" column: "user" table: "user" }
    feature { name: "item" column: "item" table: "item" }
    task { name: "click" label_column: "click" }
    task { name: "views" label_column: "views" kind: LOG1P given: "click" }
    model { mmoe { experts: 2 expert { hidden: 16 } tower { hidden: 8 } } }
    stage {
      name: "train"
      train {
        pointwise {} micro_batch_size: 20 micro_batches_per_step: 2 in_time_order: true )" +
         clip + R"(
      }
    })";
}

// The terms of the loss by step.
std::map<int, std::map<std::string, double>> Train(bool burst, const std::string& clip) {
  const TempDir dir;
  WriteText(dir / "events.csv", Events(burst));
  WriteText(dir / "job.textproto", Job(clip));
  const Output output =
      RunEmporium({"run", dir / "job.textproto", "--work_dir=" + (dir / "work"), "--lanes=1"});
  EXPECT_EQ(output.code, 0) << output.text;
  std::map<int, std::map<std::string, double>> curve;
  const auto status = nlohmann::json::parse(ReadText(dir / "work/status.json"));
  for (const auto& point : status["stages"][0]["curve"]) {
    EXPECT_EQ(point["steps"], 1);
    curve[point["step"]] = point["terms"].get<std::map<std::string, double>>();
  }
  EXPECT_EQ(curve.size(), static_cast<size_t>(kRows / kRowsPerStep));
  return curve;
}

// The largest loss of the views within some steps behind the burst.
double Spike(const std::map<int, std::map<std::string, double>>& curve) {
  double most = 0;
  for (int step = kBurstEnd / kRowsPerStep; step < kBurstEnd / kRowsPerStep + 10; ++step) {
    most = std::max(most, curve.at(step).at("views"));
  }
  return most;
}

TEST(ClipGlobalNorm, LabelsFarOffDoNotThrowARegressionHeadAway) {
  const double calm = Spike(Train(false, ""));
  const double thrown = Spike(Train(true, ""));
  const auto clipped = Train(true, "clip_global_norm: 1");
  EXPECT_GT(thrown, 5 * calm) << "the burst is no spike";
  EXPECT_LT(Spike(clipped), 2 * calm);
  // The curve says what was clipped.
  const int burst = kBurstBegin / kRowsPerStep;
  EXPECT_GT(clipped.at(burst).at("gradient_norm"), 10);
  EXPECT_LT(clipped.at(burst - 1).at("gradient_norm"), 10);
  EXPECT_EQ(Train(false, "").at(burst).count("gradient_norm"), 0u);
}

}  // namespace
}  // namespace emporium::cluster
