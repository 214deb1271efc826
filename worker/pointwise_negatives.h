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
  // With scenarios (by event, of `scenarios` many) items are drawn from those that have an event in
  // the event's own; without, from all.
  PointwiseNegatives(const Dataset& dataset, const History& history,
                     const std::vector<uint8_t>& scenario_of, int scenarios, uint64_t seed);

  // What a stage draws, by scenario; one where there are none. `events_of_item`: of training.
  std::vector<NegativeSampler> Samplers(const NegativeSampler::Spec& negatives,
                                        const std::vector<int64_t>& events_of_item) const;

  // Adds what the event's sampler draws for each event, one after another: with replacement, but
  // neither the event's own item nor one of an earlier event of its user. What is drawn is drawn
  // again until it fits, a bounded number of times.
  void Draw(std::span<const NegativeSampler> samplers, RandomStream* random,
            PointwiseSamples* samples) const;

  // The items that this event is ranked among (worker/never_had.h).
  std::vector<int32_t> NeverHad(int64_t event, uint32_t count) const;

 private:
  size_t ScenarioOf(int64_t event) const {
    return scenario_of_.empty() ? 0 : scenario_of_[static_cast<size_t>(event)];
  }

  const Dataset& dataset_;
  const History& history_;
  const std::vector<uint8_t>& scenario_of_;
  const std::vector<std::vector<int32_t>> items_;  // by scenario
  const uint64_t seed_;
};

}  // namespace emporium::worker
