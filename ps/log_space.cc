#include "ps/log_space.h"

#include <cmath>
#include <limits>
#include <utility>

#include "ps/popularity.h"

namespace emporium::ps {
namespace {

constexpr double kLn2 = 0.693147180559945309417;

// 2 artanh(s) = ln((1 + s) / (1 - s)). Eighteen terms leave nothing above 1e-17 for |s| <= 1/3.
double TwiceArtanh(double s) {
  const double square = s * s;
  double series = 0;
  for (int k = 35; k >= 1; k -= 2) series = series * square + 1.0 / k;
  return 2 * s * series;
}

}  // namespace

double NaturalLog(double x) {
  if (x == 0) return -std::numeric_limits<double>::infinity();
  int exponent = 0;
  double fraction = std::frexp(x, &exponent);  // [1/2, 1); exact
  if (fraction < 0.707106781186547524) {
    fraction *= 2;
    --exponent;
  }
  return exponent * kLn2 + TwiceArtanh((fraction - 1) / (fraction + 1));
}

double LogAddExp(double a, double b) {
  if (a < b) std::swap(a, b);
  if (b == -std::numeric_limits<double>::infinity()) return a;
  const double ratio = HalfToThe((a - b) / kLn2);  // e^(b - a), at most 1
  return a + TwiceArtanh(ratio / (2 + ratio));     // ln(1 + r)
}

}  // namespace emporium::ps
