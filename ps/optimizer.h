// The rule by which a gradient changes a row. One file each in ps/optimizers/; adding one touches
// its file, the factory and its test.
//
// Optimizers are lazy: a row that no gradient touches is left alone, also by decay and momentum
// (but for what Adam's decay_untouched makes up for), and what others call the step of the bias
// correction is the row's own number of updates.
// Immutable; safe from any thread.
//
// Bits: the loops work element by element in fp32 and use +, -, *, / and sqrt alone, which IEEE 754
// defines to the last bit; sums over a row have an order of their own (ps/optimizers/row_loops.h).
// They are compiled without contraction, so that vector width, compiler and processor cannot show.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "proto/job.pb.h"
#include "proto/simd.h"
#include "proto/status.h"

namespace emporium::ps {

// How often a row has been updated, this time included (1 or more), and how many steps since the
// last time left it out.
struct RowClock {
  uint32_t updates = 0;
  uint32_t missed = 0;
};

// A block of rows, each to be updated once: one virtual call serves them all. Rows are distinct and
// do not overlap; row i's state is StateFloats(dim) floats.
struct RowBatch {
  size_t rows = 0;
  uint32_t dim = 0;
  float* const* weights = nullptr;          // [rows], of dim floats each
  float* const* state = nullptr;            // [rows]; not read by optimizers without state
  const float* const* gradients = nullptr;  // [rows], of dim floats each
  const uint32_t* updates = nullptr;  // [rows], of the rows' clocks; null unless CountsUpdates()
  const uint32_t* missed = nullptr;   // [rows], the same; null unless CountsMissed()
  float learning_rate_factor = 1;
  float gradient_scale = 1;  // multiplies the gradients before anything else does
};

class Optimizer {
 public:
  Optimizer() = default;
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  // Floats of state that a row of `dim` weights carries.
  virtual uint32_t StateFloats(uint32_t dim) const = 0;
  // Whether an update depends on the row's number of updates.
  virtual bool CountsUpdates() const { return false; }
  // Whether it depends on the steps that left the row out.
  virtual bool CountsMissed() const { return false; }
  // Writes the state of a row that has these weights and has had no update.
  virtual void InitState(std::span<const float> weights, std::span<float> state) const = 0;
  // The processor must have the instructions of the level; every level gives the same bits.
  virtual void ApplyWith(SimdLevel level, const RowBatch& batch) const = 0;

  void ApplyRows(const RowBatch& batch) const { ApplyWith(BestSimd(), batch); }
  // Of one row.
  void Apply(std::span<float> weights, std::span<float> state, std::span<const float> gradient,
             RowClock clock, float learning_rate_factor) const;
};

// InvalidArgument names the field that makes no sense.
Result<std::unique_ptr<Optimizer>> MakeOptimizer(const spec::Optimizer& spec);

// The makers behind MakeOptimizer, each in the file of its name, for a spec of its kind whose
// settings have been checked.
std::unique_ptr<Optimizer> MakeSgd(const spec::Optimizer& spec);
std::unique_ptr<Optimizer> MakeMomentum(const spec::Optimizer& spec);
std::unique_ptr<Optimizer> MakeAdagrad(const spec::Optimizer& spec);
std::unique_ptr<Optimizer> MakeRowwiseAdagrad(const spec::Optimizer& spec);
std::unique_ptr<Optimizer> MakeAdam(const spec::Optimizer& spec);
std::unique_ptr<Optimizer> MakeAdamW(const spec::Optimizer& spec);
std::unique_ptr<Optimizer> MakeFtrl(const spec::Optimizer& spec);

}  // namespace emporium::ps
