// SASRec against tensors made by tests/reference/sasrec.py in float64, and how it behaves: what an
// event may see, padding, empty histories, seeds, and that training at every position is training
// on the separate samples.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "models/staged_device.h"
#include "tests/models/feed.h"
#include "tests/models/host_backend.h"
#include "tests/models/tensor_file.h"

namespace emporium::models {
namespace {

constexpr int32_t kItems = 12;
constexpr int32_t kDim = 8;
constexpr int32_t kWords = 6;

const std::string kData = R"(
  name: "sasrec"
  table { name: "item" dim: 8 popularity {} } table { name: "word" dim: 8 }
  data { history { max_length: 9 } }
  feature { name: "item" column: "i" table: "item" source: ITEM }
  feature { name: "tags" column: "t" table: "word" source: ITEM }
)";
const std::string kAll = "negatives { all {} }";

spec::Job SasRecJob(const std::string& options, const std::string& softmax = kAll) {
  return ParseJob(kData + "model { sasrec { item_feature: \"item\" heads: 2 feed_forward: 12 " +
                  options + " } } stage { name: \"train\" train { sampled_softmax { " + softmax +
                  " } } }");
}
const std::string kCalm = "attribute_feature: \"tags\" dropout: 0 embedding_dropout: 0 ";
const std::string kNoisy = "attribute_feature: \"tags\" dropout: 0.3 embedding_dropout: 0.4 ";

Feed SasRecFeed(const spec::Job& job, Device& device = Cpu()) {
  Feed feed(job, device);
  feed.AddRandomTable(kItems, kDim, 21);
  feed.AddRandomTable(kWords, kDim, 22);
  Random random(5);
  for (float& x : feed.dense) x += 0.2f * random.Normal();
  return feed;
}

// The catalogue as items and candidates; no samples yet.
Batch Catalogue(uint64_t seed) {
  Random random(seed);
  Batch batch;
  std::vector<int32_t> all;
  for (int32_t i = 0; i < kItems; ++i) all.push_back(i);
  batch.items.count = kItems;
  batch.items.id = Singles(0, all);
  batch.items.title = Lists(1, {}, {0});
  for (int32_t i = 0; i < kItems; ++i) {
    for (int32_t k = 0; k < i % 3; ++k) {
      batch.items.title.index.push_back(static_cast<int32_t>(random.Next() % kWords));
    }
    batch.items.title.offset.push_back(static_cast<int32_t>(batch.items.title.index.size()));
  }
  batch.history.offset = {0};
  CandidateColumns& c = batch.candidates;
  c.item = all;
  c.sampled.assign(kItems, 1);
  c.log_q.assign(kItems, -0.5f);
  c.drawn = 8;
  c.positive_offset = c.masked_offset = {0};
  return batch;
}

void AddUser(Batch& batch, const std::vector<int32_t>& items) {
  batch.history.item.insert(batch.history.item.end(), items.begin(), items.end());
  batch.history.offset.push_back(static_cast<int32_t>(batch.history.item.size()));
  ++batch.samples;
}

// A row of the softmax with one positive and one masked candidate.
void AddRow(Batch& batch, int32_t positive, int32_t masked) {
  CandidateColumns& c = batch.candidates;
  c.positive.push_back(positive);
  c.positive_offset.push_back(static_cast<int32_t>(c.positive.size()));
  if (masked != positive) c.masked.push_back(masked);
  c.masked_offset.push_back(static_cast<int32_t>(c.masked.size()));
}

std::vector<int32_t> RandomItems(Random& random, int32_t length) {
  std::vector<int32_t> items;
  for (int32_t k = 0; k < length; ++k) {
    items.push_back(static_cast<int32_t>(random.Next() % kItems));
  }
  return items;
}

// Users of these lengths, asked once each after their last event.
Batch LastEvents(const std::vector<int32_t>& lengths, uint64_t seed) {
  Batch batch = Catalogue(seed);
  Random random(seed);
  for (int32_t length : lengths) {
    AddUser(batch, RandomItems(random, length));
    AddRow(batch, static_cast<int32_t>(random.Next() % kItems), 3);
  }
  return batch;
}

std::vector<int32_t> Prefix(const std::vector<int32_t>& items, int32_t length) {
  return {items.begin(), items.begin() + length};
}

// ---- Against PyTorch

const std::string kCaseNames[] = {"every_position", "no_positions", "last_event"};

spec::Job ReferenceJob(const std::string& name) {
  const std::string calm = "dropout: 0 embedding_dropout: 0 ";
  if (name == "every_position") {
    return SasRecJob(calm + "attribute_feature: \"tags\" attribute_weight: 0.7 relative_bias: true",
                     "negatives { uniform {} } positives_power: 0.5 every_position: true");
  }
  if (name == "no_positions") {
    return SasRecJob(calm +
                         "attribute_feature: \"tags\" similarity: DOT initial_scale: 0.5 "
                         "learn_scale: false positions: false relative_bias: true",
                     "negatives { uniform {} } log_q: false every_position: true");
  }
  return SasRecJob(calm + "initial_scale: 3 learn_scale: false", "negatives { uniform {} }");
}

Batch ReferenceBatch(const TensorFile& file, const std::string& name) {
  const std::string p = name + "/batch/";
  Batch batch;
  batch.weight = file.floats(p + "weight");
  batch.items.id = Singles(0, file.ints(p + "items.id.index"));
  batch.items.count = batch.items.id.lists();
  if (name != "last_event") {
    batch.items.title =
        Lists(1, file.ints(p + "items.title.index"), file.ints(p + "items.title.offset"));
  }
  batch.history.offset = file.ints(p + "history.offset");
  batch.history.item = file.ints(p + "history.item");
  batch.samples = static_cast<int32_t>(batch.history.offset.size()) - 1;
  CandidateColumns& c = batch.candidates;
  c.item = file.ints(p + "candidates.item");
  c.event = file.ints(p + "candidates.event");
  c.log_q = file.floats(p + "candidates.log_q");
  c.sampled = file.ints<uint8_t>(p + "candidates.sampled");
  c.drawn = 4;
  c.positive = file.ints(p + "candidates.positive");
  c.positive_offset = file.ints(p + "candidates.positive_offset");
  c.masked = file.ints(p + "candidates.masked");
  c.masked_offset = file.ints(p + "candidates.masked_offset");
  return batch;
}

class SasRecReference : public testing::TestWithParam<std::string> {};

TEST_P(SasRecReference, LossGradientsAndVectorsEqualPyTorch) {
  static const TensorFile file("sasrec.bin");
  const std::string name = GetParam();
  const spec::Job job = ReferenceJob(name);
  Feed feed(job);
  for (const char* table : {"item", "word"}) {
    feed.AddTable(kDim, file.floats(name + "/rows/" + table));
  }
  // The same parameters under the same names and in the same shapes.
  ASSERT_EQ(file.names(name + "/dense/").size(), feed.model->parameters().size());
  for (const DenseParameter& parameter : feed.model->parameters()) {
    const NamedTensor& values = file.at(name + "/dense/" + parameter.name);
    ASSERT_EQ(values.shape, parameter.shape) << parameter.name;
    std::copy(values.values.begin(), values.values.end(),
              feed.dense.begin() + feed.offsets[parameter.name]);
  }
  const Batch batch = ReferenceBatch(file, name);
  const auto terms = feed.Train(batch, job.stage(0).train());
  EXPECT_NEAR(terms.at("loss"), file.floats(name + "/loss")[0], 2e-6);
  for (const DenseParameter& parameter : feed.model->parameters()) {
    const auto begin = feed.dense_gradient.begin() + feed.offsets[parameter.name];
    ExpectNear(std::vector<float>(begin, begin + parameter.size),
               file.floats(name + "/dense_gradient/" + parameter.name), 2e-5, parameter.name);
  }
  ExpectNear(feed.tables[0].gradient, file.floats(name + "/row_gradient/item"), 2e-5, "item");
  ExpectNear(feed.tables[1].gradient, file.floats(name + "/row_gradient/word"), 2e-5, "word");
  ExpectNear(feed.UserVectors(batch), file.floats(name + "/user_vectors"), 2e-5, "user vectors");
  ExpectNear(feed.ItemVectors(batch), file.floats(name + "/item_vectors"), 2e-5, "item vectors");
}

INSTANTIATE_TEST_SUITE_P(Cases, SasRecReference, testing::ValuesIn(kCaseNames),
                         [](const auto& info) { return info.param; });

// ---- Behaviour

// The slow twin: one sample a row, its history what the row's event could see.
TEST(SasRec, EveryPositionEqualsTheSeparateSamples) {
  for (const std::string softmax : {"", "log_q: false", "positives_power: 1"}) {
    const spec::Job job =
        SasRecJob(kCalm + "relative_bias: true", "negatives { uniform {} } " + softmax);
    Feed together = SasRecFeed(job), apart = SasRecFeed(job);
    Batch sequences = Catalogue(4), samples = Catalogue(4);
    Random random(8);
    for (int32_t length : {5, 1, 9, 3, 2}) {
      const int32_t begin = sequences.history.offset.back();
      const std::vector<int32_t> items = RandomItems(random, length);
      AddUser(sequences, items);
      for (int32_t j = 0; j < length; ++j) {
        if (random.Next() % 4 == 0) continue;  // some events are not asked for
        const auto positive = static_cast<int32_t>(random.Next() % kItems);
        sequences.candidates.event.push_back(begin + j);
        AddRow(sequences, positive, items[j]);
        AddUser(samples, Prefix(items, j + 1));
        AddRow(samples, positive, items[j]);
      }
    }
    ASSERT_GT(samples.samples, sequences.samples);
    const spec::Train& train = job.stage(0).train();
    EXPECT_NEAR(together.Train(sequences, train).at("loss"), apart.Train(samples, train).at("loss"),
                1e-6);
    ExpectNear(together.Gradients(), apart.Gradients(), 2e-6, softmax);
  }
}

TEST(SasRec, ALaterEventDoesNotChangeAnEarlierOutput) {
  const spec::Job job = SasRecJob(kNoisy + "relative_bias: true");
  Feed feed = SasRecFeed(job);
  Batch batch = Catalogue(4);
  AddUser(batch, {1, 2, 3, 4, 5, 6});
  AddUser(batch, {7, 8});
  batch.candidates.event = {0, 2};
  AddRow(batch, 9, 0);
  AddRow(batch, 10, 0);
  const auto before = feed.Train(batch, job.stage(0).train());
  const std::vector<float> gradient = feed.Gradients();
  for (int32_t event : {3, 4, 5, 6, 7}) batch.history.item[event] = 11;
  EXPECT_EQ(feed.Train(batch, job.stage(0).train()), before);
  EXPECT_EQ(feed.Gradients(), gradient);
  batch.history.item[1] = 11;
  EXPECT_NE(feed.Train(batch, job.stage(0).train()), before);
}

TEST(SasRec, NeighboursAndPaddingDoNotChangeAVector) {
  Feed feed = SasRecFeed(SasRecJob(kCalm + "relative_bias: true"));
  for (int32_t length : {1, 4, 5, 9}) {
    const Batch alone = LastEvents({length}, 8);
    Batch among = alone;
    Random random(1);
    for (int32_t other : {9, 0, 3, 5}) AddUser(among, RandomItems(random, other));
    const std::vector<float> one = feed.UserVectors(alone);
    std::vector<float> all = feed.UserVectors(among);
    all.resize(one.size());
    ExpectNear(all, one, 1e-6, std::to_string(length));
  }
}

TEST(SasRec, OneSampleAndEmptyHistoriesTrain) {
  const spec::Job job = SasRecJob(kNoisy + "relative_bias: true");
  Feed feed = SasRecFeed(job);
  for (const std::vector<int32_t>& lengths : {std::vector<int32_t>{3}, {0}, {0, 0, 0}, {0, 1}}) {
    const Batch batch = LastEvents(lengths, 4);
    EXPECT_TRUE(std::isfinite(feed.Train(batch, job.stage(0).train()).at("loss")));
    for (float g : feed.Gradients()) ASSERT_TRUE(std::isfinite(g));
    const std::vector<float> users = feed.UserVectors(batch);
    for (size_t b = 0; b < lengths.size(); ++b) {
      for (int32_t k = 0; k < kDim; ++k) {
        EXPECT_EQ(users[b * kDim + k] == 0, lengths[b] == 0) << "no event: zeros";
      }
    }
  }
}

TEST(SasRec, GradientIsTheDerivative) {
  for (const std::string similarity : {"COSINE", "DOT"}) {
    const spec::Job job = SasRecJob(kNoisy + "relative_bias: true similarity: " + similarity);
    Feed feed = SasRecFeed(job);
    Batch batch = LastEvents({5, 0, 1, 9, 3}, 3);
    batch.candidates.event = {0, 3, 4, 5, 5};
    const spec::Train& train = job.stage(0).train();
    feed.Train(batch, train, 5);
    const std::vector<float> gradient = feed.Gradients();
    std::vector<float*> places;
    for (float& x : feed.dense) places.push_back(&x);
    for (auto& table : feed.tables) {
      for (float& x : table.values) places.push_back(&x);
    }
    std::vector<float> start;
    for (float* x : places) start.push_back(*x);
    Random random(77);
    for (int round = 0; round < 3; ++round) {
      std::vector<float> direction;
      double along = 0;
      for (float g : gradient) {
        direction.push_back(random.Normal());
        along += static_cast<double>(g) * direction.back();
      }
      const auto loss_at = [&](float step) {
        for (size_t i = 0; i < places.size(); ++i) *places[i] = start[i] + step * direction[i];
        return feed.Train(batch, train, 5).at("loss");
      };
      const double slope = (loss_at(4e-4f) - loss_at(-4e-4f)) / 8e-4;
      loss_at(0);
      EXPECT_NEAR(slope, along, 0.03 * (1 + std::abs(along)));
    }
  }
}

TEST(SasRec, SeedsDecideBits) {
  const spec::Job job = SasRecJob(kNoisy);
  const Batch batch = LastEvents({5, 8, 3}, 6);
  Feed a = SasRecFeed(job), b = SasRecFeed(job);
  const auto first = a.Train(batch, job.stage(0).train(), 11);
  EXPECT_EQ(b.Train(batch, job.stage(0).train(), 11), first);
  EXPECT_EQ(a.Gradients(), b.Gradients());
  EXPECT_NE(b.Train(batch, job.stage(0).train(), 12), first);
  EXPECT_NE(a.Gradients(), b.Gradients());
}

TEST(SasRec, ADeviceOfItsOwnMemoryComputesTheSame) {
  const spec::Job job = SasRecJob(kNoisy + "relative_bias: true");
  const std::unique_ptr<Device> device = MakeHostDevice();
  Feed here = SasRecFeed(job), there = SasRecFeed(job, *device);
  const Batch batch = LastEvents({5, 0, 1, 9, 3}, 3);
  EXPECT_NEAR(there.Train(batch, job.stage(0).train()).at("loss"),
              here.Train(batch, job.stage(0).train()).at("loss"), 1e-6);
  ExpectNear(there.Gradients(), here.Gradients(), 1e-5, "gradients");
  ExpectNear(there.UserVectors(batch), here.UserVectors(batch), 1e-5, "users");
  ExpectNear(there.ItemVectors(batch), here.ItemVectors(batch), 1e-5, "items");
}

TEST(SasRec, InnerProductIsTheLogit) {
  for (const std::string options :
       {"similarity: COSINE", "similarity: DOT", "similarity: DOT learn_scale: false"}) {
    const spec::Job job = SasRecJob(kCalm + "initial_scale: 3 " + options);
    Feed feed = SasRecFeed(job);
    Batch batch = LastEvents({6}, 3);
    batch.candidates.masked.clear();
    batch.candidates.masked_offset = {0, 0};
    const auto users = feed.UserVectors(batch), items = feed.ItemVectors(batch);
    double total = 0;
    std::vector<double> logits(kItems, 0);
    for (int32_t i = 0; i < kItems; ++i) {
      for (int32_t k = 0; k < kDim; ++k) {
        logits[i] += static_cast<double>(users[k]) * items[i * kDim + k];
      }
      total += std::exp(logits[i]);
    }
    const double expected = std::log(total) - logits[batch.candidates.positive[0]];
    EXPECT_NEAR(feed.Train(batch, job.stage(0).train()).at("loss"), expected, 2e-5) << options;
  }
}

// ---- Planted effects

// Steps of Adam over everything.
class AdamSteps {
 public:
  void Step(Feed& feed, double rate) {
    ++steps_;
    Move(feed.dense, feed.dense_gradient, 0, rate);
    size_t at = feed.dense.size();
    for (Feed::Table& table : feed.tables) {
      Move(table.values, table.gradient, at, rate);
      at += table.values.size();
    }
  }

