// The rule by which a gradient changes a row. One file each in ps/optimizers/; adding one touches
// its file, the factory and its test.
//
// Optimizers are lazy: a row that no gradient touches is left alone, also by decay and momentum,
// and what others call the step of the bias correction is the row's own number of updates.
// Immutable; safe from any thread.
//
// Bits: the loops work element by element in fp32 and use +, -, *, / and sqrt alone, which IEEE 754
// defines to the last bit; they are compiled without contraction, so that vector width, compiler
// and processor cannot show.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "proto/job.pb.h"
#include "proto/status.h"

namespace emporium::ps {

// A block of rows, each to be updated once: one virtual call serves them all. Rows are distinct and
// do not overlap; row i's state is StateFloats(dim) floats.
struct RowBatch {
  size_t rows = 0;
  uint32_t dim = 0;
  float* const* weights = nullptr;    // [rows], of dim floats each
  float* const* state = nullptr;      // [rows]; not read by optimizers without state
  const float* gradients = nullptr;   // [rows, dim]
  const uint32_t* updates = nullptr;  // [rows], as Apply takes them; null unless CountsUpdates()
  float learning_rate_factor = 1;
};

class Optimizer {
 public:
  Optimizer() = default;
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  // Floats of state that a row of `dim` weights carries.
  virtual uint32_t StateFloats(uint32_t dim) const = 0;
  // Writes the state of a row that has these weights and has had no update.
  virtual void InitState(std::span<const float> weights, std::span<float> state) const = 0;
  // One update. `updates` is the row's number of updates, this one included (1 or more);
  // `learning_rate_factor` multiplies the optimizer's own rate in this update.
  virtual void Apply(std::span<float> weights, std::span<float> state,
                     std::span<const float> gradient, uint32_t updates,
                     float learning_rate_factor) const = 0;
  // The same for each row of a block, with the same bits. Overridden where a loop of its own is
  // faster than Apply row by row.
  virtual void ApplyRows(const RowBatch& batch) const;
  // Whether `updates` matters, so that rows must carry the number.
  virtual bool CountsUpdates() const { return false; }
};

// InvalidArgument names the field that makes no sense.
Result<std::unique_ptr<Optimizer>> MakeOptimizer(const spec::Optimizer& spec);

// The makers behind MakeOptimizer, each in the file of its name; their settings have been checked.
std::unique_ptr<Optimizer> MakeSgd(const spec::Optimizer::Sgd& spec);
std::unique_ptr<Optimizer> MakeMomentum(const spec::Optimizer::Momentum& spec);
std::unique_ptr<Optimizer> MakeAdagrad(const spec::Optimizer::Adagrad& spec);
std::unique_ptr<Optimizer> MakeRowwiseAdagrad(const spec::Optimizer::RowwiseAdagrad& spec);
std::unique_ptr<Optimizer> MakeAdam(const spec::Optimizer::Adam& spec);
std::unique_ptr<Optimizer> MakeAdamW(const spec::Optimizer::AdamW& spec);
std::unique_ptr<Optimizer> MakeFtrl(const spec::Optimizer::Ftrl& spec);

}  // namespace emporium::ps
