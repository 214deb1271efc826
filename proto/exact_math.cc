#include "proto/exact_math.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

namespace emporium {
namespace {

constexpr double kLn2 = 0.693147180559945309417;

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

// 2 artanh(s) = ln((1 + s) / (1 - s)). Eighteen terms leave nothing above 1e-17 for |s| <= 1/3.
double TwiceArtanh(double s) {
  const double square = s * s;
  double series = 0;
  for (int k = 35; k >= 1; k -= 2) series = series * square + 1.0 / k;
  return 2 * s * series;
}

}  // namespace

double HalfToThe(double x) {
  if (!(x < 1100)) return 0;  // below the smallest double, or no number
  const double whole = std::floor(x + 0.5);
  const double r = (whole - x) * kLn2;
  double series = 0;
  for (size_t k = kExp.size(); k-- > 0;) series = series * r + kExp[k];
  return std::ldexp(series, -static_cast<int>(whole));
}

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

double ShareOfLog(double n, double total) {
  const double most = NaturalLog(1 + std::max(total, 0.0));
  if (most == 0) return 0;
  return std::min(NaturalLog(1 + std::max(n, 0.0)) / most, 1.0);
}

}  // namespace emporium
