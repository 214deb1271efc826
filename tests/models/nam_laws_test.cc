// What must hold of the nam model (models.md M10): its normalisation, its slots, its gate, and what
// it refuses.
#include <cmath>
#include <numeric>

#include "models/metrics.h"
#include "proto/exact_math.h"
#include "tests/models/feed.h"

namespace emporium::models {
namespace {

constexpr int kItems = 7, kDim = 4;

// Items with a kind for each event; width 4, one head, a linear tower.
spec::Job SmallJob(const std::string& options) {
  return ParseJob(R"(
      table { name: "item" dim: 4 popularity {}
              slot { name: "t" update: LOG_EMA fed_by_model: true }
              slot { name: "e" update: LOG_EMA fed_by_model: true } }
      table { name: "kind" dim: 1 }
      feature { name: "item" column: "item" table: "item" }
      feature { name: "past" column: "item" table: "item" source: HISTORY }
      feature { name: "kinds" column: "kind" table: "kind" source: HISTORY }
      stage { name: "train" train { pointwise {} } }
      model { nam { pair { target: "item" history: "past" } action_feature: "kinds" width: 4
                    gate_mlp { hidden: 3 } fallback { hidden: 3 } tower {} )" +
                  options + " } }");
}

Feed SmallFeed(const std::string& options) {
  Feed feed(SmallJob(options));
  feed.AddRandomTable(kItems, kDim, 3);
  feed.AddRandomTable(2, 1, 4);
  Feed::Table& item = feed.tables[0];
  item.popularity = {5, 0, 1, 9, 2, 2, 1};
  item.popularity_total = 20;
  item.slot_width = 2;
  Random random(5);
  for (int i = 0; i < 2 * kItems; ++i) item.slots.push_back(random.Normal());
  for (float& x : feed.dense) x = 0.4f * random.Normal();
  return feed;
}

Batch SmallBatch(uint64_t seed, int samples = 6) {
  Random random(seed);
  Batch batch;
  batch.samples = samples;
  std::vector<int32_t> target, events, kinds, offset{0};
  for (int b = 0; b < samples; ++b) {
    target.push_back(static_cast<int32_t>(random.Next() % kItems));
    for (uint64_t n = random.Next() % 4; n > 0; --n) {
      events.push_back(static_cast<int32_t>(random.Next() % kItems));
      kinds.push_back(static_cast<int32_t>(random.Next() % 2));
    }
    offset.push_back(static_cast<int32_t>(events.size()));
    batch.label.push_back(random.Next() % 2 == 0 ? 1.0f : 0.0f);
  }
  batch.fields = {{"item", Singles(0, target)},
                  {"past", Lists(0, events, offset)},
                  {"kinds", Lists(1, kinds, offset)}};
  return batch;
}

std::vector<float> Apply(const Feed& feed, const std::string& matrix, const float* x, int width) {
  const float* m = feed.dense.data() + feed.offsets.at(matrix);
  std::vector<float> out(kDim, 0.0f);
  for (int i = 0; i < kDim; ++i) out[i] = std::inner_product(x, x + width, m + i * width, 0.0f);
  return out;
}

// <x, k> / sqrt(d_k) and the event's kind.
float Score(const Feed& feed, int32_t target, int32_t event, int32_t kind) {
  const float* rows = feed.tables[0].values.data();
  const std::vector<float> x = Apply(feed, "attention.query", rows + target * kDim, kDim);
  const std::vector<float> k = Apply(feed, "attention.key", rows + event * kDim, kDim);
  const float product = std::inner_product(x.begin(), x.end(), k.begin(), 0.0f);
  return product / std::sqrt(static_cast<float>(kDim)) + feed.tables[1].values[kind];
}

float Sigmoid(float x) { return 1 / (1 + std::exp(-x)); }

TEST(NamLaws, WithoutNormalisationAndGateItIsDinWithSigmoidWeights) {
  for (const char* nothing : {"normalise: NONE", "normalise: RUNNING alpha: 0 beta: 0",
                              "normalise: BATCH alpha: 0 beta: 0"}) {
    Feed feed = SmallFeed(std::string(nothing) + " gate: OPEN");
    const Batch batch = SmallBatch(1);
    const std::vector<float> scores = feed.Score(batch);
    const float* tower = feed.dense.data() + feed.offsets.at("tower.out.weight");
    const float* strength = feed.dense.data() + feed.offsets.at("strength");
    const float shift = feed.dense[feed.offsets.at("attention.shift")];
    for (int b = 0; b < batch.samples; ++b) {
      const int32_t target = batch.fields[0].rows.index[b];
      const float* row = feed.tables[0].values.data() + target * kDim;
      std::vector<float> x(row, row + kDim);
      std::vector<float> attended(kDim, 0.0f);
      float sum = 0, highest = 0;
      for (int j = batch.fields[1].rows.offset[b]; j < batch.fields[1].rows.offset[b + 1]; ++j) {
        const int32_t event = batch.fields[1].rows.index[j];
        const float s = Score(feed, target, event, batch.fields[2].rows.index[j]) + shift;
        highest = j == batch.fields[1].rows.offset[b] ? s : std::max(highest, s);
        sum += Sigmoid(s);
        const float* h = feed.tables[0].values.data() + event * kDim;
        const std::vector<float> v = Apply(feed, "attention.value", h, kDim);
        for (int i = 0; i < kDim; ++i) attended[i] += Sigmoid(s) * v[i];
      }
      x.insert(x.end(), attended.begin(), attended.end());
      x.push_back(strength[0] * sum + strength[1] * highest);
      x.push_back(strength[2] * sum + strength[3] * highest);
      const double popularity = feed.tables[0].popularity[target];
      x.push_back(static_cast<float>(1 - ShareOfLog(popularity, 20)));
      const float logit = std::inner_product(x.begin(), x.end(), tower,
                                             feed.dense[feed.offsets.at("tower.out.bias")]);
      EXPECT_NEAR(scores[b], logit, 1e-5) << nothing;
    }
  }
}

// What every event adds to s of every target is owed to the targets, not to an event.
TEST(NamLaws, RaisingAllScoresChangesNothingUnderTheExactNormalisation) {
  const auto losses = [](const std::string& options) {
    Feed feed = SmallFeed("normalise: BATCH beta: 0 " + options);
    const Batch batch = SmallBatch(2);
    const spec::Train train = SmallJob(options + " normalise: BATCH").stage(0).train();
    const double before = feed.Train(batch, train).at("loss");
    for (float& kind : feed.tables[1].values) kind += 1.5f;
    return std::pair(before, feed.Train(batch, train).at("loss"));
  };
  const auto [exact_before, exact_after] = losses("alpha: 1");
  EXPECT_NEAR(exact_before, exact_after, 1e-6);
  const auto [half_before, half_after] = losses("alpha: 0.5");
  EXPECT_GT(std::abs(half_before - half_after), 1e-3);
}

TEST(NamLaws, ASoftmaxCancelsTheTargetsNormalisation) {
  const auto change = [](const std::string& weight) {
    Feed feed = SmallFeed("target_slot: 't' event_slot: 'e' weight: " + weight);
    const Batch batch = SmallBatch(3);
    const std::vector<float> before = feed.Score(batch);
    for (int item = 0; item < kItems; ++item) feed.tables[0].slots[2 * item] += 2;
    const std::vector<float> after = feed.Score(batch);
    float most = 0;
    for (size_t b = 0; b < before.size(); ++b)
      most = std::max(most, std::abs(before[b] - after[b]));
    return most;
  };
  EXPECT_LT(change("SOFTMAX"), 1e-5);
  EXPECT_GT(change("SIGMOID"), 1e-2);
}

// The model observes, a row's log_ema smooths (ps/row_slots.h, with least_rho 0).
TEST(NamLaws, SlotsBecomeTheLogMeansOverAllEventsAndTargets) {
  const std::string options = "target_slot: 't' event_slot: 'e' ";
  Feed feed = SmallFeed(options + "sampled_events: 5");
  const spec::Train train = SmallJob(options).stage(0).train();
  std::vector<double> value(2 * kItems), updates(2 * kItems);
  for (uint64_t step = 0; step < 3000; ++step) {
    feed.Train(SmallBatch(100 + step, 12), train, step);
    const Feed::Table& item = feed.tables[0];
    for (int i = 0; i < 2 * kItems; ++i) {
      if ((item.observed_mask[i / 2] >> (i % 2) & 1) == 0) continue;
      const double rho = 1 / ++updates[i];
      value[i] = rho == 1 ? item.observed[i]
                          : LogAddExp(NaturalLog(1 - rho) + value[i],
                                      NaturalLog(rho) + double{item.observed[i]});
    }
  }
  // Targets, events and kinds of SmallBatch are uniform.
  for (int item = 0; item < kItems; ++item) {
    double as_target = 0, as_event = 0;
    for (int other = 0; other < kItems; ++other) {
      for (int kind = 0; kind < 2; ++kind) {
        as_target += std::exp(Score(feed, item, other, kind)) / (2 * kItems);
        as_event += std::exp(Score(feed, other, item, kind)) / (2 * kItems);
      }
    }
    EXPECT_NEAR(value[2 * item], std::log(as_target), 0.02) << item;
    EXPECT_NEAR(value[2 * item + 1], std::log(as_event), 0.02) << item;
  }
}

TEST(NamLaws, WhatIsObservedIsAFunctionOfTheSeedNotOfTheOrderOfRows) {
  const std::string options = "target_slot: 't' event_slot: 'e' sampled_events: 3";
  Feed a = SmallFeed(options);
  Feed b = SmallFeed(options);
  Batch batch = SmallBatch(4);
  const spec::Train train = SmallJob("").stage(0).train();
  a.Train(batch, train, 9);
  // The same rows in another order, as another number of shards gives them.
  std::vector<int32_t> place(kItems);
  for (int i = 0; i < kItems; ++i) place[i] = (3 * i + 2) % kItems;
  for (int i = 0; i < kItems; ++i) {
    const auto& from = a.tables[0];
    std::copy_n(&from.values[i * kDim], kDim, &b.tables[0].values[place[i] * kDim]);
    std::copy_n(&from.slots[i * 2], 2, &b.tables[0].slots[place[i] * 2]);
    b.tables[0].popularity[place[i]] = from.popularity[i];
  }
  for (int f : {0, 1}) {
    for (int32_t& index : batch.fields[f].rows.index) index = place[index];
  }
  b.Train(batch, train, 9);
  EXPECT_EQ(a.dense_gradient, b.dense_gradient);
  for (int i = 0; i < kItems; ++i) {
    EXPECT_EQ(a.tables[0].observed_mask[i], b.tables[0].observed_mask[place[i]]);
    EXPECT_EQ(a.tables[0].observed[2 * i], b.tables[0].observed[2 * place[i]]);
    EXPECT_EQ(a.tables[0].observed[2 * i + 1], b.tables[0].observed[2 * place[i] + 1]);
    EXPECT_EQ(a.tables[0].gradient[kDim * i], b.tables[0].gradient[kDim * place[i]]);
  }
}

// Popular items are bought by anybody; a rare one by those who met it before. Rows tell which item
// it is, not how popular, and the rare items of the test are not those of the training.
class Planted {
 public:
  static constexpr int kHead = 60, kTail = 600, kWidth = 8, kSamples = 1500;

  Planted() {
    for (int i = 0; i < (kHead + kTail) * kWidth; i += kWidth) {
      float length = 0;
      for (int d = 0; d < kWidth; ++d) {
        rows_.push_back(random_.Normal());
        length += rows_.back() * rows_.back();
      }
      for (int d = 0; d < kWidth; ++d) rows_[i + d] /= std::sqrt(length);
    }
    train_ = Make(kHead);
    test_ = Make(kHead + kTail / 2);
  }

  static spec::Job JobOf(const std::string& model, const std::string& keeps) {
    return ParseJob("table { name: \"t\" dim: 8 " + keeps +
                    " }"
                    "feature { name: \"a\" column: \"a\" table: \"t\" }"
                    "feature { name: \"h\" column: \"h\" table: \"t\" source: HISTORY }"
                    "stage { name: \"train\" train { pointwise {} } } model { " +
                    model + " }");
  }
  Feed Trained(const std::string& model, const std::string& keeps = "popularity {}") const {
    const spec::Job job = JobOf(model, keeps);
    Feed feed(job);
    feed.AddTable(kWidth, rows_);
    feed.tables[0].popularity.assign(kHead + kTail, 1.0f);
    std::fill_n(feed.tables[0].popularity.begin(), kHead, 400.0f);
    feed.tables[0].popularity_total = 400.0 * kHead + kTail;
    for (int i = 0; i < 400; ++i) {
      feed.Train(train_, job.stage(0).train());
      feed.DescendByAdam(0.01f);
    }
    return feed;
  }
  // Predictions over labels of the test's rare (popular) samples.
  double Pcoc(Feed* feed, bool rare) const {
    const std::vector<float> logits = feed->Score(test_);
    double predicted = 0, labels = 0;
    for (int b = 0; b < kSamples; ++b) {
      if ((test_.fields[0].rows.index[b] >= kHead) != rare) continue;
      predicted += Sigmoid(logits[b]);
      labels += test_.label[b];
    }
    return predicted / labels;
  }

 private:
  // The rare items are those from `tail` on.
  Batch Make(int tail) {
    Batch batch;
    batch.samples = kSamples;
    std::vector<int32_t> target, events, offset{0};
    for (int b = 0; b < kSamples; ++b) {
      const bool rare = random_.Uniform() < 0.4f;
      const auto draw = [&](int first, int n) {
        return static_cast<int32_t>(first + static_cast<int>(random_.Next() % n));
      };
      target.push_back(rare ? draw(tail, kTail / 2) : draw(0, kHead));
      const bool met = random_.Uniform() < 0.5f;
      for (int e = 0; e < 4; ++e) {
        const bool other_rare = random_.Uniform() < 0.4f;
        events.push_back(other_rare ? draw(tail, kTail / 2) : draw(0, kHead));
      }
      if (met) events.back() = target.back();
      const float p = rare ? (met ? 0.8f : 0.2f) : 0.2f;
      batch.label.push_back(random_.Uniform() < p ? 1.0f : 0.0f);
      offset.push_back(static_cast<int32_t>(events.size()));
    }
    batch.fields = {{"a", Singles(0, target)}, {"h", Lists(0, events, offset)}};
    return batch;
  }

  Random random_{11};
  std::vector<float> rows_;
  Batch train_, test_;
};

TEST(NamLaws, TheGateGrowsWithRarityAndTheTailIsCalibrated) {
  const Planted planted;
  const std::string pair = "pair { target: 'a' history: 'h' } ";
  Feed nam = planted.Trained("nam { " + pair +
                             "width: 16 normalise: NONE strict_monotone: true "
                             "fallback { hidden: 8 activation: SILU } "
                             "tower { hidden: 8 activation: SILU } }");
  Feed din = planted.Trained("din { " + pair +
                             "attention { hidden: 8 activation: SILU } "
                             "mlp { hidden: 8 activation: SILU } }");
  const auto gate = [&nam](float rarity) {
    const float a = nam.dense[nam.offsets.at("gate.rarity")];
    return Sigmoid(std::log1p(std::exp(a)) * rarity + nam.dense[nam.offsets.at("gate.level")]);
  };
  const double tail = planted.Pcoc(&nam, true);
  const double tail_of_din = planted.Pcoc(&din, true);
  EXPECT_GT(gate(1), gate(0) + 0.2f) << gate(0);
  EXPECT_LT(std::abs(tail - 1), 0.5 * std::abs(tail_of_din - 1)) << tail << " " << tail_of_din;
  EXPECT_LT(tail_of_din, 0.9);
  // Without the gate, and without knowing who is rare, it is as far off as DIN.
  Feed blind = planted.Trained("nam { " + pair +
                                   "width: 16 normalise: NONE gate: OPEN "
                                   "tower { hidden: 8 activation: SILU } }",
                               "");
  EXPECT_LT(planted.Pcoc(&blind, true), 0.9);
}

TEST(CreateModel, NamSaysWhatItRefuses) {
  const auto refusal = [](const std::string& options, const std::string& keeps = "popularity {}") {
    const auto made = CreateModel(ParseJob("table { name: \"t\" dim: 4 " + keeps + R"(
          slot { name: "n" } slot { name: "z" update: LOG_EMA fed_by_model: true }
          slot { name: "y" update: LOG_EMA fed_by_model: true } }
        table { name: "u" dim: 2 }
        feature { name: "a" column: "a" table: "t" } feature { name: "s" column: "s" table: "t" }
        feature { name: "h" column: "h" table: "t" source: HISTORY }
        feature { name: "k" column: "k" table: "u" source: HISTORY } model { nam { )" +
                                           options + " } }"));
    return made.ok() ? "accepted" : made.status().message();
  };
  const std::string pair = "pair { target: 'a' history: 'h' } ";
  const std::string none = pair + "normalise: NONE ";
  const auto expect = [&](const std::string& options, const std::string& part) {
    EXPECT_NE(refusal(options).find(part), std::string::npos) << refusal(options);
  };
  EXPECT_EQ(refusal(none), "accepted");
  EXPECT_EQ(refusal(none + "gate: OPEN", ""), "accepted");
  EXPECT_EQ(refusal(pair + "target_slot: 'z' event_slot: 'y'"), "accepted");
  EXPECT_EQ(refusal(pair + "target_slot: 'z' beta: 0"), "accepted");
  EXPECT_EQ(refusal(none + "heads: 2 action_feature: 'k' query: 's'"), "accepted");
  expect("", "model.nam.pair: there is none");
  expect(none + "heads: 3", "model.nam.heads: 3 heads do not divide the width 64");
  expect(none + "alpha: 2", "model.nam.alpha:");
  expect(none + "mix: -1", "model.nam.mix:");
  expect(none + "sampled_events: 0", "model.nam.sampled_events: there are none");
  expect(none + "query: 'x'", "model.nam.query: there is no feature 'x'");
  expect(none + "query: 'k'", "model.nam.query: feature 'k' has source HISTORY");
  expect(none + "action_feature: 'k'", "table 'u' has dim 2; a kind has one number a head, 1");
  expect(none + "gap_edges_days: [7, 1]", "model.nam.gap_edges_days: edge 1");
  expect("normalise: NONE gap_edges_days: 1 pair { target: 'a' history: 's' }",
         "gap_edges_days: the keys of feature 's' have no time");
  expect(pair, "model.nam.target_slot: 0 slots are named, 1 are used");
  expect(pair + "target_slot: 'n' event_slot: 'y'", "no slot 'n' that is fed by the model");
  expect(none + "target_slot: 'z'", "model.nam.target_slot: 1 slots are named, 0 are used");
  expect(none + "tower { hidden: 0 }", "model.nam.tower.hidden: a layer of width 0");
  EXPECT_NE(refusal(none, "").find("model.nam.gate: the table of the first pair keeps no popul"),
            std::string::npos);
  EXPECT_NE(refusal(pair + "normalise: FREQUENCY gate: OPEN", "").find("model.nam.normalise: the "),
            std::string::npos);
}

}  // namespace
}  // namespace emporium::models
