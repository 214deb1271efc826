#include "ps/popularity.h"

#include "proto/check.h"
#include "proto/exact_math.h"

namespace emporium::ps {

Decay::Decay(double half_life_steps)
    : halvings_per_step_(half_life_steps > 0 ? 1 / half_life_steps : 0) {
  EMPORIUM_CHECK(half_life_steps >= 0, "a half life is not negative");
}

double Decay::Factor(uint32_t from, uint32_t to) const {
  if (to <= from || halvings_per_step_ == 0) return 1;
  return HalfToThe((to - from) * halvings_per_step_);
}

}  // namespace emporium::ps
