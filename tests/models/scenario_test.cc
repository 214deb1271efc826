// The models that tell scenarios apart and read no sequences, against tensors made by
// tests/reference/scenario.py in float64, and what must hold of each of them.
#include <cmath>

#include "tests/models/pointwise_cases.h"

namespace emporium::models {
namespace {

const char* const kFile = "scenario.bin";
const std::string kScenarios =
    "data { scenario { column: 's' value: 'a' value: 'b' value: 'c' } } ";
const std::string kSmall = " expert { hidden: 3 } tower { hidden: 2 } }";
const std::string kPepNet = "pepnet { scenario_width: 2 gate_width: 3 ";
const std::string kStar = "star { scenario_width: 2 auxiliary { hidden: 2 } ";

const PointwiseCase kCases[] = {
    {"scenario_bottom", "scenario_bottom { bottom { hidden: 3 } tower { hidden: 2 } }", true,
     kScenarios},
    {"scenario_mmoe", "scenario_mmoe { experts: 3 gate { hidden: 2 }" + kSmall, true, kScenarios},
    {"scenario_ple", "scenario_ple { layers: 2 task_experts: 1 shared_experts: 1 gate {}" + kSmall,
     true, kScenarios},
    {"hmoe", "hmoe { experts: 2 gate { hidden: 2 }" + kSmall, true, kScenarios},
    {"star", kStar + "mlp { hidden: [3, 2] } }", true, kScenarios},
    {"star_norm", kStar + "mlp { hidden: 3 batch_norm: true activation: PRELU } }", true,
     kScenarios},
    {"star_single", kStar + "mlp { hidden: 3 batch_norm: true activation: DICE } }", true,
     kScenarios},
    {"pepnet", kPepNet + "personal: 'f0' personal: 'f3' mlp { hidden: [3, 2] } }", true,
     kScenarios},
    {"pepnet_inputs_alone", kPepNet + "mlp { hidden: 3 } }", true, kScenarios},
};

class ScenarioModels : public testing::TestWithParam<PointwiseCase> {
 protected:
  bool normalises() const { return GetParam().model.find("batch_norm") != std::string::npos; }

