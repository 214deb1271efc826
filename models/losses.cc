#include "models/losses.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/log_softmax.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "proto/check.h"

namespace emporium::models {

namespace {

double Softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
double Sigmoid(double x) {
  const double e = std::exp(-std::abs(x));
  return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}
double LogSigmoid(double x) { return -Softplus(-x); }

double WeightOf(std::span<const float> weights, size_t i) {
  return weights.empty() ? 1.0 : static_cast<double>(weights[i]);
}

// Sums `per_group`(g, scale) over the groups that `counts`(g); scale is the weight of the group in
// the mean. The weights' sum must be known before the first gradient, hence two rounds.
template <class Counts, class PerGroup>
LossValue MeanOverGroups(const Groups& groups, Counts counts, PerGroup per_group) {
  LossValue loss;
  double total = 0;
  const size_t n = groups.offset.size() - 1;
  for (size_t g = 0; g < n; ++g) {
    if (!counts(g)) continue;
    total += WeightOf(groups.weight, g);
    ++loss.samples;
  }
  if (total == 0) return loss;
  for (size_t g = 0; g < n; ++g) {
    if (counts(g)) loss.value += per_group(g, WeightOf(groups.weight, g) / total);
  }
  return loss;
}

struct Counted {
  int64_t positives = 0;
  int64_t negatives = 0;
};

Counted CountLabels(const Groups& groups, size_t g) {
  Counted counted;
  for (int32_t i = groups.offset[g]; i < groups.offset[g + 1]; ++i) {
    ++(groups.label[i] > 0 ? counted.positives : counted.negatives);
  }
  return counted;
}

// Both pair losses are softplus(t(s_j) - t(s_i)); t and its derivative make the difference.
template <class Transform, class Slope>
LossValue PairLoss(std::span<const float> logits, const Groups& groups, double factor,
                   std::span<float> gradient, Transform t, Slope slope) {
  const auto counts = [&](size_t g) {
    const Counted c = CountLabels(groups, g);
    return c.positives > 0 && c.negatives > 0;
  };
  return MeanOverGroups(groups, counts, [&](size_t g, double share) {
    const Counted c = CountLabels(groups, g);
    const double scale = share / static_cast<double>(c.positives * c.negatives);
    double sum = 0;
    for (int32_t i = groups.offset[g]; i < groups.offset[g + 1]; ++i) {
      if (groups.label[i] <= 0) continue;
      for (int32_t j = groups.offset[g]; j < groups.offset[g + 1]; ++j) {
        if (groups.label[j] > 0) continue;
        const double gap = t(logits[j]) - t(logits[i]);
        sum += Softplus(gap);
        const double pull = factor * scale * Sigmoid(gap);
        gradient[j] += static_cast<float>(pull * slope(logits[j]));
        gradient[i] -= static_cast<float>(pull * slope(logits[i]));
      }
    }
    return scale * sum;
  });
}

}  // namespace

LossValue BinaryCrossEntropy(std::span<const float> logits, std::span<const float> labels,
                             std::span<const float> weights, double factor,
                             std::span<float> gradient) {
  LossValue loss;
  double total = 0;
  for (size_t i = 0; i < logits.size(); ++i) total += WeightOf(weights, i);
  if (total == 0) return loss;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double share = WeightOf(weights, i) / total;
    const double s = logits[i];
    const double y = labels[i];
    loss.value += share * (Softplus(s) - y * s);
    gradient[i] += static_cast<float>(factor * share * (Sigmoid(s) - y));
  }
  loss.samples = static_cast<int64_t>(logits.size());
  return loss;
}

LossValue PairRatio(std::span<const float> logits, const Groups& groups, double factor,
                    std::span<float> gradient) {
  return PairLoss(
      logits, groups, factor, gradient, [](double s) { return LogSigmoid(s); },
      [](double s) { return Sigmoid(-s); });
}

LossValue PairLogistic(std::span<const float> logits, const Groups& groups, double factor,
                       std::span<float> gradient) {
  return PairLoss(
      logits, groups, factor, gradient, [](double s) { return s; }, [](double) { return 1.0; });
}

LossValue ListRatio(std::span<const float> logits, const Groups& groups, double factor,
                    std::span<float> gradient) {
  const auto counts = [&](size_t g) { return CountLabels(groups, g).positives > 0; };
  return MeanOverGroups(groups, counts, [&](size_t g, double share) {
    const int32_t begin = groups.offset[g];
    const int32_t end = groups.offset[g + 1];
    double highest = -std::numeric_limits<double>::infinity();
    for (int32_t i = begin; i < end; ++i) highest = std::max(highest, LogSigmoid(logits[i]));
    double total = 0;
    double positives = 0;
    double sum = 0;
    for (int32_t i = begin; i < end; ++i) {
      total += std::exp(LogSigmoid(logits[i]) - highest);
      if (groups.label[i] <= 0) continue;
      positives += 1;
      sum -= LogSigmoid(logits[i]);
    }
    sum += positives * (highest + std::log(total));
    for (int32_t i = begin; i < end; ++i) {
      const double p = std::exp(LogSigmoid(logits[i]) - highest) / total;
      const double y = groups.label[i] > 0 ? 1 : 0;
      const double pull = (positives * p - y) * Sigmoid(-static_cast<double>(logits[i]));
      gradient[i] += static_cast<float>(factor * share * pull);
    }
    return share * sum;
  });
}

