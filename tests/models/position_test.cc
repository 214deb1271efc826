// Position towers against tensors made by tests/reference/position.py in float64; what must hold of
// them; and data whose examination of places is known, which they find and a model without does
// not.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "models/registry.h"
#include "tests/models/pointwise_cases.h"

namespace emporium::models {
namespace {

const char* const kDevice = "feature { name: 'device' column: 'device' table: 'device' }";

PointwiseCase CaseOf(const std::string& name, const std::string& model, const std::string& position,
                     bool device) {
  return {name,
          model + " position { column: 'place' " + (device ? "with: 'device' " : "") + position +
              " places: 3 width: 2 }",
          true, device ? kDevice : ""};
}

const char* const kAdditive = "missing_rate: 0 mlp { hidden: 3 }";
const char* const kProduct = "form: PRODUCT mlp { hidden: 3 }";
const char* const kWdl = "wdl { linear_table: 'linear' mlp { hidden: 4 } }";
const PointwiseCase kCases[] = {
    CaseOf("additive_lr", "lr {}", kAdditive, false),
    CaseOf("additive_dnn_device", "dnn { mlp { hidden: 4 } }",
           "missing_rate: 0 mlp { hidden: [4, 3] }", true),
    CaseOf("additive_wdl_device", kWdl, "missing_rate: 0 mlp {}", true),
    CaseOf("product_lr", "lr {}", kProduct, false),
    CaseOf("product_wdl_device", kWdl, kProduct, true),
    CaseOf("product_free", "dnn { mlp { hidden: 4 } }",
           "form: PRODUCT anchor_first: false mlp { hidden: 3 }", true),
};

// The batch of pointwise_cases.h with places, and with the tower's field behind the model's.
Batch PlacedBatch(const TensorFile& file, const PointwiseCase& c) {
  Batch batch = BatchOf(file, c);
  batch.place = file.ints(c.name + "/batch/place");
  const std::string field = c.name + "/batch/field.device.";
  if (!file.has(field + "index")) return batch;
  const auto table = static_cast<int>(TablesOf(file, c).size()) - 1;
  batch.fields.insert(batch.fields.begin() + 4, {"device", Lists(table, file.ints(field + "index"),
                                                                 file.ints(field + "offset"))});
  return batch;
}

bool OfTower(const std::string& parameter) { return parameter.rfind("position.", 0) == 0; }

class Position : public testing::TestWithParam<PointwiseCase> {
 protected:
  const TensorFile file_{"position.bin"};
  const spec::Job job_ = JobOf(file_, GetParam());
  const spec::Train train_ = job_.stage(0).train();
  const Batch batch_ = PlacedBatch(file_, GetParam());
};
INSTANTIATE_TEST_SUITE_P(All, Position, testing::ValuesIn(kCases), CaseName);

TEST_P(Position, LossesGradientsAndScoresEqualPyTorch) {
  ExpectAsInFile(file_, GetParam().name, job_, TablesOf(file_, GetParam()), batch_);
}

TEST_P(Position, ScoresAskNothingOfTheTower) {
  Feed feed = FeedOf(file_, GetParam());
  const std::vector<float> scores = feed.Score(batch_);
  int of_tower = 0;
  for (const DenseParameter& p : feed.model->parameters()) {
    EXPECT_EQ(p.train_only, OfTower(p.name)) << p.name;
    if (!p.train_only) continue;
    ++of_tower;
    std::fill_n(feed.dense.begin() + feed.offsets.at(p.name), p.size, NAN);
  }
  EXPECT_GE(of_tower, 3);
  Batch other = batch_;
  other.place.assign(other.place.size(), 2);
  EXPECT_EQ(feed.Score(other), scores);
  other.place.clear();  // what is scored need not know where it will stand
  EXPECT_EQ(feed.Score(other), scores);
}

TEST_P(Position, OneSampleTrainsAndScoresAlone) {
  Feed feed = FeedOf(file_, GetParam());
  const std::vector<float> scores = feed.Score(batch_);
  for (int32_t b = 0; b < batch_.samples; ++b) {
    const Batch one = Alone(batch_, b);
    EXPECT_NEAR(feed.Score(one)[0], scores[b], 1e-5);
    EXPECT_TRUE(std::isfinite(feed.Train(one, train_).at("loss")));
    for (const float g : feed.Gradients()) ASSERT_TRUE(std::isfinite(g));
  }
}

// Loss and gradients of the model itself where places say nothing: of the same model alone.
void ExpectAsWithoutTower(const PointwiseCase& c, const std::string& model, int32_t place) {
  const TensorFile file("position.bin");
  Feed feed = FeedOf(file, c);
  Feed alone(JobOf(file, {c.name, model}));
  alone.tables = feed.tables;
  for (const DenseParameter& p : alone.model->parameters()) {
    std::copy_n(feed.dense.begin() + feed.offsets.at(p.name), p.size,
                alone.dense.begin() + alone.offsets.at(p.name));
  }
  Batch batch = PlacedBatch(file, c);
  batch.place.assign(batch.place.size(), place);
  const spec::Train train = JobOf(file, c).stage(0).train();
  EXPECT_NEAR(feed.Train(batch, train).at("loss"), alone.Train(batch, train).at("loss"), 1e-6);
  for (size_t t = 0; t < feed.tables.size(); ++t) {
    ExpectNear(feed.tables[t].gradient, alone.tables[t].gradient, 1e-6, c.name);
  }
  for (const DenseParameter& p : feed.model->parameters()) {
    const auto begin = feed.dense_gradient.begin() + feed.offsets.at(p.name);
    std::vector<float> expected(static_cast<size_t>(p.size), 0.0f);
    if (!OfTower(p.name)) {
      std::copy_n(alone.dense_gradient.begin() + alone.offsets.at(p.name), p.size,
                  expected.begin());
    }
    ExpectNear({begin, begin + p.size}, expected, 1e-6, p.name);
  }
}

TEST(PositionTower, APlaceThatIsNotKnownAddsNothing) {
  ExpectAsWithoutTower(kCases[0], "lr {}", 0);
}
TEST(PositionTower, AtTheFirstPlaceAProductIsTheModelAlone) {
  ExpectAsWithoutTower(kCases[3], "lr {}", 1);
}

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// p_seen of one sample, by its loss: label 1 has -log(p_seen sigma(z)).
double SeenOf(Feed& feed, Batch one, const spec::Train& train) {
  one.label = {1};
  one.weight.clear();
  return std::exp(-feed.Train(one, train).at("loss")) / Sigmoid(double{feed.Score(one)[0]});
}

TEST(PositionTower, AProductIsOfBeingSeenAndBeingWanted) {
  const TensorFile file("position.bin");
  const PointwiseCase& c = kCases[5];
  const spec::Train train = JobOf(file, c).stage(0).train();
  Feed feed = FeedOf(file, c);
  for (int32_t b = 0; b < 5; ++b) {
    Batch one = Alone(PlacedBatch(file, c), b);
    const double seen = SeenOf(feed, one, train);
    EXPECT_GT(seen, 0);
    EXPECT_LT(seen, 1);
    // Whatever is wanted is seen as often.
    for (float& x : feed.tables[0].values) x += 0.5f;
    EXPECT_NEAR(SeenOf(feed, one, train), seen, 1e-5);
    one.label = {0};
    const double clicked = seen * Sigmoid(double{feed.Score(one)[0]});
    EXPECT_NEAR(feed.Train(one, train).at("loss"), -std::log(1 - clicked), 1e-5);
  }
}

TEST(PositionTower, HidesAShareOfThePlacesByTheSeed) {
  const auto job = [](const std::string& rate) {
    return ParseJob(R"(
      table { name: "item" dim: 1 } feature { name: "item" column: "item" table: "item" }
      stage { name: "t" train { pointwise {} } }
      model { lr {} position { column: "place" missing_rate: )" +
                    rate + " } }");
  };
  const spec::Train train = job("0").stage(0).train();
  Feed never(job("0")), often(job("0.3"));
  Batch batch;
  batch.samples = 4000;
  const auto samples = static_cast<size_t>(batch.samples);
  batch.fields.push_back({"item", Singles(0, std::vector<int32_t>(samples, 0))});
  batch.label.assign(samples, 0);
  batch.place.assign(samples, 1);
  for (Feed* feed : {&never, &often}) {
    feed->AddTable(1, {0});
    for (float& x : feed->dense) x *= 10;  // but for the bias, which is 0
  }
  const double shown = never.Train(batch, train).at("loss");
  const double hidden = std::log(2.0);
  ASSERT_GT(std::abs(shown - hidden), 0.01);
  const double loss = often.Train(batch, train, 1).at("loss");
  EXPECT_NEAR((loss - shown) / (hidden - shown), 0.3, 0.03);
  EXPECT_EQ(often.Train(batch, train, 1).at("loss"), loss);
  EXPECT_NE(often.Train(batch, train, 2).at("loss"), loss);
  EXPECT_EQ(never.Train(batch, train, 2).at("loss"), shown);
}

// Items that are wanted the more the higher their number, and were mostly shown in the order that
// is the wrong way round; a click needs that the place is seen. Every (item, place, click) is one
// sample that weighs as often as it is to be expected.
constexpr int32_t kItems = 6;
constexpr double kSeen[kItems] = {1, 0.6, 0.4, 0.25, 0.15, 0.1};
double Wanted(int32_t item) { return 0.2 + 0.1 * item; }

Batch Planted() {
  Batch batch;
  std::vector<int32_t> item;
  for (int32_t i = 0; i < kItems; ++i) {
    for (int32_t p = 0; p < kItems; ++p) {
      const double shown = i == p ? 30 : 1;
      const double clicked = kSeen[p] * Wanted(i);
      for (const int label : {0, 1}) {
        item.push_back(i);
        batch.place.push_back(p + 1);
        batch.label.push_back(static_cast<float>(label));
        batch.weight.push_back(static_cast<float>(shown * (label == 1 ? clicked : 1 - clicked)));
      }
    }
  }
  batch.samples = static_cast<int32_t>(item.size());
  batch.fields.push_back({"item", Singles(0, item)});
  return batch;
}

struct Learned {
  std::vector<double> wanted;  // by item, sigma of its score
  std::vector<double> seen;    // by place; of a PRODUCT
};

Learned Learn(const std::string& position) {
  const spec::Job job = ParseJob(R"(
    table { name: "item" dim: 1 } feature { name: "item" column: "item" table: "item" }
    stage { name: "t" train { pointwise {} } } model { lr {} )" +
                                 position + "}");
  const spec::Train train = job.stage(0).train();
  Feed feed(job);
  feed.AddTable(1, std::vector<float>(kItems, 0));
  const Batch batch = Planted();
  for (uint64_t step = 0; step < 6000; ++step) {
    feed.Train(batch, train, step);
    feed.Descend(1.0f);
  }
  Learned learned;
  for (int32_t i = 0; i < kItems; ++i) {
    Batch one = Alone(batch, 2 * i);  // the first item at place i + 1
    if (position.find("PRODUCT") != std::string::npos) {
      learned.seen.push_back(SeenOf(feed, one, train));
    }
    one.fields[0].rows.index = {i};
    learned.wanted.push_back(Sigmoid(double{feed.Score(one)[0]}));
  }
  return learned;
}

TEST(PlantedExamination, IsFoundByTheProduct) {
  const Learned learned = Learn("position { column: 'place' form: PRODUCT }");
  for (int32_t i = 0; i < kItems; ++i) {
    EXPECT_NEAR(learned.seen[i], kSeen[i], 0.02) << "place " << i + 1;
    EXPECT_NEAR(learned.wanted[i], Wanted(i), 0.02) << "item " << i;
  }
}

TEST(PlantedExamination, RanksItemsWronglyUnlessATowerStandsBeside) {
  const auto rises = [](const Learned& learned) {
    return std::is_sorted(learned.wanted.begin(), learned.wanted.end());
  };
  EXPECT_TRUE(rises(Learn("position { column: 'place' form: PRODUCT }")));
  EXPECT_TRUE(rises(Learn("position { column: 'place' missing_rate: 0 }")));
  const Learned alone = Learn("");
  EXPECT_TRUE(std::is_sorted(alone.wanted.rbegin(), alone.wanted.rend()));
}

TEST(CreateModel, SaysWhatAPositionTowerRefuses) {
  const auto refusal = [](const std::string& position, const std::string& tasks = "") {
    const auto made = CreateModel(ParseJob(R"(
      table { name: "a" dim: 1 slot { name: "n" } }
      feature { name: "x" column: "x" table: "a" } feature { name: "p" column: "p" }
      feature { name: "past" column: "x" table: "a" source: HISTORY }
      feature { name: "s" column: "x" table: "a" slot_input { slot: "n" } }
      model { lr { feature: "x" } position { )" +
                                           position + " } } " + tasks));
    return made.ok() ? "accepted" : made.status().message();
  };
  const auto says = [](const std::string& part) { return testing::HasSubstr(part); };
  EXPECT_EQ(refusal("column: 'p' with: 'p2'"),
            "model.position.with: there is no feature 'p2'; add it or correct the name");
  EXPECT_EQ(refusal("column: 'p'"), "accepted");
  EXPECT_THAT(refusal(""), says("model.position.column: there is none"));
  EXPECT_THAT(refusal("column: 'p' with: 'past'"), says("'past' has source HISTORY; set source"));
  EXPECT_THAT(refusal("column: 'p' with: 'p'"), says("'p' names no table"));
  EXPECT_THAT(refusal("column: 'p' with: 's'"), says("'s' has slot_input"));
  EXPECT_THAT(refusal("column: 'p' with: 'x'"), says("feature 'x' enters twice"));
  EXPECT_THAT(refusal("column: 'p' places: 0"), says("model.position.places: 0 is outside"));
  EXPECT_THAT(refusal("column: 'p' width: 0"), says("model.position.width: a place's vector"));
  EXPECT_THAT(refusal("column: 'p' missing_rate: 1"), says("model.position.missing_rate:"));
  EXPECT_THAT(refusal("column: 'p' form: PRODUCT missing_rate: 0.1"), says("hides no places"));
  EXPECT_THAT(refusal("column: 'p' anchor_first: true"), says("it is for form PRODUCT"));
  EXPECT_THAT(refusal("column: 'p' mlp { hidden: 0 }"), says("model.position.mlp.hidden"));
  for (const char* option : {"batch_norm: true", "dropout: 0.1", "activation: DICE"}) {
    EXPECT_THAT(refusal("column: 'p' mlp { hidden: 2 " + std::string(option) + " }"),
                says("model.position.mlp: the tower's answers"));
  }
  EXPECT_THAT(refusal("column: 'p' form: PRODUCT", "task { name: 't' kind: LOG1P }"),
              says("the task is not BINARY"));
  EXPECT_THAT(refusal("column: 'p'", "task { name: 't' } task { name: 'u' }"),
              says("model.position: a position tower is of one task"));
}

}  // namespace
}  // namespace emporium::models
