// Popularity: a count whose old sightings fade, c(t) = sum of added * 2^(-(t - step added) / half
// life). Stored as a value and the step that it is valid for; brought forward when it is touched or
// read. Values only; safe from any thread.
#pragma once

#include <cstdint>

namespace emporium::ps {

class Decay {
 public:
  explicit Decay(double half_life_steps);  // 0: never

  // What remains of a count valid at `from` when it is seen at `to`. A step before `from` (the
  // version before the last one may still be asked for) counts as `from`.
  double Factor(uint32_t from, uint32_t to) const;

 private:
  double halvings_per_step_;
};

}  // namespace emporium::ps
