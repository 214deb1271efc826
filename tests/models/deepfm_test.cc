// DeepFM against tensors made by tests/reference/deepfm.py in float64, and its own properties.
#include <gtest/gtest.h>

#include "tests/models/feed.h"
#include "tests/models/tensor_file.h"

namespace emporium::models {
namespace {

constexpr const char* kTables[] = {"a", "b", "words", "linear"};

struct Case {
  std::string name;
  std::string pooling;
  std::string model;
  bool dense = false;
};

const Case kCases[] = {
    {"full", "MEAN", "linear_table: \"linear\" hidden: [5, 3]", true},
    {"mlp", "SQRT_N", "fm: false hidden: 5", true},
    {"fm", "SUM", "linear_table: \"linear\"", false},
};

spec::Job JobOf(const Case& c) {
  std::string text = R"(
    name: "reference"
    table { name: "a" dim: 4 } table { name: "b" dim: 4 } table { name: "words" dim: 4 }
    table { name: "linear" dim: 1 }
    feature { name: "f0" column: "f0" table: "a" } feature { name: "f1" column: "f1" table: "a" }
    feature { name: "f2" column: "f2" table: "b" }
    feature { name: "f3" column: "f3" table: "words" pooling: )" +
                     c.pooling + " }";
  if (c.dense)
    text += "feature { name: \"x\" column: \"x\" } feature { name: \"y\" column: \"y\" }";
  return ParseJob(text + "model { deepfm { " + c.model +
                  " } } stage { name: \"train\" train { pointwise {} } }");
}

Batch BatchOf(const TensorFile& file, const Case& c) {
  const std::string p = c.name + "/batch/";
  Batch batch;
  batch.label = file.floats(p + "label");
  batch.samples = static_cast<int32_t>(batch.label.size());
  batch.weight = file.floats(p + "weight");
  batch.dense = file.floats(p + "dense");
  batch.dense_width = c.dense ? 2 : 0;
  constexpr int kTableOf[] = {0, 0, 1, 2};
  constexpr int kLinearStart[] = {0, 0, 5, 12};
  for (int f = 0; f < 4; ++f) {
    const std::string name = "f" + std::to_string(f);
    batch.fields.push_back({name, Lists(kTableOf[f], file.ints(p + "field." + name + ".index"),
                                        file.ints(p + "field." + name + ".offset"))});
  }
  if (c.model.find("linear_table") == std::string::npos) return batch;
  for (int f = 0; f < 4; ++f) {
    FieldColumn column = batch.fields[f];
    column.rows.table = TableId(3);
    for (int32_t& row : column.rows.index) row += kLinearStart[f];
    batch.fields.push_back(column);
  }
  return batch;
}

TEST(DeepFm, LossesGradientsAndScoresEqualPyTorch) {
  const TensorFile file("deepfm.bin");
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    const spec::Job job = JobOf(c);
    Feed feed(job);
    for (const char* table : kTables) {
      const NamedTensor& rows = file.at(c.name + "/rows/" + table);
      feed.AddTable(static_cast<int32_t>(rows.shape[1]), rows.values);
    }
    ASSERT_EQ(file.names(c.name + "/dense/").size(), feed.model->parameters().size());
    for (const DenseParameter& parameter : feed.model->parameters()) {
      const NamedTensor& values = file.at(c.name + "/dense/" + parameter.name);
      ASSERT_EQ(values.shape, parameter.shape) << parameter.name;
      std::copy(values.values.begin(), values.values.end(),
                feed.dense.begin() + feed.offsets[parameter.name]);
    }
    const Batch batch = BatchOf(file, c);
    const auto terms = feed.Train(batch, job.stage(0).train());
    const double expected = file.floats(c.name + "/loss/loss")[0];
    EXPECT_NEAR(terms.at("loss"), expected, 1e-6);
    EXPECT_NEAR(terms.at("bce"), expected, 1e-6);
    for (const DenseParameter& parameter : feed.model->parameters()) {
      const auto begin = feed.dense_gradient.begin() + feed.offsets[parameter.name];
      ExpectNear(std::vector<float>(begin, begin + parameter.size),
                 file.floats(c.name + "/dense_gradient/" + parameter.name), 1e-5, parameter.name);
    }
    for (size_t t = 0; t < std::size(kTables); ++t) {
      ExpectNear(feed.tables[t].gradient, file.floats(c.name + "/row_gradient/" + kTables[t]), 1e-5,
                 kTables[t]);
    }
    ExpectNear(feed.Score(batch), file.floats(c.name + "/logits"), 1e-5, "logits");
  }
}

// More than one block of output rows, every sample different.
Batch ManySamples(int32_t samples) {
  Random random(5);
  Batch batch;
  batch.samples = samples;
  batch.dense_width = 2;
  for (int32_t b = 0; b < samples; ++b) {
    batch.label.push_back(random.Uniform() < 0.5f ? 1 : 0);
    batch.dense.push_back(random.Normal());
    batch.dense.push_back(random.Normal());
  }
  for (int f = 0; f < 4; ++f) {
    std::vector<int32_t> index;
    for (int32_t b = 0; b < samples; ++b) index.push_back(static_cast<int32_t>(random.Next() % 5));
    batch.fields.push_back({"f" + std::to_string(f), Singles(f == 3 ? 2 : f / 2, index)});
  }
  return batch;
}

Feed SmallFeed(uint64_t seed, const std::string& model) {
  spec::Job job = JobOf({"", "MEAN", model, true});
  job.set_seed(seed);
  Feed feed(job);
  for (uint64_t t = 0; t < 3; ++t) feed.AddRandomTable(7, 4, 40 + t);
  return feed;
}

TEST(DeepFm, SampleScoresAloneAsInABatch) {
  Feed feed = SmallFeed(1, "hidden: 5");
  const Batch all = ManySamples(150);
  const std::vector<float> scores = feed.Score(all);
  for (int32_t b : {0, 63, 64, 149}) {
    Batch one;
    one.samples = 1;
    one.dense_width = 2;
    one.dense = {all.dense[2 * b], all.dense[2 * b + 1]};
    one.label = {all.label[b]};
    for (const FieldColumn& field : all.fields) {
      one.fields.push_back(
          {field.feature, Singles(field.rows.table.value(), {field.rows.index[b]})});
    }
    EXPECT_NEAR(feed.Score(one)[0], scores[b], 1e-5);
  }
}

TEST(DeepFm, SeedsDecideBits) {
  const spec::Train train = JobOf(kCases[0]).stage(0).train();
  const Batch batch = ManySamples(70);
  const std::string model = "hidden: 16 dropout: 0.5";
  Feed a = SmallFeed(1, model), b = SmallFeed(1, model), other = SmallFeed(2, model);
  EXPECT_EQ(a.dense, b.dense);
  EXPECT_NE(a.dense, other.dense);
  a.Train(batch, train, 7);
  b.Train(batch, train, 7);
  EXPECT_EQ(a.Gradients(), b.Gradients());
  b.Train(batch, train, 8);  // another dropout
  EXPECT_NE(a.Gradients(), b.Gradients());
}

TEST(DeepFm, NamesTheTermThatIsNotFinite) {
  Feed feed = SmallFeed(1, "hidden: 5");
  feed.tables[0].values[0] = INFINITY;
  const auto result =
      feed.model->Train(ManySamples(70), feed.rows(), {feed.dense, feed.dense_gradient},
                        JobOf(kCases[0]).stage(0).train(), 1);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(result.status().message().find("'bce'"), std::string::npos);
}

TEST(DeepFm, DescentLearnsTheLabels) {
  Feed feed = SmallFeed(1, "hidden: 8");
  const Batch batch = ManySamples(60);
  const spec::Train train = JobOf(kCases[0]).stage(0).train();
  const double first = feed.Train(batch, train).at("loss");
  double last = first;
  for (int i = 0; i < 200; ++i) {
    feed.Descend(0.5f);
    last = feed.Train(batch, train).at("loss");
  }
  EXPECT_LT(last, 0.5 * first);
}

}  // namespace
}  // namespace emporium::models