  const TensorFile file_{kFile};
  const spec::Job job_ = JobOf(file_, GetParam());
  const spec::Train train_ = job_.stage(0).train();
  const Batch batch_ = BatchOf(file_, GetParam());
};
INSTANTIATE_TEST_SUITE_P(All, ScenarioModels, testing::ValuesIn(kCases), CaseName);

TEST_P(ScenarioModels, LossesGradientsAndScoresEqualPyTorch) { ExpectAsInFile(file_, GetParam()); }

TEST_P(ScenarioModels, OneSampleTrainsAndScoresAsInABatch) {
  Feed feed = FeedOf(file_, GetParam());
  const std::vector<float> scores = feed.Score(batch_);
  for (int32_t b = 0; b < batch_.samples; ++b) {
    const Batch one = Alone(batch_, b);
    EXPECT_NEAR(feed.Score(one)[0], scores[b], 1e-5);
    feed.Train(one, train_);
    for (const float g : feed.Gradients()) ASSERT_TRUE(std::isfinite(g));
  }
}

TEST_P(ScenarioModels, EmptyFieldsAreZeros) {
  Batch batch = batch_;
  for (FieldColumn& field : batch.fields) {
    field.rows.index.clear();
    std::fill(field.rows.offset.begin(), field.rows.offset.end(), 0);
  }
  Feed feed = FeedOf(file_, GetParam());
  for (const float score : feed.Score(batch)) EXPECT_TRUE(std::isfinite(score));
  feed.Train(batch, train_);
  for (const float g : feed.Gradients()) ASSERT_TRUE(std::isfinite(g));
}

TEST_P(ScenarioModels, SavedAndLoadedScoresTheSameBits) {
  Feed trained = FeedOf(file_, GetParam());
  trained.Train(batch_, train_);
  trained.Descend(0.1f);
  Feed loaded(job_);
  loaded.dense = trained.dense;
  loaded.tables = trained.tables;
  EXPECT_EQ(loaded.Score(batch_), trained.Score(batch_));
}

TEST_P(ScenarioModels, SeedsDecideTheStart) {
  spec::Job other = job_;
  other.set_seed(2);
  const Feed a(job_), b(job_), c(other);
  EXPECT_EQ(a.dense, b.dense);
  EXPECT_NE(a.dense, c.dense);
}

TEST_P(ScenarioModels, DescentLearnsTheLabels) {
  Feed feed = FeedOf(file_, GetParam());
  const double first = feed.Train(batch_, train_).at("loss");
  double last = first;
  for (int i = 0; i < 400; ++i) {
    feed.Descend(0.1f);
    last = feed.Train(batch_, train_).at("loss");
  }
  EXPECT_LT(last, 0.8 * first);
}

// What belongs to a scenario alone is neither read nor trained, nor are its statistics observed, by
// samples of others.
TEST_P(ScenarioModels, ASampleLeavesOtherScenariosAlone) {
  Batch batch = batch_;
  std::fill(batch.scenario.begin(), batch.scenario.end(), 1);
  Feed feed = FeedOf(file_, GetParam());
  feed.Train(batch, train_);
  const bool shares_experts = GetParam().name == "scenario_ple";  // by the shared gate
  int own = 0;
  int others = 0;
  for (const DenseParameter& parameter : feed.model->parameters()) {
    const auto at = feed.dense_gradient.begin() + feed.offsets[parameter.name];
    const bool none = std::all_of(at, at + parameter.size, [](float g) { return g == 0; });
    for (const char* other : {"scenario0", "scenario2"}) {
      if (parameter.name.find(other) == std::string::npos) continue;
      if (shares_experts && parameter.name.find("layer0") == 0) continue;
      EXPECT_TRUE(none) << parameter.name;
      ++others;
    }
    if (parameter.name.find("scenario1") != std::string::npos) own += none ? 0 : 1;
  }
  if (GetParam().model.find("pepnet") == 0) return;  // has vectors of scenarios alone
  EXPECT_GT(own, 0);
  EXPECT_GT(others, 0);
}

TEST_P(ScenarioModels, TheScenarioDecides) {
  Feed feed = FeedOf(file_, GetParam());
  const std::vector<float> scores = feed.Score(batch_);
  Batch batch = batch_;
  for (int32_t& s : batch.scenario) s = (s + 1) % 3;
  const std::vector<float> moved = feed.Score(batch);
  for (size_t b = 0; b < scores.size(); ++b) EXPECT_NE(scores[b], moved[b]);
}

// Weights of a scenario start at ones and its biases at zero, so all scenarios start as one model
// with one network.
TEST(Star, ScenariosStartAlike) {
  const TensorFile file(kFile);
  const Feed feed(JobOf(file, kCases[5]));
  for (const DenseParameter& parameter : feed.model->parameters()) {
    const bool of_scenario = parameter.name.find(".scenario") != std::string::npos;
    const bool bias = parameter.name.ends_with(".bias") && !parameter.name.starts_with("auxiliary");
    if (parameter.statistic || (!of_scenario && !bias)) continue;
    const float expected = bias ? 0 : 1;
    const auto at = feed.dense.begin() + feed.offsets.at(parameter.name);
    for (auto w = at; w != at + parameter.size; ++w) EXPECT_EQ(*w, expected) << parameter.name;
  }
}

// Mean and variance of each scenario's own samples; a single one has a mean alone.
TEST(Star, StatisticsAreOfEachScenario) {
  const TensorFile file(kFile);
  const PointwiseCase& c = kCases[6];
  Feed feed = FeedOf(file, c);
  const Batch batch = BatchOf(file, c);
  feed.Train(batch, JobOf(file, c).stage(0).train());
  const auto width = static_cast<size_t>(2 + 2 + 1 + 2 + 2);
  const auto observed = [&](const std::string& name, size_t k) {  // the last two: the dense inputs
    const size_t at = static_cast<size_t>(feed.offsets.at(name)) + width - 2 + k;
    return feed.dense[at] - feed.dense_gradient[at];
  };
  for (size_t k = 0; k < 2; ++k) {
    const float mean = (batch.dense[k] + batch.dense[2 + k] + batch.dense[6 + k]) / 3;
    EXPECT_NEAR(observed("norm.scenario0.mean", k), mean, 1e-6);
    EXPECT_NEAR(observed("norm.scenario1.mean", k), batch.dense[8 + k], 1e-6);
    EXPECT_NEAR(observed("norm.scenario2.mean", k), batch.dense[4 + k], 1e-6);
    const size_t at = static_cast<size_t>(feed.offsets.at("norm.scenario1.variance")) + width - 2;
    EXPECT_EQ(feed.dense_gradient[at + k], 0);
  }
}

TEST(CreateModel, ScenarioModelsSayWhatTheyRefuse) {
  const TensorFile file(kFile);
  const auto expect = [&](const std::string& model, const std::string& data,
                          const std::string& part) {
    const auto made = CreateModel(JobOf(file, {"star", model, true, data}));
    const std::string text = made.ok() ? "accepted" : made.status().message();
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  for (const char* model :
       {"scenario_bottom", "scenario_mmoe", "scenario_ple", "hmoe", "star", "pepnet"}) {
    const std::string name = model;
    expect(name + " {}", kScenarios, "accepted");
    expect(name + " {}", "", "data.scenario: a " + name + " model tells scenarios apart");
    expect(name + " {}",
           kScenarios + "task { name: 'a' label_column: 'a' } task { name: 'b' label_column: 'b' }",
           "task: a " + name + " model has one task, the job names 2");
  }
  expect("scenario_mmoe { experts: 0 }", kScenarios, "model.scenario_mmoe.experts: 0 is outside");
  expect("hmoe { experts: 2000 }", kScenarios, "model.hmoe.experts: 2000 is outside 1 to 1024");
  expect("scenario_ple { expert {} }", kScenarios, "model.scenario_ple.expert.hidden: there is no");
  expect("scenario_bottom { bottom {} }", kScenarios, "scenario_bottom.bottom.hidden: there is no");
  expect("star { scenario_width: 0 }", kScenarios, "model.star.scenario_width: 0 is outside");
  expect("star { mlp { hidden: 0 } }", kScenarios, "model.star.mlp.hidden: a layer of width 0");
  expect("pepnet { gate_width: 0 }", kScenarios, "model.pepnet.gate_width: 0 is outside");
  expect("pepnet { personal: 'x' }", kScenarios, "personal[0]: no feature 'x' with a table enters");
  expect("pepnet { personal: 'f0' personal: 'f0' }", kScenarios,
         "personal[1]: 'f0' is named twice");
}

}  // namespace
}  // namespace emporium::models
