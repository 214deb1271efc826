// SFPNet beyond the reference tensors (tests/models/sequence_test.cc): its pooling, its start, and
// what fitting every event to the scenario is good for.
#include <ATen/ops/from_blob.h>

#include <cmath>

#include "models/layers/spread.h"
#include "models/metrics.h"
#include "tests/models/feed.h"

namespace emporium::models {
namespace {

const std::string kTables = R"(
    table { name: "t" dim: 10 } feature { name: "a" column: "a" table: "t" }
    feature { name: "h" column: "h" table: "t" }
    data { scenario { column: "s" value: "x" value: "y" } }
    stage { name: "train" train { pointwise {} } } )";
const std::string kPair = "pair { target: 'a' history: 'h' } ";

spec::Job JobOf(const std::string& model) { return ParseJob(kTables + "model { " + model + " }"); }

TEST(PoolSpread, IsMeanAndPopulationDeviationForEveryLength) {
  constexpr int kWidth = 3, kLongest = 9;
  std::vector<int32_t> offset{0};
  for (int n = 0; n <= kLongest; ++n) offset.push_back(offset.back() + n);
  Random random(4);
  std::vector<float> events;
  for (int i = 0; i < offset.back() * kWidth; ++i) events.push_back(random.Normal());
  const ParameterList none;
  const Batch batch;
  Pass pass(Cpu(), none, batch, {}, {}, std::nullopt);
  const at::Tensor given = at::from_blob(events.data(), {offset.back(), kWidth}, at::kFloat);
  const EventsOfSamples of(pass, offset);
  const at::Tensor pooled = PoolSpread(pass, given, of, true);
  for (int n = 0; n <= kLongest; ++n) {
    for (int k = 0; k < kWidth; ++k) {
      double mean = 0, square = 0;
      for (int32_t j = offset[n]; j < offset[n + 1]; ++j) mean += events[j * kWidth + k] / n;
      for (int32_t j = offset[n]; j < offset[n + 1]; ++j) {
        square += std::pow(events[j * kWidth + k] - mean, 2) / n;
      }
      const float* row = pooled.data_ptr<float>() + n * 2 * kWidth;
      EXPECT_NEAR(row[k], mean, 1e-6) << n;
      EXPECT_NEAR(row[kWidth + k], std::sqrt(square + 1e-6), 1e-6) << n;
    }
  }
}

// Each event is a key of two halves and a sign; in a scenario the events count whose own half is
// that of the target, and the label is the sign of the one that there is. So events must be fitted
// to the scenario before the target meets them.
class PlantedRotation : public testing::Test {
 protected:
  static constexpr int kHalves = 6, kHalf = 4, kDim = 2 * kHalf + 2, kEvents = 5, kSamples = 600;

  PlantedRotation() {
    for (int i = 0; i < 2 * kHalves; ++i) {
      std::vector<float> half;
      float length = 0;
      for (int k = 0; k < kHalf; ++k) {
        half.push_back(random_.Normal());
        length += half.back() * half.back();
      }
      for (float& x : half) x /= std::sqrt(length);
      halves_.push_back(half);
    }
  }

  // A row of first half i, second half j and the sign; its number.
  int32_t Row(int i, int j, float sign) {
    const auto row = static_cast<int32_t>(rows_.size()) / kDim;
    for (const float x : halves_[static_cast<size_t>(i)]) rows_.push_back(x);
    for (const float x : halves_[static_cast<size_t>(kHalves + j)]) rows_.push_back(x);
    rows_.push_back(sign);
    rows_.push_back(1);
    return row;
  }
  int Draw(int n) { return static_cast<int>(random_.Next() % static_cast<uint64_t>(n)); }

  Batch Make() {
    Batch batch;
    batch.samples = kSamples;
    std::vector<int32_t> target, events, offset{0};
    for (int b = 0; b < kSamples; ++b) {
      // Different halves for each event, in both places.
      std::vector<int> first(kHalves), second(kHalves);
      for (int k = 0; k < kHalves; ++k) first[k] = second[k] = k;
      std::vector<float> sign;
      for (int e = 0; e < kEvents; ++e) {
        std::swap(first[e], first[e + Draw(kHalves - e)]);
        std::swap(second[e], second[e + Draw(kHalves - e)]);
        sign.push_back(Draw(2) == 0 ? -1.0f : 1.0f);
        events.push_back(Row(first[e], second[e], sign.back()));
      }
      const int x = Draw(kEvents);  // the event of the target's first half
      const int y = (x + 1 + Draw(kEvents - 1)) % kEvents;
      target.push_back(Row(first[x], second[y], 0));
      batch.scenario.push_back(Draw(2));
      batch.label.push_back(sign[batch.scenario.back() == 0 ? x : y] > 0 ? 1 : 0);
      offset.push_back(static_cast<int32_t>(events.size()));
    }
    batch.fields = {{"a", Singles(0, target)}, {"h", Lists(0, events, offset)}};
    return batch;
  }

