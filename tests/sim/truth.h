// What a job without faults does: what each of its micro-batches reads, how it is evaluated, and
// the model that it ends with. A job under faults must do just that.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>

namespace emporium::sim {

struct Truth {
  using MicroBatch = std::tuple<int, uint64_t, uint32_t>;  // stage, step, number
  std::map<MicroBatch, uint64_t> pulled;                   // a hash of the rows
  std::map<std::string, double> metrics;
  std::string digest;  // of the last checkpoint
};

}  // namespace emporium::sim
