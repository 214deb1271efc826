// The norm of all gradients of a step, put together from what every shard says of its own, and what
// clipping leaves of them. Any worker comes to the same bits. Pure functions.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "proto/exact_sum.h"
#include "proto/ids.h"
#include "proto/status.h"
#include "runtime/transport.h"

namespace emporium::worker {

// What a shard answers when it is asked for the squares of a step.
struct ShardSquares {
  Step version;  // at which it stands
  ExactSum squares;
};
// By shard. InvalidArgument when they cannot be read.
Result<std::vector<ShardSquares>> SquaresOf(std::span<const runtime::Message> replies);

// The L2 norm of the step's gradients. Nothing when an answer says that every shard has applied it
// long ago.
std::optional<double> NormOf(Step step, std::span<const ShardSquares> shards);

// What gradients of this norm are multiplied by so that it is at most `most`.
float ClipFactor(double norm, double most);

}  // namespace emporium::worker
