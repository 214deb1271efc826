// How the two-tower model behaves: gradients along random directions (dropout included), padding,
// empty histories, seeds, lanes side by side, export apart from training's context, and a planted
// effect that only the context tower can explain.
#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "tests/models/two_tower_feed.h"

namespace emporium::models {
namespace {

const std::string kPopularity =
    "popularity { counter { window_days: 1 } counter { window_days: 9 } }";
const std::string kContext = "context { feature: \"module\" hidden: 6 }";
const std::string kDropout = "history_dropout: 0.4 user_dropout: 0.3";

const std::vector<int32_t> kLengths = {5, 0, 1, 9, 3};

// The loss falls along the gradient as fast as the gradient says: central differences along random
// directions through all rows and dense parameters at once, with dropout of a fixed seed.
TEST(TwoTower, GradientIsTheDerivative) {
  const std::string transformer =
      "action_feature: \"kind\" query_feature: \"query\" user_tower { transformer { layers: 2 "
      "heads: 2 "
      "width: 8 feed_forward: 16 dropout: 0.2 gap_edges_days: [1, 5] } " +
      kDropout + " } item_tower { residual {} }";
  const std::string pooling =
      "user_tower { age_pooling { age_edges_days: [2, 8] max_count: 2 } " + kDropout + " }";
  for (const std::string& tower : {transformer, pooling}) {
    for (const std::string form : {"PAIR", "LIST", "PAIRWISE_LOGISTIC"}) {
      const spec::Job job = TwoTowerJob(tower + kPopularity + kContext, "form: " + form);
      Feed feed = TwoTowerFeed(job);
      Random random(77);
      for (float& x : feed.dense) x += 0.1f * random.Normal();
      const Batch batch = TwoTowerBatch(kLengths, 3, 2, tower == transformer);
      for (int stage : {0, 1}) {
        SCOPED_TRACE(tower + form + std::to_string(stage));
        const spec::Train& train = job.stage(stage).train();
        feed.Train(batch, train, 5);
        std::vector<float*> places;
        for (float& x : feed.dense) places.push_back(&x);
        for (auto& table : feed.tables) {
          for (float& x : table.values) places.push_back(&x);
        }
        const std::vector<float> gradient = feed.Gradients();
        std::vector<float> start;
        for (float* x : places) start.push_back(*x);
        for (int round = 0; round < 3; ++round) {
          double along = 0;
          std::vector<float> direction;
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
          // fp32 losses and the kinks of relu leave this much.
          EXPECT_NEAR(slope, along, 0.03 * (1 + std::abs(along)));
        }
      }
    }
  }
}

TEST(TwoTower, NeighboursAndPaddingDoNotChangeAVector) {
  for (const std::string& tower : {kTransformer, kAgePooling}) {
    const bool searches = tower == kTransformer;
    Feed feed = TwoTowerFeed(TwoTowerJob(tower));
    Batch alone = TwoTowerBatch({4}, 8, 0, searches);
    Batch among = alone;
    Random random(1);
    AddHistory(among, random, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2, 3});
    AddHistory(among, random, {});
    const std::vector<float> one = feed.UserVectors(alone);
    std::vector<float> three = feed.UserVectors(among);
    three.resize(one.size());
    ExpectNear(three, one, 1e-6, tower);
  }
}

TEST(TwoTower, OneSampleAndEmptyHistoriesTrain) {
  for (const std::string& tower : {kTransformer, kAgePooling}) {
    const spec::Job job = TwoTowerJob(tower + kPopularity + kContext);
    Feed feed = TwoTowerFeed(job);
    for (const std::vector<int32_t>& lengths : {std::vector<int32_t>{3}, {0}, {0, 0, 0}}) {
      const Batch batch = TwoTowerBatch(lengths, 4, 2, false);
      for (int stage : {0, 1}) {
        const auto terms = feed.Train(batch, job.stage(stage).train());
        EXPECT_TRUE(std::isfinite(terms.at("loss")));
        for (float g : feed.Gradients()) ASSERT_TRUE(std::isfinite(g));
        if (lengths[0] > 0) continue;
        // Nothing of a history that is not there is moved.
        for (float g : feed.tables[2].gradient) EXPECT_EQ(g, 0);
        for (const DenseParameter& p : feed.model->parameters()) {
          if (p.name != "user_tower.position" && p.name != "user_tower.gap" &&
              p.name != "user_tower.age" && p.name != "user_tower.count") {
            continue;
          }
          for (int64_t i = 0; i < p.size; ++i) {
            EXPECT_EQ(feed.dense_gradient[feed.offsets[p.name] + i], 0) << p.name;
          }
        }
        if (tower == kAgePooling) {
          for (float g : feed.tables[0].gradient) EXPECT_EQ(g, 0) << "a zero user moves no item";
        }
      }
    }
  }
}

TEST(TwoTower, BatchWithoutAnyItemGivesUserVectors) {
  Feed feed = TwoTowerFeed(TwoTowerJob(kTransformer));
  Batch batch;
  Random random(1);
  AddHistory(batch, random, {});
  AddHistory(batch, random, {-1});
  for (float x : feed.UserVectors(batch)) EXPECT_TRUE(std::isfinite(x));
}

TEST(TwoTower, GroupsWithoutCandidatesCostNothing) {
  const spec::Job job = TwoTowerJob(kTransformer + kPopularity + kContext);
  Feed feed = TwoTowerFeed(job);
  Batch batch = TwoTowerBatch({2, 3}, 4, 2, false);
  batch.candidates.group.clear();
  batch.candidates.group_label.clear();
  batch.candidates.group_offset = {0, 0, 0};
  EXPECT_EQ(feed.Train(batch, job.stage(1).train()).at("loss"), 0);
  EXPECT_EQ(feed.Gradients(), std::vector<float>(feed.Gradients().size(), 0));
}

const std::string kNoisy =
    "action_feature: \"kind\" user_tower { transformer { layers: 2 heads: 2 width: 8 feed_forward: "
    "16 "
    "dropout: 0.3 } history_dropout: 0.3 } item_tower { residual {} }";

TEST(TwoTower, SeedsDecideBits) {
  const spec::Job job = TwoTowerJob(kNoisy);
  const Batch batch = TwoTowerBatch({5, 8, 3}, 6, 0, false);
  Feed a = TwoTowerFeed(job), b = TwoTowerFeed(job);
  const auto first = a.Train(batch, job.stage(0).train(), 11);
  EXPECT_EQ(b.Train(batch, job.stage(0).train(), 11), first);
  EXPECT_EQ(a.Gradients(), b.Gradients());
  EXPECT_NE(b.Train(batch, job.stage(0).train(), 12), first);
  EXPECT_NE(a.Gradients(), b.Gradients());
}

TEST(TwoTower, LanesSideBySideGiveTheBitsOfOne) {
  const spec::Job job = TwoTowerJob(kNoisy);
  const auto run = [&job](uint64_t seed) {
    Feed feed = TwoTowerFeed(job);
    std::vector<float> trace;
    for (uint64_t step = 0; step < 30; ++step) {
      const Batch batch = TwoTowerBatch({5, 8, 3, 17, 0, 2}, seed + step, 0, false);
      trace.push_back(static_cast<float>(
          feed.Train(batch, job.stage(step % 2).train(), seed * 100 + step).at("loss")));
      feed.Descend(0.1f);
    }
    trace.insert(trace.end(), feed.dense.begin(), feed.dense.end());
    return trace;
  };
  const std::vector<float> alone_1 = run(1), alone_2 = run(2);
  std::vector<float> lane_1, lane_2;
  std::thread first([&] { lane_1 = run(1); });
  std::thread second([&] { lane_2 = run(2); });
  first.join();
  second.join();
  EXPECT_EQ(lane_1, alone_1);
  EXPECT_EQ(lane_2, alone_2);
}

TEST(TwoTower, CopiedParametersGiveEqualVectors) {
  spec::Job job = TwoTowerJob(kTransformer + kPopularity);
  Feed a = TwoTowerFeed(job);
  job.set_seed(99);
  Feed b = TwoTowerFeed(job);
  const Batch batch = TwoTowerBatch(kLengths, 3, 2, true);
  EXPECT_NE(a.UserVectors(batch), b.UserVectors(batch));
  b.dense = a.dense;
  EXPECT_EQ(a.UserVectors(batch), b.UserVectors(batch));
}

TEST(TwoTower, SearchWordsMoveTheUser) {
  Feed feed = TwoTowerFeed(TwoTowerJob(kTransformer));
  Batch batch = TwoTowerBatch({3}, 8, 0, false);
  Random random(1);
  AddHistory(batch, random, {2, -1, 5});
  const std::vector<float> before = feed.UserVectors(batch);
  int32_t& word = batch.history.query.index.back();
  word = (word + 1) % 6;
  std::vector<float> after = feed.UserVectors(batch);
  EXPECT_EQ(std::vector<float>(before.begin(), before.begin() + kDim),
            std::vector<float>(after.begin(), after.begin() + kDim));
  EXPECT_NE(before, after);
}

TEST(TwoTower, ExportDoesNotReachWhatOnlyTrainingSees) {
  for (const std::string variant : {"A", "B"}) {
    const std::string context = "context { feature: \"module\" variant: " + variant + " }";
    const spec::Job job = TwoTowerJob(kTransformer + kPopularity + context);
    Feed feed = TwoTowerFeed(job);
    Batch batch = TwoTowerBatch(kLengths, 3, 2, true);
    const std::vector<float> counts(kItems * 2, 1.5f);
    const auto users = feed.UserVectors(batch), items = feed.ItemVectors(batch, counts);
    for (const DenseParameter& p : feed.model->parameters()) {
      if (!p.train_only) continue;
      for (int64_t i = 0; i < p.size; ++i) feed.dense[feed.offsets[p.name] + i] = 123;
    }
    for (float& x : feed.tables[3].values) x = 123;
    EXPECT_EQ(feed.UserVectors(batch), users);
    EXPECT_EQ(feed.ItemVectors(batch, counts), items);
    batch.fields.clear();  // serving has no context at all
    EXPECT_EQ(feed.UserVectors(batch), users);
  }
}

TEST(TwoTower, ContextStartsAsThePlainModel) {
  const Batch batch = TwoTowerBatch(kLengths, 3, 0, true);
  const spec::Job plain_job = TwoTowerJob(kTransformer);
  Feed plain = TwoTowerFeed(plain_job);
  const auto expected = plain.Train(batch, plain_job.stage(1).train());
  for (const std::string variant : {"A", "B"}) {
    const spec::Job job =
        TwoTowerJob(kTransformer + "context { feature: \"module\" variant: " + variant + " }");
    Feed feed = TwoTowerFeed(job);
    EXPECT_EQ(feed.Train(batch, job.stage(1).train()), expected) << "da = db = 0";
    for (size_t t = 0; t < 3; ++t) EXPECT_EQ(feed.tables[t].gradient, plain.tables[t].gradient);
    for (const DenseParameter& p : plain.model->parameters()) {
      ASSERT_EQ(feed.offsets.count(p.name), 1u);
    }
    for (size_t i = 0; i < plain.dense_gradient.size(); ++i) {
      ASSERT_EQ(feed.dense_gradient[i], plain.dense_gradient[i]);
    }
  }
}

TEST(TwoTower, InnerProductIsTheLogit) {
  // With one row, all items as candidates: loss = lse(logits) - logit of the positive.
  for (const std::string similarity : {"COSINE", "DOT"}) {
    const spec::Job job =
        TwoTowerJob(kTransformer + kPopularity + "initial_scale: 3 similarity: " + similarity);
    Feed feed = TwoTowerFeed(job);
    Batch batch = TwoTowerBatch({6}, 3, 2, true);
    const auto users = feed.UserVectors(batch);
    const auto items = feed.ItemVectors(batch, batch.candidates.log_counts);
    double total = 0;
    std::vector<double> logits;
    for (int32_t i = 0; i < kItems; ++i) {
      double logit = 0;
      for (int32_t k = 0; k <= kDim; ++k) {
        logit += static_cast<double>(users[k]) * items[i * (kDim + 1) + k];
      }
      logits.push_back(logit);
      total += std::exp(logit);
    }
    const double expected = std::log(total) - logits[batch.candidates.positive[0]];
    spec::Train train = job.stage(0).train();
    train.mutable_sampled_softmax()->mutable_negatives(0)->mutable_all();
    EXPECT_NEAR(feed.Train(batch, train).at("loss"), expected, 2e-5);
  }
}

TEST(TwoTower, NamesTheTermThatIsNotFinite) {
  const spec::Job job = TwoTowerJob(kTransformer);
  Feed feed = TwoTowerFeed(job);
  feed.tables[0].values[0] = NAN;
  const Batch batch = TwoTowerBatch(kLengths, 3, 0, true);
  const auto result = feed.model->Train(batch, feed.rows(), {feed.dense, feed.dense_gradient},
                                        job.stage(0).train(), 1);
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.status().message().find("'softmax'"), std::string::npos);
}

