#include "ps/popularity.h"

#include <array>
#include <cmath>
#include <cstddef>

#include "proto/check.h"

namespace emporium::ps {
namespace {

// Taylor coefficients of e^r: 1 / k!. Fourteen leave nothing above 1e-17 for |r| <= ln(2) / 2.
constexpr auto kExp = [] {
  std::array<double, 14> c{};
  double factorial = 1;
  for (size_t k = 0; k < c.size(); ++k) {
    if (k > 0) factorial *= static_cast<double>(k);
    c[k] = 1 / factorial;
  }
  return c;
}();

}  // namespace

double HalfToThe(double x) {
  if (x >= 1100) return 0;  // below the smallest double
  const double whole = std::floor(x + 0.5);
  const double r = (whole - x) * 0.693147180559945309417;
  double series = 0;
  for (size_t k = kExp.size(); k-- > 0;) series = series * r + kExp[k];
  return std::ldexp(series, -static_cast<int>(whole));
}

Decay::Decay(double half_life_steps)
    : halvings_per_step_(half_life_steps > 0 ? 1 / half_life_steps : 0) {
  EMPORIUM_CHECK(half_life_steps >= 0, "a half life is not negative");
}

double Decay::Factor(uint32_t from, uint32_t to) const {
  if (to <= from || halvings_per_step_ == 0) return 1;
  return HalfToThe((to - from) * halvings_per_step_);
}

}  // namespace emporium::ps
