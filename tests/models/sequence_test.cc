// The models over sequences against tensors made by tests/reference/sequence.py and scenario.py in
// float64, and what must hold of each of them.
#include <cmath>

#include "models/metrics.h"
#include "tests/models/pointwise_cases.h"

namespace emporium::models {
namespace {

struct SequenceCase {
  std::string name;   // in the tensor file
  std::string model;  // of the job
  std::string options;
};
std::string Name(const testing::TestParamInfo<SequenceCase>& info) { return info.param.name; }

const SequenceCase kCases[] = {
    {"din", "din", "attention { hidden: 4 } mlp { hidden: 3 }"},
    {"din_softmax", "din",
     "softmax: true attention { hidden: [4, 3] activation: PRELU } mlp { hidden: 3 }"},
    {"din_dice", "din",
     "attention { hidden: 4 batch_norm: true activation: DICE } mlp { hidden: 3 activation: DICE "
     "}"},
    {"din_linear", "din", "attention {} mlp {}"},
    {"bst", "bst", "encoder { blocks: 2 heads: 2 } mlp { hidden: 3 }"},
    {"bst_mean", "bst",
     "encoder { heads: 1 feed_forward: 3 } position_width: 2 output: MEAN "
     "mlp { hidden: 3 activation: LEAKY_RELU }"},
    {"bst_sum", "bst",
     "encoder { blocks: 2 heads: 4 } position_width: 0 output: SUM mlp { hidden: 3 }"},
    {"bst_flatten", "bst",
     "encoder { heads: 2 layer_norm: false } position_width: 1 output: FLATTEN mlp { hidden: 3 }"},
    {"bst_din", "bst_din",
     "encoder { blocks: 2 heads: 2 } attention { hidden: 4 } mlp { hidden: 3 }"},
    {"bst_din_target", "bst_din",
     "encoder { heads: 3 } attention { hidden: 4 } softmax: true summary: TARGET "
     "mlp { hidden: 3 }"},
    {"bst_din_bare", "bst_din",
     "encoder { heads: 1 layer_norm: false } positions: false attention {} mlp { hidden: 3 }"},
    {"sfpnet", "sfpnet",
     "gate_width: 3 residual { hidden: 3 } attention { hidden: 4 } mlp { hidden: 3 }"},
    {"sfpnet_open", "sfpnet",
     "blocks: 1 gate_width: 3 residual {} attention {} softmax: true stop_gradient: false "
     "mlp { hidden: 3 }"},
    {"sfpnet_mean", "sfpnet",
     "gate_width: 2 residual { hidden: [3, 2] activation: SILU } spread: false "
     "attention { hidden: 2 } mlp {}"},
    {"sfpnet_no_gates", "sfpnet",
     "blocks: 1 residual { hidden: 2 } attention { hidden: 2 } adaptive: false mlp { hidden: 3 }"},
    {"sfpnet_no_residual", "sfpnet",
     "blocks: 1 gate_width: 3 attention { hidden: 2 } tailoring: false mlp { hidden: 3 }"},
};

class Sequence : public testing::TestWithParam<SequenceCase> {
 protected:
  const std::string& name() const { return GetParam().name; }
  std::vector<std::string> Tables() const {
    std::vector<std::string> tables = {"profile", "item"};
    if (file_.has(name() + "/rows/kind")) tables.emplace_back("kind");
    return tables;
  }
  spec::Job MakeJob() const {
    std::string text = "name: \"reference\" ";
    std::string pairs;
    for (const std::string& table : Tables()) {
      text += "table { name: \"" + table +
              "\" dim: " + std::to_string(file_.at(name() + "/rows/" + table).shape[1]) + " } ";
      text += "feature { name: \"" + table + "\" column: \"a\" table: \"" + table + "\" } ";
      if (table == "profile") continue;
      text += "feature { name: \"past_" + table + "\" column: \"b\" table: \"" + table +
              "\" source: HISTORY } ";
      pairs += "pair { target: \"" + table + "\" history: \"past_" + table + "\" } ";
    }
    return ParseJob(text + R"(data { history { max_length: 5 }
                                      scenario { column: "s" value: "a" value: "b" value: "c" } }
                    feature { name: "x" column: "x" } feature { name: "y" column: "y" }
                    stage { name: "train" train { pointwise {} } } model { )" +
                    GetParam().model + " { " + pairs + GetParam().options + " } }");
  }
  Batch MakeBatch() const {
    const std::string p = name() + "/batch/";
    Batch batch;
    batch.label = file_.floats(p + "label");
    batch.samples = static_cast<int32_t>(batch.label.size());
    batch.weight = file_.floats(p + "weight");
    if (file_.has(p + "scenario")) batch.scenario = file_.ints(p + "scenario");
    batch.dense = file_.floats(p + "dense");
    batch.dense_width = 2;
    const std::vector<std::string> tables = Tables();
    for (size_t t = 0; t < tables.size(); ++t) {
      batch.fields.push_back(
          {tables[t], Singles(static_cast<int>(t), file_.ints(p + "one." + tables[t]))});
    }
    for (size_t t = 1; t < tables.size(); ++t) {
      batch.fields.push_back(
          {"past_" + tables[t], Lists(static_cast<int>(t), file_.ints(p + "events." + tables[t]),
                                      file_.ints(p + "offset"))});
    }
    return batch;
  }
  Feed MakeFeed() const { return FeedOf(file_, name(), job_, Tables()); }
  static void DropHistories(Batch* batch) {
    for (FieldColumn& field : batch->fields) {
      if (!field.feature.starts_with("past_")) continue;
      field.rows.index.clear();
      std::fill(field.rows.offset.begin(), field.rows.offset.end(), 0);
    }
  }