// Items 0..5 have relevance .2, .3, ... .7, items 6..11 the same. The first six are shown four
// times in five in module 0, where everything is clicked 2.5 logits more often; the others in
// module 1. What is liked shall follow the relevance alone.
struct Planted {
  double gap = 0;    // mean similarity of items 0..5 minus that of 6..11
  double order = 0;  // similarity of 4, 5, 10, 11 minus that of 0, 1, 6, 7
};

Planted TrainPlanted(const std::string& context) {
  const spec::Job job = TwoTowerJob(kAgePooling + context, "form: PAIRWISE_LOGISTIC bce_weight: 5");
  Feed feed = TwoTowerFeed(job);
  Random random(17);
  const auto relevance = [](int32_t item) { return -1.4 + 0.45 * (item % 6); };
  for (int step = 0; step < 800; ++step) {
    Batch batch = TwoTowerBatch(std::vector<int32_t>(64, 1), 1, 0, false);
    CandidateColumns& c = batch.candidates;
    c.group.clear();
    c.group_label.clear();
    c.group_offset = {0};
    for (int32_t b = 0; b < batch.samples; ++b) {
      batch.history.item[b] = 3;  // everybody is the same user
      const int32_t module = b % 2;
      batch.fields[0].rows.index[b] = module;
      for (int k = 0; k < 4; ++k) {
        const bool home = random.Uniform() < 0.8f;
        const auto item = static_cast<int32_t>(random.Next() % 6 + ((module == 0) == home ? 0 : 6));
        const double logit = relevance(item) + (module == 0 ? 2.5 : 0);
        c.group.push_back(item);
        c.group_label.push_back(random.Uniform() < 1 / (1 + std::exp(-logit)) ? 1 : 0);
      }
      c.group_offset.push_back(static_cast<int32_t>(c.group.size()));
    }
    feed.Train(batch, job.stage(1).train(), step);
    feed.Descend(0.3f);
  }
  const Batch batch = TwoTowerBatch({1}, 1, 0, false);
  Batch user = batch;
  user.history.item = {3};
  const auto u = feed.UserVectors(user), v = feed.ItemVectors(batch);
  double length = 0;
  for (float x : u) length += static_cast<double>(x) * x;
  std::vector<double> cosine(kItems, 0);
  for (int32_t i = 0; i < kItems; ++i) {
    for (int32_t k = 0; k < kDim; ++k) {
      cosine[i] += static_cast<double>(u[k]) * v[i * kDim + k] / std::sqrt(length);
    }
  }
  Planted planted;
  for (int32_t i = 0; i < 6; ++i) planted.gap += (cosine[i] - cosine[i + 6]) / 6;
  for (int32_t i : {0, 1, 6, 7}) planted.order += (cosine[i + 4] - cosine[i]) / 4;
  return planted;
}

TEST(TwoTower, ContextTowerExplainsTheModuleSoThatTheCosineNeedNot) {
  const Planted with = TrainPlanted(kContext);
  const Planted without = TrainPlanted("");
  EXPECT_GT(with.order, 0.8) << "the cosine follows relevance";
  EXPECT_LT(std::abs(with.gap), 0.3);
  EXPECT_GT(without.gap, 0.5) << "without the tower, what the module shows is ranked too high";
}

}  // namespace
}  // namespace emporium::models
