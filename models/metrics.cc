#include "models/metrics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "proto/check.h"

namespace emporium::models {

namespace {

// Places in sums_ of the numbers of cut-off c.
size_t HrAt(size_t c) { return 2 + 3 * c; }
size_t NdcgAt(size_t c) { return 3 + 3 * c; }
size_t RecallAt(size_t c) { return 4 + 3 * c; }

double Discount(int32_t rank) { return 1.0 / std::log2(rank + 1.0); }

}  // namespace

RankingSums::RankingSums(std::vector<uint32_t> cutoffs)
    : cutoffs_(std::move(cutoffs)), sums_(Size(cutoffs_.size()), 0.0) {}

void RankingSums::Add(std::span<const int32_t> ranks) {
  EMPORIUM_CHECK(!ranks.empty() && ranks.front() >= 1, "a user needs targets, ranks start at 1");
  EMPORIUM_CHECK(std::is_sorted(ranks.begin(), ranks.end()), "ranks come in ascending order");
  const auto targets = static_cast<int64_t>(ranks.size());
  sums_[0] += 1;
  sums_[1] += 1.0 / ranks.front();
  for (size_t c = 0; c < cutoffs_.size(); ++c) {
    const int64_t k = cutoffs_[c];
    double gain = 0;
    int64_t hits = 0;
    for (const int32_t rank : ranks) {
      if (rank > k) break;
      gain += Discount(rank);
      ++hits;
    }
    double ideal = 0;
    for (int64_t i = 1; i <= std::min(k, targets); ++i) ideal += Discount(static_cast<int32_t>(i));
    sums_[HrAt(c)] += hits > 0 ? 1 : 0;
    sums_[NdcgAt(c)] += gain / ideal;
    sums_[RecallAt(c)] += static_cast<double>(hits) / static_cast<double>(targets);
  }
}

void RankingSums::Merge(std::span<const double> sums) {
  EMPORIUM_CHECK(sums.size() == sums_.size(), "sums of the same cut-offs are merged");
  for (size_t i = 0; i < sums.size(); ++i) sums_[i] += sums[i];
}

std::vector<NamedValue> RankingSums::Means() const {
  std::vector<NamedValue> means;
  if (users() == 0) return means;
  for (size_t c = 0; c < cutoffs_.size(); ++c) {
    const std::string at = "@" + std::to_string(cutoffs_[c]);
    means.push_back({"hr" + at, sums_[HrAt(c)] / users()});
    means.push_back({"ndcg" + at, sums_[NdcgAt(c)] / users()});
    means.push_back({"recall" + at, sums_[RecallAt(c)] / users()});
  }
  means.push_back({"mrr", sums_[1] / users()});
  return means;
}

std::optional<double> Auc(std::span<const float> logits, std::span<const float> labels) {
  EMPORIUM_CHECK(logits.size() == labels.size(), "one label for each logit");
  std::vector<size_t> order(logits.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] < logits[b]; });
  // Counts of pairs are integers, so the order among equal logits does not matter. Twice the number
  // of pairs won: 2^62 holds it for 2 billion rows of each class.
  uint64_t positives = 0;
  uint64_t negatives = 0;
  uint64_t twice_won = 0;
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin;
    uint64_t tied_positives = 0;
    while (end < order.size() && logits[order[end]] == logits[order[begin]]) {
      tied_positives += labels[order[end]] > 0.5f ? 1 : 0;
      ++end;
    }
    const uint64_t tied_negatives = end - begin - tied_positives;
    twice_won += tied_positives * (2 * negatives + tied_negatives);
    positives += tied_positives;
    negatives += tied_negatives;
    begin = end;
  }
  if (positives == 0 || negatives == 0) return std::nullopt;
  return static_cast<double>(twice_won) /
         (2.0 * static_cast<double>(positives) * static_cast<double>(negatives));
}

std::optional<double> LogLoss(std::span<const float> logits, std::span<const float> labels) {
  EMPORIUM_CHECK(logits.size() == labels.size(), "one label for each logit");
  if (logits.empty()) return std::nullopt;
  double sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double z = logits[i];
    const double y = labels[i] > 0.5f ? 1 : 0;
    sum += std::max(z, 0.0) - z * y + std::log1p(std::exp(-std::abs(z)));
  }
  return sum / static_cast<double>(logits.size());
}

GroupedAuc AucOfGroups(std::span<const float> logits, std::span<const float> labels,
                       std::span<const uint64_t> group) {
  EMPORIUM_CHECK(logits.size() == labels.size() && logits.size() == group.size(),
                 "one label and one group for each logit");
  std::vector<size_t> order(logits.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return group[a] < group[b]; });
  GroupedAuc result;
  double sum = 0;
  double rows = 0;
  std::vector<float> z;
  std::vector<float> y;
  for (size_t begin = 0; begin < order.size();) {
    z.clear();
    y.clear();
    size_t end = begin;
    for (; end < order.size() && group[order[end]] == group[order[begin]]; ++end) {
      z.push_back(logits[order[end]]);
      y.push_back(labels[order[end]]);
    }
    begin = end;
    const auto auc = Auc(z, y);
    if (!auc) continue;
    sum += *auc * static_cast<double>(z.size());
    rows += static_cast<double>(z.size());
  }
  if (rows > 0) result.value = sum / rows;
  if (!logits.empty()) result.left_out = 1 - rows / static_cast<double>(logits.size());
  return result;
}

std::optional<double> Pcoc(std::span<const float> logits, std::span<const float> labels) {
  EMPORIUM_CHECK(logits.size() == labels.size(), "one label for each logit");
  double predicted = 0;
  double positives = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    predicted += 1 / (1 + std::exp(-static_cast<double>(logits[i])));
    positives += static_cast<double>(labels[i]);
  }
  if (positives == 0) return std::nullopt;
  return predicted / positives;
}

std::optional<double> Rmse(std::span<const float> predictions, std::span<const float> labels) {
  EMPORIUM_CHECK(predictions.size() == labels.size(), "one label for each prediction");
  if (predictions.empty()) return std::nullopt;
  double sum = 0;
  for (size_t i = 0; i < predictions.size(); ++i) {
    const double gap = static_cast<double>(predictions[i]) - static_cast<double>(labels[i]);
    sum += gap * gap;
  }
  return std::sqrt(sum / static_cast<double>(predictions.size()));
}

}  // namespace emporium::models
