// Metrics of rankings and of logits, exact. Plain C++, no tensors; values, one thread at a time.
//
// Ranks start at 1. Definitions (models.md 5):
//   HR@k      1 when at least one target is among the first k
//   NDCG@k    sum over targets with rank <= k of 1 / log2(rank + 1), divided by the best possible
//             sum, that of min(k, targets) targets at ranks 1, 2, ...
//   Recall@k  targets with rank <= k / targets
//   MRR       1 / rank of the best target
// each as the mean over users.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace emporium::models {

struct NamedValue {
  std::string name;
  double value = 0;
};

// Sums over users, in the order in which they were added: partial sums of fixed groups of users,
// merged in a fixed order, give the same bits wherever the groups were computed.
class RankingSums {
 public:
  // Cut-offs are positive.
  explicit RankingSums(std::vector<uint32_t> cutoffs);
  // Numbers in sums() for `cutoffs` cut-offs.
  static size_t Size(size_t cutoffs) { return 2 + 3 * cutoffs; }

  // One user, by the ranks of his targets, ascending, at least one.
  void Add(std::span<const int32_t> ranks);
  // `sums` is another object's sums() with the same cut-offs.
  void Merge(std::span<const double> sums);

  double users() const { return sums_[0]; }
  // users, sum of MRR, then HR, NDCG and Recall for each cut-off.
  std::span<const double> sums() const { return sums_; }
  // "hr@10", "ndcg@10", "recall@10" for each cut-off, then "mrr". Empty without users.
  std::vector<NamedValue> Means() const;

 private:
  std::vector<uint32_t> cutoffs_;
  std::vector<double> sums_;
};

// Probability that a positive (label > 0.5) has a higher logit than a negative, ties 1/2, by
// sorting. Nothing when a class is missing. Logits are finite.
std::optional<double> Auc(std::span<const float> logits, std::span<const float> labels);

// Mean binary cross entropy (natural log) of sigmoid(logit). Computed from the logit, so that it is
// finite for every finite logit and nothing needs clipping. Nothing without rows.
std::optional<double> LogLoss(std::span<const float> logits, std::span<const float> labels);

// Mean over groups with both labels of their AUC, weighted by their rows. Nothing without such a
// group. `group[i]` is row i's.
struct GroupedAuc {
  std::optional<double> value;
  double left_out = 0;  // share of rows in groups with one label
};
GroupedAuc AucOfGroups(std::span<const float> logits, std::span<const float> labels,
                       std::span<const uint64_t> group);

// Sum of sigmoid(logit) / sum of labels. Nothing without a positive.
std::optional<double> Pcoc(std::span<const float> logits, std::span<const float> labels);

// Root of the mean squared difference. Nothing without rows.
std::optional<double> Rmse(std::span<const float> predictions, std::span<const float> labels);

}  // namespace emporium::models
