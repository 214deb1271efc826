// Initial values of rows: a function of (seed, key) alone, by a counter-based generator, so that it
// does not matter who asks, when, or on which shard. Immutable; safe from any thread.
//
// Pinned for ever, because a checkpoint does not store rows that were only read. Value i of a key
// is made from
//   word(key, i) = Mix(stream + (i + 1) * gamma),  stream = Mix(Mix(seed + gamma) + key)
// where Mix is the finaliser of SplitMix64 and gamma its odd constant. Only +, -, *, / and sqrt of
// IEEE 754 doubles turn words into values (no libm, whose last bit differs between processors),
// so that every x86-64 machine gives the same bits.
#pragma once

#include <cstdint>
#include <span>
#include <variant>

#include "proto/job.pb.h"
#include "proto/status.h"

namespace emporium::ps {

class Initializer {
 public:
  // Without a kind: the schema's default, normal with standard deviation 0.01. InvalidArgument when
  // a number makes no sense.
  static Result<Initializer> Make(const spec::Initializer& spec, uint64_t seed);

  void Fill(uint64_t key, std::span<float> values) const;

 private:
  struct Constant {
    float value = 0;
  };
  struct Uniform {
    double low = 0;
    double width = 0;
    float below_high = 0;  // the largest float that is still inside
  };
  struct Normal {
    double mean = 0;
    double stddev = 0;
  };
  using Kind = std::variant<Constant, Uniform, Normal>;

  Initializer(const Kind& kind, uint64_t seed);

  Kind kind_;
  uint64_t mixed_seed_ = 0;
};

// The value below which a standard normal variable falls with probability `p` in (0, 1), to about
// seven digits. Deterministic on every machine.
double NormalQuantile(double p);

}  // namespace emporium::ps
