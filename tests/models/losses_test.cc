// Losses against their definitions: derivatives, where their minima lie, what they are blind to,
// and that the logQ correction makes sampling unbiased.
#include "models/losses.h"

#include <ATen/ops/from_blob.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numeric>

#include "models/random.h"
#include "tests/models/feed.h"

namespace emporium::models {
namespace {

using Ranking = LossValue (*)(std::span<const float>, const Groups&, double, std::span<float>);

const std::vector<int32_t> kOffset = {0, 3, 3, 5, 9, 10};
const std::vector<float> kLabel = {1, 0, 1, 0, 0, 1, 1, 0, 0, 1};
const std::vector<float> kWeight = {1, 5, 2, 0.5f, 3};

TEST(RankingLosses, GradientIsTheDerivative) {
  Random random(2);
  std::vector<float> logits(10);
  for (float& s : logits) s = 2 * random.Normal();
  const Groups groups = {kOffset, kLabel, kWeight};
  const auto bce = [](std::span<const float> s, const Groups& g, double f, std::span<float> d) {
    return BinaryCrossEntropy(s, g.label, {}, f, d);
  };
  for (Ranking loss : {&PairRatio, &PairLogistic, &ListRatio, static_cast<Ranking>(bce)}) {
    std::vector<float> gradient(10, 0);
    loss(logits, groups, 3, gradient);
    std::vector<float> unused(10);
    for (size_t i = 0; i < 10; ++i) {
      std::vector<float> moved = logits;
      moved[i] += 0.01f;
      const double above = loss(moved, groups, 1, unused).value;
      moved[i] -= 0.02f;
      const double below = loss(moved, groups, 1, unused).value;
      EXPECT_NEAR(gradient[i], 3 * (above - below) / 0.02, 1e-4) << i;
    }
  }
}

TEST(RankingLosses, OnlyGroupsThatSaySomethingCount) {
  const std::vector<float> logits(10, 0.5f);
  const Groups groups = {kOffset, kLabel, {}};
  std::vector<float> gradient(10);
  // Group 1 is empty, 2 has no positive, 4 has no negative.
  EXPECT_EQ(PairRatio(logits, groups, 1, gradient).samples, 2);
  EXPECT_NEAR(PairLogistic(logits, groups, 1, gradient).value, std::log(2), 1e-6);
  const LossValue list = ListRatio(logits, groups, 1, gradient);
  EXPECT_EQ(list.samples, 3);
  EXPECT_NEAR(list.value, (2 * std::log(3) + 2 * std::log(4) + 0) / 3, 1e-6);
  const std::vector<int32_t> none = {0, 0};
  EXPECT_EQ(ListRatio({}, {none, {}, {}}, 1, {}).value, 0);
  EXPECT_EQ(BinaryCrossEntropy({}, {}, {}, 1, {}).samples, 0);
}

TEST(RankingLosses, PlainPairsAreBlindToACommonShiftTheRatiosAreNot) {
  std::vector<float> logits = {0.3f, -1, 2, 0.1f, 0, 1, -2, 0.7f, 0.2f, 1};
  std::vector<float> shifted = logits;
  for (float& s : shifted) s += 1.5f;
  std::vector<float> unused(10);
  const Groups groups = {kOffset, kLabel, {}};
  const auto change = [&](Ranking loss) {
    return std::abs(loss(logits, groups, 1, unused).value - loss(shifted, groups, 1, unused).value);
  };
  EXPECT_LT(change(&PairLogistic), 1e-6);
  EXPECT_GT(change(&PairRatio), 0.02);
  EXPECT_GT(change(&ListRatio), 0.02);
}

TEST(RankingLosses, ExtremeLogitsStayFinite) {
  const std::vector<float> logits = {-500, 500, 500, -500, 500, 0, 300, -300, 0, -900};
  const Groups groups = {kOffset, kLabel, {}};
  for (Ranking loss : {&PairRatio, &PairLogistic, &ListRatio}) {
    std::vector<float> gradient(10, 0);
    EXPECT_TRUE(std::isfinite(loss(logits, groups, 1, gradient).value));
    for (float g : gradient) EXPECT_TRUE(std::isfinite(g));
  }
}

// Where `loss` plus 0.1 BCE on the same logits is smallest, as rates: three items with true rates
// .10, .30, .55, all eight outcomes weighted with their probability. `power` of which count (pairs
// or positives) turns the mean over groups into the wanted form.
enum class Form { kListSummed, kListDivided, kPlainSummed, kRatioSummed };

std::vector<double> RatesAtMinimum(Form form) {
  const double rates[] = {0.10, 0.30, 0.55};
  std::vector<int32_t> offset = {0};
  std::vector<float> labels, probability, weight;
  for (int outcome = 0; outcome < 8; ++outcome) {
    double p = 1;
    int positives = 0;
    for (int i = 0; i < 3; ++i) {
      const bool y = ((outcome >> i) & 1) != 0;
      labels.push_back(y ? 1 : 0);
      positives += y ? 1 : 0;
      p *= y ? rates[i] : 1 - rates[i];
    }
    offset.push_back(offset.back() + 3);
    for (int i = 0; i < 3; ++i) probability.push_back(static_cast<float>(p));
    const int pairs = positives * (3 - positives);
    const bool paired = form == Form::kPlainSummed || form == Form::kRatioSummed;
    const double factor = paired                       ? pairs
                          : form == Form::kListDivided ? 1.0 / std::max(positives, 1)
                                                       : 1;
    // The losses leave out groups without pairs (positives), so these may weigh what they like.
    weight.push_back(static_cast<float>(p * factor));
  }
  const Groups groups = {offset, labels, weight};
  const Ranking loss = form == Form::kPlainSummed   ? &PairLogistic
                       : form == Form::kRatioSummed ? &PairRatio
                                                    : &ListRatio;
  // Means to sums: times the sum of the weights of the groups that count.
  double total = 0;
  for (int g = 0; g < 8; ++g) {
    const int positives = static_cast<int>(labels[3 * g] + labels[3 * g + 1] + labels[3 * g + 2]);
    const bool counts = loss == &ListRatio ? positives > 0 : positives > 0 && positives < 3;
    if (counts) total += weight[g];
  }
  std::vector<float> logits = {0, 0, 0};
  for (int step = 0; step < 4000; ++step) {
    std::vector<float> all;
    for (int g = 0; g < 8; ++g) all.insert(all.end(), logits.begin(), logits.end());
    std::vector<float> gradient(24, 0);
    loss(all, groups, total, gradient);
    // BCE summed over the three items: the mean over 24 entries, weighted to a total of 3.
    BinaryCrossEntropy(all, labels, probability, 0.1 * 3, gradient);
    for (int i = 0; i < 3; ++i) {
      double sum = 0;
      for (int g = 0; g < 8; ++g) sum += gradient[3 * g + i];
      logits[i] -= static_cast<float>(2 * sum);
    }
  }
  std::vector<double> result;
  for (float s : logits) result.push_back(1 / (1 + std::exp(-static_cast<double>(s))));
  return result;
}

void ExpectRates(Form form, double a, double b, double c) {
  const std::vector<double> rates = RatesAtMinimum(form);
  EXPECT_NEAR(rates[0], a, 0.002);
  EXPECT_NEAR(rates[1], b, 0.002);
  EXPECT_NEAR(rates[2], c, 0.002);
}

TEST(RankingLosses, MinimaOnASharedLogit) {
  ExpectRates(Form::kListSummed, 0.100, 0.300, 0.550);
  ExpectRates(Form::kListDivided, 0.084, 0.275, 0.572);
  ExpectRates(Form::kPlainSummed, 0.100, 0.300, 0.550);
  ExpectRates(Form::kRatioSummed, 0.060, 0.231, 0.603);
}

// ---- Sampled softmax
// -----------------------------------------------------------------------------

// One row, `items` candidates, candidate 0 positive.
CandidateColumns OneRow(int32_t items) {
  CandidateColumns c;
  c.item.resize(items);
  std::iota(c.item.begin(), c.item.end(), 0);
  c.sampled.assign(items, 1);
  c.log_q.assign(items, 0);
  c.positive = {0};
  c.positive_offset = {0, 1};
  return c;
}

LossValue Softmax(std::vector<float>& logits, const CandidateColumns& c, bool log_q,
                  const std::vector<float>& weights = {}, double power = 0) {
  const auto rows = static_cast<int64_t>(c.positive_offset.size()) - 1;
  const at::Tensor tensor =
      at::from_blob(logits.data(), {rows, static_cast<int64_t>(c.item.size())}, at::kFloat);
  return SampledSoftmaxLoss(tensor, c,
                            log_q ? std::span<const float>(c.log_q) : std::span<const float>(),
                            weights, power);
}

TEST(SampledSoftmax, DrawsWithLogQGiveTheFullSoftmaxInExpectation) {
  const std::vector<float> score = {0.5f, 1.5f, -0.5f, 0.2f, 2.0f, -1.0f};
  const std::vector<double> q = {0.05, 0.1, 0.3, 0.35, 0.05, 0.15};
  const CandidateColumns whole = OneRow(6);
  std::vector<float> full = score;
  Softmax(full, whole, true);

  const int draws = 1000, rounds = 500;
  Random random(9);
  std::vector<double> corrected(6, 0), plain(6, 0);
  for (int round = 0; round < rounds; ++round) {
    CandidateColumns c = OneRow(1 + draws);
    std::vector<int> item = {0};
    c.sampled[0] = 0;
    c.masked_offset = {0, 0};
    for (int i = 1; i <= draws; ++i) {
      double u = random.Uniform();
      int drawn = 0;
      while (drawn < 5 && u >= q[drawn]) u -= q[drawn++];
      item.push_back(drawn);
      c.log_q[i] = static_cast<float>(std::log(draws * q[drawn]));
      if (drawn == 0) c.masked.push_back(i);  // the positive, drawn as a negative
    }
    c.masked_offset[1] = static_cast<int32_t>(c.masked.size());
    for (bool log_q : {true, false}) {
      std::vector<float> logits;
      for (int i : item) logits.push_back(score[i]);
      Softmax(logits, c, log_q);
      std::vector<double>& sum = log_q ? corrected : plain;
      for (size_t i = 0; i < item.size(); ++i) sum[item[i]] += logits[i] / rounds;
    }
  }
  double bias = 0;
  for (int i = 0; i < 6; ++i) {
    EXPECT_NEAR(corrected[i], full[i], 0.005) << i;
    bias = std::max(bias, std::abs(plain[i] - full[i]));
  }
  EXPECT_GT(bias, 0.1) << "without the correction the same draws are biased";
}

TEST(SampledSoftmax, RowsOfMaskedCandidatesStayFinite) {
  CandidateColumns c = OneRow(3);
  c.positive_offset = {0, 1, 1};  // row 1 has no positive
  c.masked = {1, 2, 0, 1, 2};     // each row has everything masked
  c.masked_offset = {0, 2, 5};
  std::vector<float> logits = {3, 4, 5, 6, 7, 8};
  const LossValue loss = Softmax(logits, c, true);
  EXPECT_EQ(loss.value, 0);  // the positive alone
  EXPECT_EQ(loss.samples, 1);
  EXPECT_EQ(logits, std::vector<float>(6, 0));
}

TEST(SampledSoftmax, PositiveIsNeverCorrectedOrMaskedInItsOwnRow) {
  CandidateColumns c = OneRow(3);
  c.log_q = {-50, 0, 0};
  c.masked = {0};
  c.masked_offset = {0, 1};
  std::vector<float> logits = {1, 1, 1};
  EXPECT_NEAR(Softmax(logits, c, true).value, std::log(3), 1e-6);
}

TEST(SampledSoftmax, RowsWeighByPositivesAndSampleWeight) {
  CandidateColumns c = OneRow(4);
  c.positive = {0, 1, 2};
  c.positive_offset = {0, 1, 3};
  std::vector<float> logits = {0, 1, 2, 3, 0, 1, 2, 3};
  const double lse = std::log(1 + std::exp(1.0) + std::exp(2.0) + std::exp(3.0));
  const double first = lse, second = lse - 1.5;
  const double w = 0.5 * 2;  // weight .5, two positives to the power 1
  EXPECT_NEAR(Softmax(logits, c, false, {1, 0.5f}, 1).value, (first + w * second) / (1 + w), 1e-5);
}

TEST(SampledSoftmax, CandidatesThatStandOnceGiveTheFullSoftmaxInExpectation) {
  // 50 items, Zipf draws: the first is drawn 67 times a round on average, and stands there once.
  const int items = 50, draws = 300, rounds = 500;
  Random random(4);
  std::vector<float> score;
  std::vector<double> q;
  double total = 0;
  for (int i = 0; i < items; ++i) {
    score.push_back(random.Normal());
    q.push_back(1.0 / (i + 1));
    total += q.back();
  }
  for (double& share : q) share /= total;
  CandidateColumns c = OneRow(items);
  c.positive = {30};
  std::vector<float> full = score;
  Softmax(full, c, false);
  c.drawn = draws;
  for (int i = 0; i < items; ++i) c.log_q[i] = static_cast<float>(std::log(draws * q[i]));
  std::vector<float> expected_draws = c.log_q;
  c.sampled.assign(items, 1);
  const std::vector<float> presence = LogPresence(c, {}, 0);
  std::vector<double> by_presence(items, 0), by_draws(items, 0);
  for (int round = 0; round < rounds; ++round) {
    c.sampled.assign(items, 0);
    for (int k = 0; k < draws; ++k) {
      double u = random.Uniform();
      int drawn = 0;
      while (drawn + 1 < items && u >= q[drawn]) u -= q[drawn++];
      c.sampled[drawn] = 1;
    }
    for (bool right : {true, false}) {
      c.log_q = right ? presence : expected_draws;
      std::vector<float> logits = score;
      Softmax(logits, c, true);
      std::vector<double>& sum = right ? by_presence : by_draws;
      for (int i = 0; i < items; ++i) sum[i] += logits[i] / rounds;
    }
  }
  double presence_bias = 0, draws_bias = 0;
  for (int i = 0; i < items; ++i) {
    presence_bias += std::abs(by_presence[i] - full[i]);
    draws_bias += std::abs(by_draws[i] - full[i]);
  }
  EXPECT_LT(presence_bias, 0.1);
  EXPECT_GT(draws_bias, 3 * presence_bias);
}

TEST(SampledSoftmax, InBatchDrawsCountThePopularityAndThisBatch) {
  CandidateColumns c = OneRow(3);
  c.log_q = {0, std::log(0.5f), 0};
  c.positive = {0, 0, 2};
  c.positive_offset = {0, 3};
  c.in_batch_draws = 3;
  const auto log_presence = [](double draws) { return std::log(1 - std::exp(-draws)); };
  const std::vector<float> popularity = {10, 5, 0};
  std::vector<float> log_q = LogPresence(c, popularity, 97);
  EXPECT_NEAR(log_q[0], log_presence(3 * 12.0 / 100), 1e-6);
  EXPECT_NEAR(log_q[2], log_presence(3 * 1.0 / 100), 1e-6) << "a first sighting has a share";
  c.drawn = 8;  // mixture: the draws of both add up
  log_q = LogPresence(c, popularity, 97);
  EXPECT_NEAR(log_q[1], log_presence(0.5 + 3 * 5.0 / 100), 1e-6);
  c.sampled[1] = 0;
  EXPECT_EQ(LogPresence(c, popularity, 97)[1], 0) << "nobody's negative";
}

}  // namespace
}  // namespace emporium::models