 private:
  void Move(std::vector<float>& values, const std::vector<float>& gradient, size_t at,
            double rate) {
    mean_.resize(std::max(mean_.size(), at + values.size()), 0);
    square_.resize(mean_.size(), 0);
    for (size_t i = 0; i < values.size(); ++i) {
      const double g = gradient[i];
      double& m = mean_[at + i];
      double& v = square_[at + i];
      m = 0.9 * m + 0.1 * g;
      v = 0.99 * v + 0.01 * g * g;
      const double unbiased = v / (1 - std::pow(0.99, steps_));
      values[i] -=
          static_cast<float>(rate * m / (1 - std::pow(0.9, steps_)) / (std::sqrt(unbiased) + 1e-8));
    }
  }

  int steps_ = 0;
  std::vector<double> mean_, square_;
};

// Mean loss over the last fifth of `steps` steps on batches that `make` draws.
double LossAfter(const std::string& options, int steps, const std::function<Batch(Random&)>& make) {
  const spec::Job job =
      SasRecJob("dropout: 0 embedding_dropout: 0 layers: 1 initial_scale: 8 " + options);
  Feed feed = SasRecFeed(job);
  AdamSteps adam;
  Random random(17);
  double loss = 0;
  for (int step = 0; step < steps; ++step) {
    const double value = feed.Train(make(random), job.stage(0).train()).at("loss");
    adam.Step(feed, 0.01);
    if (step >= steps * 4 / 5) loss += value / (steps - steps * 4 / 5);
  }
  return loss;
}

// What comes next is the item before the last one. Without positions the events before the last
// are a set: one of three is the best guess.
TEST(SasRec, TheOrderOfTheSequenceCounts) {
  const auto make = [](Random& random) {
    Batch batch = Catalogue(1);
    for (int b = 0; b < 32; ++b) {
      std::vector<int32_t> items;
      while (items.size() < 4) {
        const auto item = static_cast<int32_t>(random.Next() % kItems);
        if (std::find(items.begin(), items.end(), item) == items.end()) items.push_back(item);
      }
      AddUser(batch, items);
      AddRow(batch, items[2], items[2]);
    }
    return batch;
  };
  const double blind = std::log(3);
  EXPECT_LT(LossAfter("", 600, make), 0.5 * blind) << "positions";
  EXPECT_LT(LossAfter("positions: false relative_bias: true", 600, make), 0.5 * blind);
  EXPECT_GT(LossAfter("positions: false", 600, make), 0.9 * blind);
}

// Sequences without any rule: who sees the next event learns to copy it, others learn nothing.
TEST(SasRec, EveryPositionShowsNoEventItsOwnFuture) {
  const auto make = [](Random& random) {
    Batch batch = Catalogue(1);
    for (int b = 0; b < 16; ++b) {
      const std::vector<int32_t> items = RandomItems(random, 6);
      const int32_t begin = batch.history.offset.back();
      AddUser(batch, Prefix(items, 5));
      for (int32_t j = 0; j < 5; ++j) {
        batch.candidates.event.push_back(begin + j);
        AddRow(batch, items[j + 1], items[j + 1]);
      }
    }
    return batch;
  };
  EXPECT_GT(LossAfter("relative_bias: true", 400, make), std::log(kItems) - 0.05);
}

TEST(SasRec, SaysEverythingThatItRefusesAtOnce) {
  const auto result = CreateModel(ParseJob(R"(
    table { name: "item" dim: 8 } table { name: "word" dim: 4 }
    feature { name: "item" column: "i" table: "item" source: ITEM }
    feature { name: "tags" column: "t" table: "word" source: ITEM }
    model { sasrec { item_feature: "item" attribute_feature: "tags" layers: 0 heads: 3
                     feed_forward: 0 dropout: 1 embedding_dropout: -1 initial_scale: 0
                     attribute_weight: nan } }
    stage { name: "fit" train { ranking {} } }
    stage { name: "more" train { sampled_softmax { negatives { in_batch {} } } } })"));
  ASSERT_FALSE(result.ok());
  const std::string& text = result.status().message();
  for (const char* part :
       {"model.sasrec.attribute_feature: table 'word' has dim 4, the item's table 8",
        "model.sasrec.attribute_weight: is not a finite number",
        "model.sasrec.layers: there is none", "model.sasrec.heads: 3 heads do not divide the item",
        "model.sasrec.feed_forward: it is 0",
        "model.sasrec.dropout:", "model.sasrec.embedding_dropout:", "model.sasrec.initial_scale:",
        "stage 'fit': a sasrec model trains with sampled_softmax",
        "table 'item': in-batch negatives with log_q need"}) {
    EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' not in:\n" << text;
  }
}

}  // namespace
}  // namespace emporium::models