  double AucOf(const std::string& model, const Batch& train, const Batch& test) const {
    const spec::Job job = JobOf(model);
    Feed feed(job);
    feed.AddTable(kDim, rows_);
    std::vector<float> mean(feed.dense.size()), square(feed.dense.size());
    for (int i = 0; i < 400; ++i) {
      feed.Train(train, job.stage(0).train());
      for (size_t w = 0; w < feed.dense.size(); ++w) {  // Adam, without the correction of the start
        const float g = feed.dense_gradient[w];
        mean[w] += 0.1f * (g - mean[w]);
        square[w] += 0.01f * (g * g - square[w]);
        feed.dense[w] -= 0.01f * mean[w] / (std::sqrt(square[w]) + 1e-8f);
      }
    }
    return *Auc(feed.Score(test), test.label);
  }

  Random random_{7};
  std::vector<std::vector<float>> halves_;
  std::vector<float> rows_;
};

TEST_F(PlantedRotation, IsFoundByFittingEveryEvent) {
  const Batch train = Make();
  const Batch test = Make();
  const std::string parts =
      "attention { hidden: 16 activation: SILU } mlp { hidden: 8 "
      "activation: SILU } residual { hidden: 8 } gate_width: 16 blocks: 1 ";
  const double fitted = AucOf("sfpnet { " + kPair + parts + "}", train, test);
  EXPECT_GT(fitted, 0.9);
  // A tower for each scenario over the pooled history, and a gate of the scenario on it.
  EXPECT_LT(AucOf("scenario_bottom { bottom { hidden: [16, 8] activation: SILU } "
                  "tower { hidden: 8 activation: SILU } }",
                  train, test),
            0.8);
  EXPECT_LT(
      AucOf("pepnet { mlp { hidden: [16, 8] activation: SILU } gate_width: 16 }", train, test),
      0.8);
  // Without both parts of a block the scenario is known to the last MLP alone.
  EXPECT_LT(AucOf("sfpnet { " + kPair + parts + "adaptive: false tailoring: false }", train, test),
            fitted - 0.05);
}

// The gates start at exactly 1: with and without them a new model gives the same bits.
TEST_F(PlantedRotation, GatesStartAtOne) {
  const Batch batch = Make();
  Feed gated(JobOf("sfpnet { " + kPair + "}"));
  Feed plain(JobOf("sfpnet { " + kPair + "adaptive: false }"));
  EXPECT_LT(plain.dense.size(), gated.dense.size());
  gated.AddTable(kDim, rows_);
  plain.AddTable(kDim, rows_);
  EXPECT_EQ(gated.Score(batch), plain.Score(batch));
}

TEST_F(PlantedRotation, OneScenarioTrains) {
  Batch batch = Make();
  std::fill(batch.scenario.begin(), batch.scenario.end(), 0);
  spec::Job job = JobOf("sfpnet { " + kPair + "mlp { hidden: 8 } }");
  job.mutable_data()->mutable_scenario()->mutable_value()->RemoveLast();
  Feed feed(job);
  feed.AddTable(kDim, rows_);
  const double first = feed.Train(batch, job.stage(0).train()).at("loss");
  for (int i = 0; i < 30; ++i) {
    feed.Descend(0.3f);
    for (const float g : feed.Gradients()) ASSERT_TRUE(std::isfinite(g));
    feed.Train(batch, job.stage(0).train());
  }
  EXPECT_LT(feed.Train(batch, job.stage(0).train()).at("loss"), first);
}

// Where the gates' inputs carry no gradient, rows are trained by what the gates do to them alone.
TEST_F(PlantedRotation, GatesStopTheGradientOfWhatTheyRead) {
  const Batch batch = Make();
  const auto gradient = [&](const std::string& more) {
    const spec::Job job = JobOf("sfpnet { " + kPair + "tailoring: false blocks: 1 " + more + "}");
    Feed feed(job);
    for (float& w : feed.dense) w += 0.1f;  // gates that say something
    feed.AddTable(kDim, rows_);
    feed.Train(batch, job.stage(0).train());
    return feed.tables[0].gradient;
  };
  EXPECT_NE(gradient(""), gradient("stop_gradient: false"));
}

TEST(CreateModel, SfpNetSaysWhatItRefuses) {
  const auto expect = [](const std::string& options, const std::string& part) {
    const auto made = CreateModel(ParseJob(R"(
        table { name: "t" dim: 4 } table { name: "u" dim: 2 }
        feature { name: "a" column: "a" table: "t" } feature { name: "u" column: "u" table: "u" }
        feature { name: "h" column: "h" table: "t" source: HISTORY } feature { name: "x" column: "x" }
        data { scenario { column: "s" value: "x" } } model { sfpnet { )" +
                                           options + " } }"));
    const std::string text = made.ok() ? "accepted" : made.status().message();
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  expect("feature: 'x' " + kPair, "accepted");
  expect(kPair,
         "model.sfpnet.feature: table 'u' of feature 'u' has dim 2, it needs dim 4 in a sfp");
  expect("feature: 'x'", "model.sfpnet.pair: there is none");
  expect("feature: 'x' blocks: 0 " + kPair, "model.sfpnet.blocks: 0 is outside 1 to 64");
  expect("feature: 'x' gate_width: 0 " + kPair, "model.sfpnet.gate_width: 0 is outside");
  expect("feature: 'x' attention { dropout: 1 } " + kPair, "model.sfpnet.attention.dropout:");
  expect("feature: 'x' residual { hidden: 0 } " + kPair, "model.sfpnet.residual.hidden: a layer");
}

}  // namespace
}  // namespace emporium::models
