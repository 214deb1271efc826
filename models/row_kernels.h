// The loops of models/kernels.h as a device runs them: what a node of the graph (models/rows.h)
// asks for in one call. Floats are of the device's memory, index arrays (Lists, events, offsets,
// rows) of the host's.
//
// Belongs to the thread of the device's lane, or to the one that goes backwards for it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/kernels.h"

namespace emporium::models {

// A matrix put together from parts; see AssembleRows.
struct AssemblyPart {
  const float* values = nullptr;  // rows of `dim` floats
  float* sink = nullptr;          // their gradient, added to; null: not wanted
  int32_t sink_rows = 0;          // rows of the sink
  Lists lists;
  int32_t dim = 0;
  int32_t column = 0;
  float weight = 1;
  bool add = false;  // to what earlier parts wrote into these columns
};
struct Assembly {
  int32_t rows = 0;
  int64_t width = 0;
  std::vector<AssemblyPart> parts;
};

// The events of samples and the item vectors that they are pooled from; see AgePool.
struct AgePoolInputs {
  const float* items = nullptr;
  int32_t dim = 0;
  int32_t rows = 0;  // of items
  const float* by_age = nullptr;
  int32_t ages = 0;
  const float* by_count = nullptr;
  int32_t counts = 0;
  std::span<const PoolEvent> events;
  std::span<const int32_t> offset;
};

// See FactorizationMachine.
struct FactorizationInputs {
  const float* x = nullptr;
  int64_t stride = 0;
  int32_t samples = 0;
  int32_t fields = 0;
  int32_t dim = 0;
};

// See WeighCounters.
struct CounterInputs {
  const float* counters = nullptr;
  std::span<const int32_t> rows;  // empty: row i
  int64_t n = 0;
  int32_t width = 0;  // floats of beta
};

// Sinks are added to in one order: blocks of kRowsPerBlock output rows, in a block the parts as
// they were given, in a part the output rows. Such a block stays in the CPU's cache while all parts
// are added to it.
constexpr int32_t kRowsPerBlock = 64;

class RowKernels {
 public:
  virtual ~RowKernels() = default;

  virtual void Assemble(const Assembly& assembly, float* out) = 0;
  // Adds to the sinks.
  virtual void AssembleBackward(const Assembly& assembly, const float* gradient) = 0;

  virtual void PoolByAge(const AgePoolInputs& in, float* shares, float* out) = 0;
  // Adds to the three gradients.
  virtual void PoolByAgeBackward(const AgePoolInputs& in, const float* shares,
                                 const float* out_gradient, float* items_gradient,
                                 float* by_age_gradient, float* by_count_gradient) = 0;

  virtual void Factorize(const FactorizationInputs& in, float* sums, float* out) = 0;
  // Writes gradient_x.
  virtual void FactorizeBackward(const FactorizationInputs& in, const float* sums,
                                 const float* out_gradient, float* gradient_x) = 0;

  virtual void Weigh(const CounterInputs& in, const float* beta, float* out) = 0;
  // Adds to beta_gradient.
  virtual void WeighBackward(const CounterInputs& in, const float* gradient,
                             float* beta_gradient) = 0;
};

}  // namespace emporium::models
