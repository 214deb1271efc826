#include "worker/step_norm.h"

#include <cmath>

#include "proto/frame.h"

namespace emporium::worker {

Result<std::vector<ShardSquares>> SquaresOf(std::span<const runtime::Message> replies) {
  std::vector<ShardSquares> shards;
  for (const runtime::Message& reply : replies) {
    EMPORIUM_ASSIGN_OR_RETURN(const FrameView frame, FrameView::Parse(reply.bytes()));
    shards.push_back({frame.header().step, frame.squares()});
  }
  return shards;
}

std::optional<double> NormOf(Step step, std::span<const ShardSquares> shards) {
  ExactSum sum;
  for (const ShardSquares& shard : shards) {
    // No shard is more than one step ahead of another.
    if (shard.version > step.next()) return std::nullopt;
    sum.Add(shard.squares);
  }
  return std::sqrt(sum.Rounded());
}

float ClipFactor(double norm, double most) {
  return norm > most ? static_cast<float>(most / norm) : 1;
}

}  // namespace emporium::worker
