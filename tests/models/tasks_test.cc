// Losses of tasks and the weights between them against their definitions.
#include "models/tasks.h"

#include <gtest/gtest.h>

#include <cmath>

#include "models/random.h"

namespace emporium::models {
namespace {

// ctr, cvr given ctr, its product, and one deeper.
std::vector<Task> SomeTasks() {
  return {{"ctr"}, {"cvr", true, 0}, {"joint", true, 0, true}, {"deep", true, 2, true}};
}

struct Sample {
  std::vector<float> logits;
  std::vector<float> labels;
  std::vector<float> weights;
};

Sample SomeSamples(size_t tasks, size_t samples, float spread) {
  Random random(5);
  Sample sample;
  for (size_t i = 0; i < tasks * samples; ++i) {
    sample.logits.push_back(spread * random.Normal());
    sample.labels.push_back(random.Uniform() < 0.6f ? 1 : 0);
  }
  for (size_t b = 0; b < samples; ++b) sample.weights.push_back(0.5f + random.Uniform());
  return sample;
}

double Sigmoid(double z) { return 1 / (1 + std::exp(-z)); }

TEST(TaskLoss, OfTheProductIsCrossEntropyOfTheProbability) {
  const std::vector<Task> tasks = SomeTasks();
  constexpr size_t kSamples = 7;
  const Sample s = SomeSamples(tasks.size(), kSamples, 1);
  std::vector<float> gradient(s.logits.size(), 0.0f);
  const LossValue loss = TaskLoss(tasks, 3, s.logits, s.labels, s.weights, 1, gradient);
  double expected = 0, total = 0;
  for (size_t b = 0; b < kSamples; ++b) {
    double p = 1, y = 1;
    for (const size_t k : {0, 2, 3}) {
      p *= Sigmoid(s.logits[k * kSamples + b]);
      y *= s.labels[k * kSamples + b];
    }
    expected -= s.weights[b] * (y > 0 ? std::log(p) : std::log(1 - p));
    total += s.weights[b];
  }
  EXPECT_NEAR(loss.value, expected / total, 1e-9);
  EXPECT_EQ(loss.samples, static_cast<int64_t>(kSamples));
}

TEST(TaskLoss, GradientsAreDifferencesOfTheLoss) {
  const std::vector<Task> tasks = {
      {"a"}, {"b", true, 0}, {"c", true, 0, true}, {"d", true, 2, true}, {"e", false, 0}};
  const Sample s = SomeSamples(tasks.size(), 6, 2);
  for (size_t k = 0; k < tasks.size(); ++k) {
    std::vector<float> gradient(s.logits.size(), 0.0f), unused(s.logits.size());
    TaskLoss(tasks, k, s.logits, s.labels, s.weights, 0.5, gradient);
    for (size_t i = 0; i < s.logits.size(); ++i) {
      constexpr float kStep = 1e-2f;
      std::vector<float> up = s.logits, down = s.logits;
      up[i] += kStep;
      down[i] -= kStep;
      const double rise = TaskLoss(tasks, k, up, s.labels, s.weights, 1, unused).value -
                          TaskLoss(tasks, k, down, s.labels, s.weights, 1, unused).value;
      EXPECT_NEAR(gradient[i], 0.5 * rise / (double{up[i]} - down[i]), 2e-5) << k << " " << i;
    }
  }
}

TEST(TaskLoss, AppliesToWhatItIsGiven) {
  const std::vector<Task> tasks = {{"a"}, {"b", true, 0}, {"c", false, 0}};
  const std::vector<float> logits = {0, 0, 0, /*b*/ 1, 2, 3, /*c*/ 1, 2, 3};
  const std::vector<float> labels = {0, 1, 1, /*b*/ 1, 1, 0, /*c*/ 9, 1, 5};
  std::vector<float> gradient(9, 0.0f);
  const LossValue b = TaskLoss(tasks, 1, logits, labels, {}, 1, gradient);
  EXPECT_EQ(b.samples, 2);
  EXPECT_NEAR(b.value, (std::log1p(std::exp(-2.0)) + std::log1p(std::exp(3.0))) / 2, 1e-9);
  EXPECT_EQ(gradient[3], 0);
  const LossValue c = TaskLoss(tasks, 2, logits, labels, {}, 1, gradient);
  EXPECT_NEAR(c.value, (1.0 + 4.0) / 2, 1e-9);
  const std::vector<float> none = {0, 0, 0, 1, 1, 0, 9, 1, 5};
  const LossValue empty = TaskLoss(tasks, 1, logits, none, {}, 1, gradient);
  EXPECT_EQ(empty.samples, 0);
  EXPECT_EQ(empty.value, 0);
}

TEST(TaskLoss, StaysFiniteFarOut) {
  const std::vector<Task> tasks = SomeTasks();
  for (const float far : {-1e4f, -100.0f, 100.0f, 1e4f}) {
    for (const float label : {0.0f, 1.0f}) {
      const std::vector<float> logits(4, far), labels(4, label);
      std::vector<float> gradient(4, 0.0f);
      for (size_t k = 0; k < tasks.size(); ++k) {
        const double value = TaskLoss(tasks, k, logits, labels, {}, 1, gradient).value;
        EXPECT_TRUE(std::isfinite(value)) << k << " " << far;
      }
      for (const float g : gradient) EXPECT_TRUE(std::isfinite(g)) << far;
    }
  }
}

TEST(RowsOfTask, JointScoresAreOddsOfTheProductAndNeverAboveTheFirst) {
  const std::vector<Task> tasks = SomeTasks();
  constexpr size_t kSamples = 50;
  const Sample s = SomeSamples(tasks.size(), kSamples, 3);
  const TaskRows joint = RowsOfTask(tasks, 2, true, s.logits, s.labels);
  ASSERT_EQ(joint.row.size(), kSamples);
  for (size_t b = 0; b < kSamples; ++b) {
    const double p = Sigmoid(joint.logits[b]);
    EXPECT_NEAR(p, Sigmoid(s.logits[b]) * Sigmoid(s.logits[2 * kSamples + b]), 1e-6);
    EXPECT_LE(joint.logits[b], s.logits[b]);
    EXPECT_EQ(joint.labels[b], s.labels[b] * s.labels[2 * kSamples + b]);
  }
  const TaskRows given = RowsOfTask(tasks, 1, false, s.logits, s.labels);
  size_t clicks = 0;
  for (size_t b = 0; b < kSamples; ++b) clicks += s.labels[b] > 0 ? 1 : 0;
  EXPECT_EQ(given.row.size(), clicks);
  for (size_t i = 0; i < clicks; ++i) {
    EXPECT_EQ(s.labels[given.row[i]], 1);
    EXPECT_EQ(given.logits[i], s.logits[kSamples + given.row[i]]);
  }
}

TEST(DwaWeights, AddUpToTheNumberOfTasks) {
  const std::vector<float> last = {1, 3, 2}, before = {2, 3, 1};
  const std::vector<double> w = DwaWeights(last, before, 2);
  const double e[] = {std::exp(0.25), std::exp(0.5), std::exp(1.0)};
  for (int k = 0; k < 3; ++k) EXPECT_NEAR(w[k], 3 * e[k] / (e[0] + e[1] + e[2]), 1e-12);
  EXPECT_NEAR(w[0] + w[1] + w[2], 3, 1e-12);
  EXPECT_EQ(DwaWeights(last, {}, 2), (std::vector<double>{1, 1, 1}));
  EXPECT_EQ(DwaWeights(last, std::vector<float>{1, 0, 1}, 2), (std::vector<double>{1, 1, 1}));
}

TEST(LossPeriods, CountEpochsOfStagesThatWeighByThem) {
  spec::Job job;
  for (const bool dwa : {true, false, true}) {
    spec::Train* train = job.add_stage()->mutable_train();
    train->set_epochs(3);
    train->mutable_pointwise()->set_weights(dwa ? spec::PointwiseLoss::DWA
                                                : spec::PointwiseLoss::FIXED);
  }
  EXPECT_EQ(LossPeriodsBefore(job, 0), 0);
  EXPECT_EQ(LossPeriodsBefore(job, 2), 3);
  EXPECT_EQ(LossPeriodsBefore(job, 3), 6);
}

}  // namespace
}  // namespace emporium::models
