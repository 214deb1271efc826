// Counters and gauges of a process or of one of its parts, and their text form for Prometheus.
// A Registry is made by whoever owns the parts and handed down; there is no global one.
// Safe from any thread; a counter is one atomic.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "runtime/thread_annotations.h"

namespace emporium::runtime {

class Counter {
 public:
  void Add(int64_t n) { value_.fetch_add(n, std::memory_order_relaxed); }
  int64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

class Gauge {
 public:
  void Set(double value) { value_.store(value, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

class Registry {
 public:
  // The metric of this name and label ("shard=\"3\"", or empty), made when it is not there yet;
  // valid as long as the registry. `help` of the first call is kept.
  Counter& counter(const std::string& name, const std::string& label, const std::string& help)
      EMPORIUM_EXCLUDES(mutex_);
  Gauge& gauge(const std::string& name, const std::string& label, const std::string& help)
      EMPORIUM_EXCLUDES(mutex_);
  // Prometheus text exposition format 0.0.4, in order of name and label.
  std::string PrometheusText() const EMPORIUM_EXCLUDES(mutex_);

 private:
  template <class Metric>
  struct Family {
    std::string help;
    std::map<std::string, std::unique_ptr<Metric>> by_label;
  };
  mutable Mutex mutex_;
  std::map<std::string, Family<Counter>> counters_ EMPORIUM_GUARDED_BY(mutex_);
  std::map<std::string, Family<Gauge>> gauges_ EMPORIUM_GUARDED_BY(mutex_);
};

}  // namespace emporium::runtime
