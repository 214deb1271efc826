// Items that take the place of an event's own: negatives of implicit feedback. Immutable; safe from
// any thread. Refers to data and history.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/dataset.h"
#include "worker/history.h"
#include "worker/negatives.h"
#include "worker/pointwise_fields.h"
#include "worker/sampler.h"

namespace emporium::worker {

class PointwiseNegatives {
 public:
  PointwiseNegatives(const Dataset& dataset, const History& history)
      : dataset_(dataset), history_(history) {}

  // Adds what `sampler` draws for each event, one after another: with replacement, but neither the
  // event's own item nor one of an earlier event of its user. What is drawn is drawn again until it
  // fits, a bounded number of times.
  void Draw(const NegativeSampler& sampler, RandomStream* random, PointwiseSamples* samples) const;

 private:
  const Dataset& dataset_;
  const History& history_;
};

}  // namespace emporium::worker
