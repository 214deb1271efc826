// Losses as functions of logits: value and gradient at once, without a graph. A model hands the
// gradient to Pass::Backward. Pure functions, safe from any thread; sums are doubles in one fixed
// order. Formulas: pointwise L1, ranking L5 and L6, sampled softmax L2.
//
// "Mean over samples" is weighted by Batch::weight where the batch has weights.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/batch.h"
#include "models/model.h"
#include "proto/status.h"

namespace emporium::models {

struct LossValue {
  double value = 0;
  int64_t samples = 0;  // that the mean is over
};

// Mean of -[y log sigma(s) + (1 - y) log(1 - sigma(s))]. `weights` as long as `logits`, or empty.
// Adds factor * gradient to `gradient`.
LossValue BinaryCrossEntropy(std::span<const float> logits, std::span<const float> labels,
                             std::span<const float> weights, double factor,
                             std::span<float> gradient);

// Candidates in groups: group g is [offset[g], offset[g + 1]); label 1 is positive, 0 negative.
struct Groups {
  std::span<const int32_t> offset;
  std::span<const float> label;
  std::span<const float> weight;  // of groups, or empty
};

// Mean over groups with a positive and a negative of the mean over their pairs (i positive, j
// negative) of
//   PairRatio:    -log(sigma(s_i) / (sigma(s_i) + sigma(s_j)))    (L6, pair form)
//   PairLogistic: -log sigma(s_i - s_j)                           (L5)
LossValue PairRatio(std::span<const float> logits, const Groups& groups, double factor,
                    std::span<float> gradient);
LossValue PairLogistic(std::span<const float> logits, const Groups& groups, double factor,
                       std::span<float> gradient);
// Mean over groups with a positive of sum_i y_i * -log(sigma(s_i) / sum_j sigma(s_j)) (L6, list
// form). The sum is not divided by the number of positives: that would bias the rates.
LossValue ListRatio(std::span<const float> logits, const Groups& groups, double factor,
                    std::span<float> gradient);

// Sampled softmax over the candidates of a batch. `logits` [R, C] is overwritten with the gradient.
// `weights` [R], or empty.
//
// The denominator of row b has its own positives, uncorrected, and every candidate with `sampled`
// that is not masked for b, at logit - log_q[c] (empty: no correction). The loss of a row is the
// mean over its positives of -log p, rows without positives have none; rows are weighted by
// n_positives^power (times their weight), divided by the sum of these.
LossValue SampledSoftmaxLoss(at::Tensor logits, const CandidateColumns& candidates,
                             std::span<const float> log_q, std::span<const float> weights,
                             double power);

// log of the probability that each candidate [C] stands in the batch as a negative: what
// SampledSoftmaxLoss wants as log_q. A candidate stands there once however often it was drawn, so
// with E expected draws that is 1 - exp(-E) (draws are with replacement), and the sum over
// candidates estimates the sum over the catalogue without bias.
//
// E is what the batch says, and for in-batch negatives the share of the item in the table's
// popularity times the positives of the batch. The popularity is counted with this batch, so that
// an item's first sighting has a share. `popularity` [C] holds the decayed count of each
// candidate's item; empty without in-batch negatives.
std::vector<float> LogPresence(const CandidateColumns& candidates,
                               std::span<const float> popularity, double popularity_total);

// InvalidArgument, naming the term, when `loss` is not a finite number.
Status CheckFinite(const std::string& term, double loss);

}  // namespace emporium::models