  const TensorFile file_{GetParam().model == "sfpnet" ? "scenario.bin" : "sequence.bin"};
  const spec::Job job_ = MakeJob();
  const spec::Train train_ = job_.stage(0).train();
  const Batch batch_ = MakeBatch();
};
INSTANTIATE_TEST_SUITE_P(All, Sequence, testing::ValuesIn(kCases), Name);

TEST_P(Sequence, LossesGradientsAndScoresEqualPyTorch) {
  ExpectAsInFile(file_, name(), job_, Tables(), batch_);
}

// One sample has as many places as it has events, a batch as many as its longest: so padding does
// not show.
TEST_P(Sequence, OneSampleScoresAloneAsInABatch) {
  Feed feed = MakeFeed();
  const std::vector<float> scores = feed.Score(batch_);
  for (int32_t b = 0; b < batch_.samples; ++b) {
    EXPECT_NEAR(feed.Score(Alone(batch_, b))[0], scores[b], 1e-5);
  }
}

// Neighbours with the same events share what depends on the events alone; the same samples in an
// order in which neighbours differ share nothing.
TEST_P(Sequence, SharedHistoriesChangeNothing) {
  const std::vector<int32_t> histories = {0, 0, 0, 1, 1, 1, 3, 3, 3};
  Batch together = Selected(batch_, histories);
  const Batch targets = Selected(batch_, {0, 1, 2, 3, 0, 1, 2, 3, 0});
  for (size_t f = 0; f < together.fields.size(); ++f) {
    if (!together.fields[f].feature.starts_with("past_")) together.fields[f] = targets.fields[f];
  }
  const std::vector<int32_t> order = {0, 3, 6, 1, 4, 7, 2, 5, 8};
  const Batch apart = Selected(together, order);
  Feed sharing = MakeFeed();
  Feed plain = MakeFeed();
  const std::vector<float> scores = sharing.Score(together);
  const std::vector<float> twins = plain.Score(apart);
  for (size_t i = 0; i < order.size(); ++i) {
    EXPECT_NEAR(twins[i], scores[static_cast<size_t>(order[i])], 1e-5) << i;
  }
  EXPECT_GT(std::abs(scores[0] - scores[1]), 1e-5);  // targets differ, so do scores
  EXPECT_NEAR(sharing.Train(together, train_).at("loss"), plain.Train(apart, train_).at("loss"),
              1e-6);
  ExpectNear(sharing.Gradients(), plain.Gradients(), 1e-5, "gradients");
}

TEST_P(Sequence, OneSampleTrains) {
  for (int32_t b = 0; b < batch_.samples; ++b) {
    Feed feed = MakeFeed();
    const auto terms = feed.Train(Alone(batch_, b), train_);
    EXPECT_TRUE(std::isfinite(terms.at("loss")));
    for (const float g : feed.Gradients()) ASSERT_TRUE(std::isfinite(g));
  }
}

TEST_P(Sequence, HistoriesMayAllBeEmpty) {
  Batch batch = batch_;
  DropHistories(&batch);
  Feed feed = MakeFeed();
  const std::vector<float> scores = feed.Score(batch);
  const std::vector<float> whole = feed.Score(batch_);
  // The second sample has no history, so its score is the same; the others' are not.
  EXPECT_NEAR(scores[1], whole[1], 1e-5);
  EXPECT_GT(std::abs(scores[3] - whole[3]), 1e-4);
  feed.Train(batch, train_);
  for (const float g : feed.Gradients()) ASSERT_TRUE(std::isfinite(g));
}

TEST_P(Sequence, SavedAndLoadedScoresTheSameBits) {
  Feed trained = MakeFeed();
  trained.Train(batch_, train_);
  trained.Descend(0.1f);
  Feed loaded(job_);
  loaded.dense = trained.dense;
  loaded.tables = trained.tables;
  EXPECT_EQ(loaded.Score(batch_), trained.Score(batch_));
}

TEST_P(Sequence, SeedsDecideTheStart) {
  spec::Job other = job_;
  other.set_seed(2);
  const Feed a(job_), b(job_), c(other);
  EXPECT_EQ(a.dense, b.dense);
  EXPECT_NE(a.dense, c.dense);
}

TEST_P(Sequence, DescentLearnsTheLabels) {
  Feed feed = MakeFeed();
  const double first = feed.Train(batch_, train_).at("loss");
  double last = first;
  for (int i = 0; i < 400; ++i) {
    feed.Descend(0.1f);
    last = feed.Train(batch_, train_).at("loss");
  }
  EXPECT_LT(last, 0.75 * first);
}

TEST(Bst, PositionsStartAsSinusoids) {
  Feed feed(ParseJob(R"(table { name: "t" dim: 4 } feature { name: "a" column: "a" table: "t" }
      feature { name: "h" column: "h" table: "t" max_length: 3 }
      model { bst { pair { target: "a" history: "h" } encoder { heads: 2 } } })"));
  const float* p = feed.dense.data() + feed.offsets.at("position");
  EXPECT_EQ(feed.model->parameters()[0].shape, (std::vector<int64_t>{4, 4}));
  for (int i = 0; i < 4; ++i) {
    for (int k = 0; k < 2; ++k) {
      const double angle = i * std::pow(10000.0, -2 * k / 4.0);
      EXPECT_NEAR(p[4 * i + 2 * k], std::sin(angle), 1e-6);
      EXPECT_NEAR(p[4 * i + 2 * k + 1], std::cos(angle), 1e-6);
    }
  }
}

// Each event is a key and a sign; the label is the sign of the event with the target's key. Who
// sees only the mean of the events knows how many signs are positive, not whose.
TEST(TargetAttention, FindsTheEventThatMatters) {
  constexpr int kKeys = 12, kDim = 8, kEvents = 6, kSamples = 400;
  const auto job = [](const std::string& model) {
    return ParseJob(
        "table { name: \"t\" dim: 8 } feature { name: \"a\" column: \"a\" table: \"t\" }"
        "feature { name: \"h\" column: \"h\" table: \"t\" }"
        "stage { name: \"train\" train { pointwise {} } } model { " +
        model + " }");
  };
  Random random(5);
  std::vector<float> rows;  // key k alone, with + and with -
  for (int k = 0; k < kKeys; ++k) {
    std::vector<float> key;
    float length = 0;
    for (int i = 0; i + 1 < kDim; ++i) {
      key.push_back(random.Normal());
      length += key.back() * key.back();
    }
    for (const float sign : {0.0f, 1.0f, -1.0f}) {
      for (const float x : key) rows.push_back(x / std::sqrt(length));
      rows.push_back(sign);
    }
  }
  const auto make_batch = [&random] {
    Batch batch;
    batch.samples = kSamples;
    std::vector<int32_t> target, events, offset{0};
    for (int b = 0; b < kSamples; ++b) {
      std::vector<int32_t> keys(kKeys);
      for (int k = 0; k < kKeys; ++k) keys[k] = k;
      for (int e = 0; e < kEvents; ++e) {
        std::swap(keys[e], keys[e + random.Next() % (kKeys - e)]);
        events.push_back(3 * keys[e] + 1 + static_cast<int32_t>(random.Next() % 2));
      }
      const int32_t of_target = events[events.size() - 1 - random.Next() % kEvents];
      target.push_back(of_target / 3 * 3);
      batch.label.push_back(of_target % 3 == 1 ? 1 : 0);
      offset.push_back(static_cast<int32_t>(events.size()));
    }
    batch.fields = {{"a", Singles(0, target)}, {"h", Lists(0, events, offset)}};
    return batch;
  };
  const Batch train = make_batch();
  const Batch test = make_batch();
  const auto auc = [&](const std::string& model) {
    Feed feed(job(model));
    feed.AddTable(kDim, rows);
    for (int i = 0; i < 500; ++i) {
      feed.Train(train, job(model).stage(0).train());
      feed.DescendByAdam(0.01f);
    }
    return *Auc(feed.Score(test), test.label);
  };
  EXPECT_GT(
      auc("din { pair { target: \"a\" history: \"h\" } attention { hidden: 8 activation: SILU } "
          "mlp { hidden: 8 activation: SILU } }"),
      0.95);
  EXPECT_LT(auc("dnn { mlp { hidden: [8, 8] activation: SILU } }"), 0.8);
}

TEST(CreateModel, SequenceModelsSayWhatTheyRefuse) {
  const auto refusal = [](const std::string& model) {
    const auto made = CreateModel(ParseJob(R"(
        table { name: "t" dim: 4 } table { name: "u" dim: 4 }
        feature { name: "a" column: "a" table: "t" } feature { name: "s" column: "a" table: "t" salt: 1 }
        feature { name: "h" column: "h" table: "t" source: HISTORY }
        feature { name: "o" column: "o" table: "u" source: HISTORY } model { )" +
                                           model + " }"));
    return made.ok() ? "accepted" : made.status().message();
  };
  const auto expect = [&](const std::string& model, const std::string& part) {
    EXPECT_NE(refusal(model).find(part), std::string::npos) << refusal(model);
  };
  const std::string pair = "pair { target: 'a' history: 'h' } ";
  EXPECT_EQ(refusal("din { " + pair + "}"), "accepted");
  EXPECT_EQ(refusal("bst { " + pair + "}"), "accepted");
  EXPECT_EQ(refusal("bst_din { " + pair + "encoder { heads: 4 } }"), "accepted");
  expect("din {}", "model.din.pair: there is none");
  expect("din { pair { target: 'x' history: 'h' } }",
         "model.din.pair[0].target: there is no featu");
  expect("din { pair { target: 'h' history: 'h' } }",
         "target: feature 'h' has source HISTORY; set");
  expect("din { pair { target: 'a' history: 'o' } }", "pair[0]: features 'a' and 'o' do not share");
  expect("din { pair { target: 's' history: 'h' } }", "pair[0]: features 's' and 'h' do not share");
  expect("din { " + pair + "mlp { hidden: 0 } }", "model.din.mlp.hidden: a layer of width 0");
  expect("din { " + pair + "attention { dropout: 1 } }", "model.din.attention.dropout:");
  expect("bst { " + pair + "position_width: 1 }",
         "bst.encoder.heads: 8 heads do not divide the seq");
  expect("bst { " + pair + "encoder { blocks: 0 } }", "model.bst.encoder.blocks: there is none");
  expect("bst_din { " + pair + "}",
         "bst_din.encoder.heads: 8 heads do not divide the sequence's w");
  expect("bst_din { " + pair + "encoder { dropout: 2 } }", "model.bst_din.encoder.dropout:");
}

}  // namespace
}  // namespace emporium::models
