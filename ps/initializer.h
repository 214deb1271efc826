// Initial values of rows: a function of (seed, key) alone, by a counter-based generator, so that it
// does not matter who asks, when, or on which shard. Immutable; safe from any thread.
//
// Pinned for ever, because a checkpoint does not store rows that were only read. Value i of a key
// is made from
//   word(key, i) = Mix(stream + (i + 1) * gamma),  stream = Mix(Mix(seed + gamma) + key)
// where Mix is the finaliser of SplitMix64 and gamma its odd constant. Only +, -, *, / and sqrt of
// IEEE 754 doubles turn words into values (no libm, whose last bit differs between processors),
// so that every x86-64 machine gives the same bits; ps/initializer_loops.h does it several values
// at a time.
#pragma once

#include <cstdint>
#include <span>
#include <variant>

#include "proto/job.pb.h"
#include "proto/simd.h"
#include "proto/status.h"
#include "ps/initializer_loops.h"

namespace emporium::ps {

class Initializer {
 public:
  // Without a kind: the schema's default, normal with standard deviation 0.01. InvalidArgument when
  // a number makes no sense.
  static Result<Initializer> Make(const spec::Initializer& spec, uint64_t seed);

  // The initial weights of a row as wide as `values`.
  void Fill(uint64_t key, std::span<float> values) const { FillWith(BestSimd(), key, values); }
  // By the instructions of a level that the processor has; every level gives the same bits.
  void FillWith(SimdLevel level, uint64_t key, std::span<float> values) const;

 private:
  struct Constant {
    float value = 0;
  };
  struct Xavier {
    double gain = 0;
  };
  using Kind = std::variant<Constant, UniformRange, NormalRange, Xavier>;

  Initializer(const Kind& kind, uint64_t seed);

  Kind kind_;
  uint64_t mixed_seed_ = 0;
};

}  // namespace emporium::ps
