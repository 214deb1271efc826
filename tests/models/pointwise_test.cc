// The models that score samples against tensors made by tests/reference/pointwise.py in float64,
// and what must hold of each of them.
#include <cmath>

#include "models/registry.h"
#include "tests/models/pointwise_cases.h"

namespace emporium::models {
namespace {

const char* const kFile = "pointwise.bin";

const PointwiseCase kCases[] = {
    {"lr", "lr {}"},
    {"fm", "fm { linear_table: 'linear' }"},
    {"dnn", "dnn { mlp { hidden: [4, 3] } }"},
    {"dnn_norm", "dnn { mlp { hidden: [4, 3] batch_norm: true } }"},
    {"dnn_dice", "dnn { mlp { hidden: 4 activation: DICE } }", false},
    {"dnn_leaky_relu", "dnn { mlp { hidden: 4 activation: LEAKY_RELU } }", false},
    {"dnn_prelu", "dnn { mlp { hidden: 4 activation: PRELU } }", false},
    {"dnn_gelu", "dnn { mlp { hidden: 4 activation: GELU } }", false},
    {"dnn_silu", "dnn { mlp { hidden: 4 activation: SILU } }", false},
    {"dnn_sigmoid", "dnn { mlp { hidden: 4 activation: SIGMOID } }", false},
    {"wdl", "wdl { linear_table: 'linear' mlp { hidden: 4 } }"},
    {"deepfm_norm", "deepfm { linear_table: 'linear' mlp { hidden: 4 batch_norm: true } }"},
    {"dcn_cross_only", "dcn { layers: 2 structure: CROSS_ONLY }"},
    {"dcn_stacked", "dcn { layers: 1 mlp { hidden: 3 } }"},
    {"dcn_v2_cross_only", "dcn_v2 { layers: 2 structure: CROSS_ONLY }"},
    {"dcn_v2_parallel",
     "dcn_v2 { layers: 2 structure: PARALLEL mlp { hidden: [4, 3] batch_norm: true } }"},
    {"dcn_v2_both", "dcn_v2 { layers: 1 structure: STACKED_PARALLEL mlp { hidden: 3 } }"},
    {"dcn_mix", "dcn_mix { layers: 2 rank: 2 experts: 3 mlp { hidden: 3 } }"},
    {"dcn_mix_gates",
     "dcn_mix { layers: 2 rank: 2 experts: 2 structure: PARALLEL gate_per_layer: true tanh: false "
     "mlp { hidden: 3 } }"},
};

class Pointwise : public testing::TestWithParam<PointwiseCase> {
 protected:
  const TensorFile file_{kFile};
  const spec::Job job_ = JobOf(file_, GetParam());
  const spec::Train train_ = job_.stage(0).train();
  const Batch batch_ = BatchOf(file_, GetParam());
};
INSTANTIATE_TEST_SUITE_P(All, Pointwise, testing::ValuesIn(kCases), CaseName);

TEST_P(Pointwise, LossesGradientsAndScoresEqualPyTorch) { ExpectAsInFile(file_, GetParam()); }

TEST_P(Pointwise, OneSampleScoresAloneAsInABatch) {
  Feed feed = FeedOf(file_, GetParam());
  const std::vector<float> scores = feed.Score(batch_);
  for (int32_t b = 0; b < batch_.samples; ++b) {
    EXPECT_NEAR(feed.Score(Alone(batch_, b))[0], scores[b], 1e-5);
  }
}

TEST_P(Pointwise, OneSampleTrains) {
  Feed feed = FeedOf(file_, GetParam());
  const auto terms = feed.Train(Alone(batch_, 0), train_);
  EXPECT_TRUE(std::isfinite(terms.at("loss")));
  for (const float g : feed.Gradients()) ASSERT_TRUE(std::isfinite(g));
}

TEST_P(Pointwise, EmptyFieldsAreZeros) {
  Batch batch = batch_;
  for (FieldColumn& field : batch.fields) {
    field.rows.index.clear();
    std::fill(field.rows.offset.begin(), field.rows.offset.end(), 0);
  }
  Feed feed = FeedOf(file_, GetParam());
  for (const float score : feed.Score(batch)) EXPECT_TRUE(std::isfinite(score));
  feed.Train(batch, train_);
  for (const Feed::Table& table : feed.tables) {
    for (const float g : table.gradient) ASSERT_EQ(g, 0);
  }
}

TEST_P(Pointwise, SavedAndLoadedScoresTheSameBits) {
  Feed trained = FeedOf(file_, GetParam());
  trained.Train(batch_, train_);
  trained.Descend(0.1f);
  Feed loaded(job_);
  loaded.dense = trained.dense;
  loaded.tables = trained.tables;
  EXPECT_EQ(loaded.Score(batch_), trained.Score(batch_));
}

TEST_P(Pointwise, SeedsDecideTheStart) {
  spec::Job other = job_;
  other.set_seed(2);
  const Feed a(job_), b(job_), c(other);
  EXPECT_EQ(a.dense, b.dense);
  // Logistic regression and factorisation machines start from zeros, whatever the seed.
  const bool zeros = job_.model().has_lr() || job_.model().has_fm();
  EXPECT_EQ(a.dense == c.dense, zeros);
}

TEST_P(Pointwise, DescentLearnsTheLabels) {
  Feed feed = FeedOf(file_, GetParam());
  const double first = feed.Train(batch_, train_).at("loss");
  double last = first;
  for (int i = 0; i < 300; ++i) {
    feed.Descend(0.2f);
    last = feed.Train(batch_, train_).at("loss");
  }
  EXPECT_LT(last, 0.5 * first);
}

// With one expert and no tanh, dcn_mix is dcn_v2 with W = U C V^T.
TEST(DcnMix, OneExpertWithoutTanhIsDcnV2) {
  const TensorFile file(kFile);
  const std::string rest = " layers: 2 structure: PARALLEL mlp { hidden: 3 } }";
  const PointwiseCase mixed_case = {"dcn_mix", "dcn_mix { rank: 3 experts: 1 tanh: false" + rest};
  const PointwiseCase matrix_case = {"dcn_mix", "dcn_v2 {" + rest};
  Feed mixed(JobOf(file, mixed_case)), matrix(JobOf(file, matrix_case));
  for (Feed* feed : {&mixed, &matrix}) {
    for (const std::string& table : TablesOf(file, mixed_case)) {
      const NamedTensor& rows = file.at("dcn_mix/rows/" + table);
      feed->AddTable(static_cast<int32_t>(rows.shape[1]), rows.values);
    }
  }
  Random random(3);
  for (float& x : mixed.dense) x += 0.3f * random.Normal();
  const auto at = [](Feed& feed, const std::string& name) {
    return feed.dense.data() + feed.offsets.at(name);
  };
  const int64_t d = mixed.model->parameters()[0].shape[1];
  constexpr int64_t kRank = 3;
  for (const DenseParameter& p : matrix.model->parameters()) {
    if (mixed.offsets.count(p.name) > 0) {
      std::copy_n(at(mixed, p.name), p.size, at(matrix, p.name));
      continue;
    }
    const std::string layer = p.name.substr(0, p.name.rfind('.') + 1);  // its weight
    ASSERT_EQ(p.size, d * d) << p.name;
    for (int64_t i = 0; i < d; ++i) {
      for (int64_t j = 0; j < d; ++j) {
        double sum = 0;
        for (int64_t k = 0; k < kRank * kRank; ++k) {
          sum += double{at(mixed, layer + "u")[i * kRank + k / kRank]} * at(mixed, layer + "c")[k] *
                 at(mixed, layer + "v")[k % kRank * d + j];
        }
        at(matrix, p.name)[i * d + j] = static_cast<float>(sum);
      }
    }
  }
  const Batch batch = BatchOf(file, mixed_case);
  ExpectNear(mixed.Score(batch), matrix.Score(batch), 1e-5, "logits");
}

// A step towards the batches' statistics, and only those, moves them: after many steps of gradient
// (value - batch) they are the batch's, and scoring normalises as training does.
TEST(BatchNorm, RunningStatisticsFollowTheBatch) {
  const TensorFile file(kFile);
  const PointwiseCase c = {"dnn_norm", "dnn { mlp { hidden: [4, 3] batch_norm: true } }"};
  Feed feed = FeedOf(file, c);
  const Batch batch = BatchOf(file, c);
  const spec::Train train = JobOf(file, c).stage(0).train();
  for (int step = 0; step < 200; ++step) {
    feed.Train(batch, train);
    for (const DenseParameter& p : feed.model->parameters()) {
      if (!p.statistic) continue;
      const int64_t at = feed.offsets.at(p.name);
      for (int64_t i = at; i < at + p.size; ++i) feed.dense[i] -= 0.1f * feed.dense_gradient[i];
    }
  }
  feed.Train(batch, train);
  for (const DenseParameter& p : feed.model->parameters()) {
    if (!p.statistic) continue;
    const int64_t at = feed.offsets.at(p.name);
    for (int64_t i = at; i < at + p.size; ++i) EXPECT_NEAR(feed.dense_gradient[i], 0, 1e-5);
  }
}

TEST(BatchNorm, ABatchOfOneLeavesTheVarianceAlone) {
  const TensorFile file(kFile);
  const PointwiseCase c = {"dnn_norm", "dnn { mlp { hidden: [4, 3] batch_norm: true } }"};
  Feed feed = FeedOf(file, c);
  feed.Train(Alone(BatchOf(file, c), 0), JobOf(file, c).stage(0).train());
  for (const DenseParameter& p : feed.model->parameters()) {
    if (!p.name.ends_with(".variance")) continue;
    const int64_t at = feed.offsets.at(p.name);
    for (int64_t i = at; i < at + p.size; ++i) EXPECT_EQ(feed.dense_gradient[i], 0);
  }
}

TEST(CompleteJob, AddsAGroupForStatistics) {
  const TensorFile file(kFile);
  const PointwiseCase c = {"dnn_norm", "dnn { mlp { hidden: [4, 3] batch_norm: true } }"};
  spec::Job job = JobOf(file, c);
  const auto model = CreateModel(job);
  ASSERT_TRUE(model.ok());
  ASSERT_TRUE(CompleteJob(**model, &job).ok());
  ASSERT_EQ(job.dense_size(), 2);
  EXPECT_EQ(job.dense(0).name(), "dense");
  EXPECT_TRUE(job.dense(0).optimizer().has_adamw());
  EXPECT_EQ(job.dense(1).name(), "statistics");
  EXPECT_TRUE(job.dense(1).statistics());
  const std::string completed = job.DebugString();
  ASSERT_TRUE(CompleteJob(**model, &job).ok());
  EXPECT_EQ(job.DebugString(), completed);  // once is enough

  spec::Job taken = JobOf(file, c);
  taken.mutable_table(0)->set_name("statistics");
  EXPECT_EQ(CompleteJob(**model, &taken).code(), StatusCode::kInvalidArgument);

  const PointwiseCase plain = {"dnn", "dnn { mlp { hidden: [4, 3] } }"};
  spec::Job untouched = JobOf(file, plain);
  const auto without = CreateModel(untouched);
  ASSERT_TRUE(without.ok());
  ASSERT_TRUE(CompleteJob(**without, &untouched).ok());
  EXPECT_EQ(untouched.dense_size(), 0);
}

TEST(Registry, HasEveryModelOfTheSchemaOnce) {
  const auto* kinds = spec::Model::descriptor()->FindOneofByName("kind");
  ASSERT_EQ(static_cast<size_t>(kinds->field_count()), Registry().size());
  for (int i = 0; i < kinds->field_count(); ++i) {
    EXPECT_EQ(kinds->field(i)->number(), Registry()[i].kind);
    EXPECT_EQ(Registry()[i].tag[0], '[');
  }
}

// What each model refuses, on top of what all do.
TEST(CreateModel, PointwiseModelsSayWhatTheyRefuse) {
  const TensorFile file(kFile);
  const auto refusal = [&file](const std::string& name, const std::string& model) {
    const auto made = CreateModel(JobOf(file, {name, model}));
    return made.ok() ? "accepted" : made.status().message();
  };
  const auto expect = [&](const std::string& name, const std::string& model,
                          const std::string& part) {
    EXPECT_NE(refusal(name, model).find(part), std::string::npos) << refusal(name, model);
  };
  expect("dnn", "lr {}", "model.lr.feature: table 'a' of feature 'f0' has dim 3");
  expect("dnn", "fm {}", "model.fm.feature: table 'b' of feature 'f2' has dim 2");
  expect("dnn", "dnn {}", "model.dnn.mlp.hidden: there is no hidden layer");
  expect("dnn", "dnn { mlp { hidden: 0 } }", "model.dnn.mlp.hidden: a layer of width 0");
  expect("dnn", "dnn { mlp { hidden: 2 dropout: 1 } }", "model.dnn.mlp.dropout:");
  expect("dnn", "wdl { mlp { hidden: 2 } }", "model.wdl.linear_table: a wdl model has a linear");
  expect("fm", "deepfm { hidden: 2 mlp { hidden: 2 } }", "model.deepfm.mlp: hidden and dropout");
  expect("dnn", "dcn { layers: 0 }", "model.dcn.layers: there is no cross layer");
  expect("dnn", "dcn_v2 { structure: CROSS_ONLY mlp { hidden: 2 } }",
         "model.dcn_v2.mlp: structure CROSS_ONLY has none");
  expect("dnn", "dcn_v2 { mlp {} }", "model.dcn_v2.mlp.hidden: there is no hidden layer");
  expect("dnn", "dcn_mix { rank: 0 experts: 0 }", "model.dcn_mix.rank: it is 0");
  EXPECT_EQ(refusal("dnn", "dcn_mix {}"), "accepted");
}

}  // namespace
}  // namespace emporium::models
