// The models with several tasks against tensors made by tests/reference/multi_task.py in float64,
// and what must hold of each of them.
#include <cmath>

#include "tests/models/pointwise_cases.h"

namespace emporium::models {
namespace {

const char* const kFile = "multi_task.bin";
const std::string kCtr = "task { name: 'ctr' label_column: 'c' } ";
const std::string kBuy = "task { name: 'buy' label_column: 'b' } ";
const std::string kLong = "task { name: 'long' label_column: 'l' kind: LOG1P given: 'ctr' } ";
const std::string kCvr = "task { name: 'cvr' label_column: 'v' given: 'ctr' } ";
const std::string kJoint =
    "task { name: 'cvr' label_column: 'v' given: 'ctr' entire_space: true } ";
const std::string kDeep =
    "task { name: 'deep' label_column: 'd' given: 'cvr' entire_space: true } ";
const std::string kSmall = " expert { hidden: 3 } tower { hidden: 2 } }";

const PointwiseCase kCases[] = {
    {"shared_bottom", "shared_bottom { bottom { hidden: 3 } tower { hidden: 2 } }", true,
     kCtr + kBuy},
    {"shared_bottom_uncertainty", "shared_bottom { bottom { hidden: 3 } tower { hidden: 2 } }",
     true, kCtr + kLong, "weights: UNCERTAINTY"},
    {"mmoe", "mmoe { experts: 3 gate { hidden: 2 }" + kSmall, true,
     kCtr + "task { name: 'buy' label_column: 'b' weight: 0.5 }"},
    {"mmoe_regression", "mmoe { experts: 2 gate {}" + kSmall, true, kCtr + kLong},
    {"mmoe_given", "mmoe { experts: 2 gate {}" + kSmall, true, kCtr + kCvr},
    {"mmoe_ordinal", "mmoe { experts: 2 gate {}" + kSmall, true, kCtr + kJoint + kDeep},
    {"ple", "ple { layers: 2 task_experts: 2 shared_experts: 1 gate {}" + kSmall, true,
     kCtr + kBuy},
    {"ple_shared_only",
     "ple { layers: 2 task_experts: 1 shared_experts: 2 shared_gate_sees_all: false "
     "gate { hidden: 2 }" +
         kSmall,
     true, kCtr + kBuy},
    {"esmm", "esmm { tower { hidden: 2 } }", true, kCtr + kJoint},
};

class MultiTask : public testing::TestWithParam<PointwiseCase> {
 protected:
  const TensorFile file_{kFile};
  const spec::Job job_ = JobOf(file_, GetParam());
  const spec::Train train_ = job_.stage(0).train();
  const Batch batch_ = BatchOf(file_, GetParam());
};
INSTANTIATE_TEST_SUITE_P(All, MultiTask, testing::ValuesIn(kCases), CaseName);

TEST_P(MultiTask, LossesGradientsAndScoresEqualPyTorch) { ExpectAsInFile(file_, GetParam()); }

TEST_P(MultiTask, OneSampleTrainsAndScoresAsInABatch) {
  Feed feed = FeedOf(file_, GetParam());
  const std::vector<float> scores = feed.Score(batch_);
  const size_t tasks = feed.model->needs().tasks.size();
  for (int32_t b = 0; b < batch_.samples; ++b) {
    const Batch one = Alone(batch_, b);
    const std::vector<float> alone = feed.Score(one);
    for (size_t k = 0; k < tasks; ++k) {
      EXPECT_NEAR(alone[k], scores[k * static_cast<size_t>(batch_.samples) + b], 1e-5);
    }
    feed.Train(one, train_);
    for (const float g : feed.Gradients()) ASSERT_TRUE(std::isfinite(g));
  }
}

TEST_P(MultiTask, EmptyFieldsAreZeros) {
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

TEST_P(MultiTask, SavedAndLoadedScoresTheSameBits) {
  Feed trained = FeedOf(file_, GetParam());
  trained.Train(batch_, train_);
  trained.Descend(0.1f);
  Feed loaded(job_);
  loaded.dense = trained.dense;
  loaded.tables = trained.tables;
  EXPECT_EQ(loaded.Score(batch_), trained.Score(batch_));
}

TEST_P(MultiTask, SeedsDecideTheStart) {
  spec::Job other = job_;
  other.set_seed(2);
  const Feed a(job_), b(job_), c(other);
  EXPECT_EQ(a.dense, b.dense);
  EXPECT_NE(a.dense, c.dense);
}

TEST_P(MultiTask, DescentLearnsTheLabels) {
  Feed feed = FeedOf(file_, GetParam());
  const auto first = feed.Train(batch_, train_);
  // Weights that are learned grow without end where a loss goes to 0, as it does on five samples.
  const int steps = GetParam().loss.empty() ? 400 : 40;
  for (int i = 0; i < steps; ++i) {
    feed.Descend(0.1f);
    feed.Train(batch_, train_);
  }
  const auto last = feed.Train(batch_, train_);
  EXPECT_LT(last.at("loss"), 0.8 * first.at("loss"));
}

// The conversion tower learns from samples without a click, too: that is what the product is for.
TEST(Esmm, TheTowerOfConversionsLearnsFromSamplesWithoutAClick) {
  const TensorFile file(kFile);
  const PointwiseCase& c = kCases[8];
  Feed feed = FeedOf(file, c);
  Batch batch = Alone(BatchOf(file, c), 1);
  ASSERT_EQ(batch.label[0], 0);
  feed.Train(batch, JobOf(file, c).stage(0).train());
  const auto at = static_cast<size_t>(feed.offsets.at("cvr.tower.out.bias"));
  EXPECT_NE(feed.dense_gradient[at], 0);
}

// Weights of 1 in a stage's first two epochs; then what the sums of the two epochs before say.
TEST(Dwa, WeighsByTheLossesOfTheEpochsBefore) {
  const TensorFile file(kFile);
  PointwiseCase c = kCases[0];
  c.loss = "weights: DWA temperature: 0.5";
  spec::Job job = JobOf(file, c);
  job.mutable_stage(0)->mutable_train()->set_epochs(4);
  const spec::Train train = job.stage(0).train();
  Feed feed(job);
  for (const std::string& table : TablesOf(file, c)) {
    const NamedTensor& rows = file.at(c.name + "/rows/" + table);
    feed.AddTable(static_cast<int32_t>(rows.shape[1]), rows.values);
  }
  const int64_t at = feed.offsets.at("task_loss");
  Batch batch = BatchOf(file, c);
  for (int32_t period = 0; period < 4; ++period) {
    SCOPED_TRACE(period);
    batch.period = period;
    const auto terms = feed.Train(batch, train);
    const std::vector<double> losses = {terms.at("ctr"), terms.at("buy")};
    double expected = losses[0] + losses[1];
    if (period >= 2) {
      const float* sums = feed.dense.data() + at;
      std::vector<double> r;
      for (int k = 0; k < 2; ++k) {
        r.push_back(std::exp(2.0 * sums[2 * (period - 1) + k] / sums[2 * (period - 2) + k]));
      }
      expected = 2 * (r[0] * losses[0] + r[1] * losses[1]) / (r[0] + r[1]);
      EXPECT_GT(std::abs(expected - losses[0] - losses[1]), 1e-4);  // weights that matter
    }
    EXPECT_NEAR(terms.at("loss"), expected, 1e-6);
    for (int row = 0; row < 4; ++row) {  // a row for each epoch, touched in its own
      for (int k = 0; k < 2; ++k) {
        const float g = feed.dense_gradient[static_cast<size_t>(at + 2 * row + k)];
        EXPECT_NEAR(g, row == period ? -losses[static_cast<size_t>(k)] : 0, 1e-6);
      }
    }
    // What a statistics group does of it, over some steps; losses fall at different speeds.
    for (int k = 0; k < 2; ++k) {
      feed.dense[static_cast<size_t>(at + 2 * period + k)] +=
          static_cast<float>(losses[static_cast<size_t>(k)] * (3.0 - (k + 1) * 0.4 * period));
    }
  }
}

TEST(CreateModel, MultiTaskModelsSayWhatTheyRefuse) {
  const TensorFile file(kFile);
  const auto expect = [&](const std::string& model, const std::string& tasks,
                          const std::string& part, const std::string& loss = "") {
    const auto made = CreateModel(JobOf(file, {"esmm", model, true, tasks, loss}));
    const std::string text = made.ok() ? "accepted" : made.status().message();
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  expect("mmoe {}", "", "task: a mmoe model has two tasks or more, the job names 0");
  expect("mmoe {}", kCtr, "task: a mmoe model has two tasks or more, the job names 1");
  expect("dnn { mlp { hidden: 2 } }", kCtr + kBuy,
         "task: a dnn model has one task, the job names 2");
  expect("dnn { mlp { hidden: 2 } }", kCtr, "accepted");
  expect("mmoe {}", kCtr + kBuy, "accepted");
  expect("ple {}", kCtr + kJoint + kDeep, "accepted");
  expect("mmoe { experts: 0 }", kCtr + kBuy, "model.mmoe.experts: 0 is outside 1 to 1024");
  expect("mmoe { expert {} }", kCtr + kBuy, "model.mmoe.expert.hidden: there is no hidden layer");
  expect("ple { layers: 0 }", kCtr + kBuy, "model.ple.layers: 0 is outside");
  expect("shared_bottom { bottom {} }", kCtr + kBuy, "model.shared_bottom.bottom.hidden: there is");
  expect("esmm {}", kCtr + kBuy, "task 'buy': an esmm model trains every task but the first");
  expect("mmoe {}", kCvr + kCtr, "task 'cvr'.given: there is no task 'ctr' before it");
  expect("mmoe {}", kLong + kCtr, "task 'long'.given: there is no task");
  expect("mmoe {}", kCtr + "task { name: 'x' label_column: 'x' entire_space: true }",
         "task 'x'.entire_space: only a BINARY task with `given` is a product");
}

}  // namespace
}  // namespace emporium::models