LossValue SampledSoftmaxLoss(at::Tensor logits, const CandidateColumns& candidates,
                             std::span<const float> log_q, std::span<const float> weights,
                             double power) {
  at::NoGradGuard no_grad;
  const int64_t rows = logits.size(0);
  const int64_t columns = logits.size(1);
  float* z = logits.data_ptr<float>();
  std::vector<float> correction(static_cast<size_t>(columns),
                                -std::numeric_limits<float>::infinity());
  for (int64_t c = 0; c < columns; ++c) {
    if (candidates.sampled[c] != 0) correction[c] = log_q.empty() ? 0 : -log_q[c];
  }
  const auto begin = [](const std::vector<int32_t>& offset, int64_t b) {
    return offset.empty() ? 0 : offset[b];
  };
  std::vector<float> own;  // logits of the row's positives, before the correction
  for (int64_t b = 0; b < rows; ++b, z += columns) {
    const int32_t first = candidates.positive_offset[b];
    const int32_t last = candidates.positive_offset[b + 1];
    own.clear();
    for (int32_t k = first; k < last; ++k) own.push_back(z[candidates.positive[k]]);
    for (int64_t c = 0; c < columns; ++c) z[c] += correction[c];
    for (int32_t k = begin(candidates.masked_offset, b); k < begin(candidates.masked_offset, b + 1);
         ++k) {
      z[candidates.masked[k]] = -std::numeric_limits<float>::infinity();
    }
    for (int32_t k = first; k < last; ++k) z[candidates.positive[k]] = own[k - first];
    // A row without positives has no loss; zeros keep its softmax finite if all is masked.
    if (first == last) std::fill_n(z, columns, 0.0f);
  }
  const at::Tensor log_p = at::log_softmax(logits, 1);
  at::exp_out(logits, log_p);

  LossValue loss;
  std::vector<double> share(static_cast<size_t>(rows), 0.0);
  double total = 0;
  for (int64_t b = 0; b < rows; ++b) {
    const int32_t n = candidates.positive_offset[b + 1] - candidates.positive_offset[b];
    if (n == 0) continue;
    share[b] = std::pow(static_cast<double>(n), power) * WeightOf(weights, b);
    total += share[b];
    ++loss.samples;
  }
  z = logits.data_ptr<float>();
  const float* lp = log_p.data_ptr<float>();
  for (int64_t b = 0; b < rows; ++b, z += columns, lp += columns) {
    const double scale = total > 0 ? share[b] / total : 0;
    for (int64_t c = 0; c < columns; ++c) z[c] *= static_cast<float>(scale);
    const int32_t first = candidates.positive_offset[b];
    const int32_t last = candidates.positive_offset[b + 1];
    for (int32_t k = first; k < last; ++k) {
      const double part = scale / (last - first);
      loss.value -= part * static_cast<double>(lp[candidates.positive[k]]);
      z[candidates.positive[k]] -= static_cast<float>(part);
    }
  }
  return loss;
}

std::vector<float> LogPresence(const CandidateColumns& candidates,
                               std::span<const float> popularity, double popularity_total) {
  const auto in_batch = static_cast<double>(candidates.in_batch_draws);
  std::vector<double> seen(candidates.item.size(), 0.0);
  for (int32_t c : candidates.positive) seen[c] += 1;
  std::vector<float> result(candidates.item.size(), 0.0f);
  for (size_t c = 0; c < candidates.item.size(); ++c) {
    if (candidates.sampled[c] == 0) continue;
    double draws = candidates.drawn > 0 ? std::exp(static_cast<double>(candidates.log_q[c])) : 0.0;
    if (in_batch > 0) {
      const double count = static_cast<double>(popularity[c]) + seen[c];
      draws += in_batch * count / (popularity_total + in_batch);
    }
    EMPORIUM_CHECK(draws > 0, "a negative was drawn, so it could be drawn");
    result[c] = static_cast<float>(std::log(-std::expm1(-draws)));
  }
  return result;
}

Status CheckFinite(const std::string& term, double loss) {
  if (std::isfinite(loss)) return Status::Ok();
  return InvalidArgument("loss term '" + term + "' is " + std::to_string(loss) +
                         ": training diverged; lower the learning rate or look for extreme inputs");
}

}  // namespace emporium::models
