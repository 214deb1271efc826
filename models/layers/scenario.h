// What models share that tell scenarios apart (models.md M12): the samples of a batch sorted by
// scenario, vectors of scenarios, gates, partitioned normalisation.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/layers/layers.h"
#include "models/layers/norm.h"
#include "models/parameters.h"
#include "models/pass.h"

namespace emporium::models {

// What the parameters of a scenario are called.
inline std::string ScenarioName(int32_t scenario) { return "scenario" + std::to_string(scenario); }

// The samples of a batch, those of scenario 0 first, each scenario's in their own order. Lives as
// long as the pass.
class ScenarioOrder {
 public:
  ScenarioOrder(Pass& pass, int32_t scenarios);

  int32_t scenarios() const { return static_cast<int32_t>(begin_.size()) - 1; }
  int64_t begin(int32_t scenario) const { return begin_[static_cast<size_t>(scenario)]; }
  int64_t count(int32_t scenario) const { return begin(scenario + 1) - begin(scenario); }
  // The samples of one scenario.
  std::span<const int32_t> samples(int32_t scenario) const {
    return order_.subspan(static_cast<size_t>(begin(scenario)),
                          static_cast<size_t>(count(scenario)));
  }
  // Rows of samples in the order, and back.
  at::Tensor Sort(Pass& pass, const at::Tensor& x) const;
  at::Tensor Restore(Pass& pass, const at::Tensor& sorted) const;
  // f(scenario, its rows of `sorted`) for each scenario with samples, one below the other.
  template <class F>
  std::vector<at::Tensor> ForEach(const at::Tensor& sorted, F f) const {
    std::vector<at::Tensor> parts;
    for (int32_t s = 0; s < scenarios(); ++s) {
      if (count(s) > 0) parts.push_back(f(s, sorted.narrow(0, begin(s), count(s))));
    }
    return parts;
  }

 private:
  std::vector<int32_t> begin_;       // [scenarios + 1]
  std::span<const int32_t> order_;   // [B] samples
  std::span<const int32_t> places_;  // [B] of each sample in the order
};

// A vector for each scenario.
class ScenarioVectors {
 public:
  ScenarioVectors() = default;
  ScenarioVectors(ParameterList& list, int32_t scenarios, int64_t width);
  // Each sample's: [B, width].
  at::Tensor Forward(Pass& pass) const;

 private:
  ParameterId vectors_;
};

// gate(x) = 2 sigma(W2 relu(W1 x + b1) + b2): 1 is neutral (models.md 3.6). With `neutral` W2 and
// b2 start at zero, so that all gates start at 1.
class GateUnit {
 public:
  GateUnit() = default;
  GateUnit(ParameterList& list, const std::string& name, int64_t in, int64_t hidden, int64_t out,
           bool neutral);
  at::Tensor Forward(const Pass& pass, const at::Tensor& x) const;

 private:
  Linear in_;
  Linear out_;
};

// Batch normalisation with statistics of each scenario; the scale is gamma * gamma_s, the shift
// beta + beta_s. A scenario without samples in a batch observes nothing.
class PartitionedNorm {
 public:
  PartitionedNorm() = default;
  PartitionedNorm(ParameterList& list, const std::string& name, int64_t width, int32_t scenarios);
  bool exists() const { return scale_.exists(); }
  // Of rows in the order.
  at::Tensor Forward(Pass& pass, const at::Tensor& sorted, const ScenarioOrder& order) const;

 private:
  ParameterId scale_;
  ParameterId shift_;
  std::vector<BatchNorm> own_;
};

}  // namespace emporium::models
