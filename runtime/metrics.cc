#include "runtime/metrics.h"

#include <array>
#include <charconv>

namespace emporium::runtime {
namespace {

template <class Metric, class Families>
Metric& FindOrMake(Families& families, const std::string& name, const std::string& label,
                   const std::string& help) {
  auto& family = families[name];
  if (family.help.empty()) family.help = help;
  auto& metric = family.by_label[label];
  if (metric == nullptr) metric = std::make_unique<Metric>();
  return *metric;
}

std::string Number(int64_t value) { return std::to_string(value); }
std::string Number(double value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return std::string(text.data(), end);
}

template <class Families>
void Print(const Families& families, const char* type, std::string* out) {
  for (const auto& [name, family] : families) {
    *out += "# HELP " + name + " " + family.help + "\n# TYPE " + name + " " + type + "\n";
    for (const auto& [label, metric] : family.by_label) {
      *out += name + (label.empty() ? "" : "{" + label + "}") + " " + Number(metric->value());
      *out += "\n";
    }
  }
}

}  // namespace

Counter& Registry::counter(const std::string& name, const std::string& label,
                           const std::string& help) {
  MutexLock lock(mutex_);
  return FindOrMake<Counter>(counters_, name, label, help);
}

Gauge& Registry::gauge(const std::string& name, const std::string& label, const std::string& help) {
  MutexLock lock(mutex_);
  return FindOrMake<Gauge>(gauges_, name, label, help);
}

std::string Registry::PrometheusText() const {
  MutexLock lock(mutex_);
  std::string out;
  Print(counters_, "counter", &out);
  Print(gauges_, "gauge", &out);
  return out;
}

}  // namespace emporium::runtime
