// Items that take the place of an event's own: negatives of implicit feedback, and the items that
// an evaluated event is ranked among. Immutable; safe from any thread. Refers to data and history.
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
  PointwiseNegatives(const Dataset& dataset, const History& history, uint64_t seed)
      : dataset_(dataset), history_(history), seed_(seed) {}

  // Adds what `sampler` draws for each event, one after another: with replacement, but neither the
  // event's own item nor one of an earlier event of its user. What is drawn is drawn again until it
  // fits, a bounded number of times.
  void Draw(const NegativeSampler& sampler, RandomStream* random, PointwiseSamples* samples) const;

  // `count` distinct items that occur in no event of the user, drawn uniformly; all of them when
  // there are not so many more. A function of (seed, user) and the data.
  std::vector<int32_t> NeverHad(int32_t user, uint32_t count) const;

 private:
  const Dataset& dataset_;
  const History& history_;
  const uint64_t seed_;
};

}  // namespace emporium::worker
