#include "ps/barrier.h"

#include <string>
#include <utility>

#include "proto/check.h"

namespace emporium::ps {
namespace {

// What an empty push costs beside its bytes.
constexpr uint64_t kOverheadBytes = 256;

}  // namespace

void Barrier::Reset(Step step) {
  windows_ = {};
  staged_bytes_ = 0;
  step_ = step;
}

Result<Barrier::Outcome> Barrier::Stage(StagedPush push) {
  const FrameHeader& header = push.frame.header();
  const bool next = header.step != step_;
  EMPORIUM_CHECK(!next || header.step == step_.next(), "only two steps are held");
  Window& window = windows_[header.step.value() % 2];
  const uint32_t m = header.micro_batch.value();
  if (window.pushes.empty()) {
    EMPORIUM_CHECK(m < header.micro_batches, "the codec checks this");
    window.pushes.resize(header.micro_batches);
    window.missing = header.micro_batches;
    window.learning_rate_factor = header.learning_rate_factor;
  }
  const std::string where = "step " + std::to_string(header.step.value()) + ": ";
  if (header.micro_batches != window.pushes.size()) {
    return InvalidArgument(where + "a push says " + std::to_string(header.micro_batches) +
                           " micro-batches, one before it " + std::to_string(window.pushes.size()) +
                           "; all workers need the same job file");
  }
  if (header.learning_rate_factor != window.learning_rate_factor) {
    return InvalidArgument(where +
                           "pushes disagree on the learning-rate factor; all workers need "
                           "the same job file");
  }
  if (window.pushes[m].has_value()) return Outcome::kKnown;
  const uint64_t bytes = push.bytes.bytes().size() + kOverheadBytes;
  if (staged_bytes_ + bytes > max_bytes_ || (next && window.bytes + bytes > max_bytes_ / 2)) {
    return Busy(where + std::to_string(staged_bytes_) + " bytes of gradients are staged, at most " +
                std::to_string(max_bytes_) +
                "; send it again, or use more shards or smaller steps");
  }
  window.pushes[m].emplace(std::move(push));
  --window.missing;
  window.bytes += bytes;
  staged_bytes_ += bytes;
  return Outcome::kStaged;
}

std::vector<StagedPush> Barrier::Take() {
  EMPORIUM_CHECK(complete(), "a step is taken when all of it is here");
  Window& window = windows_[step_.value() % 2];
  std::vector<StagedPush> pushes;
  pushes.reserve(window.pushes.size());
  for (std::optional<StagedPush>& push : window.pushes) pushes.push_back(*std::move(push));
  staged_bytes_ -= window.bytes;
  window = Window{};
  step_ = step_.next();
  return pushes;
}

}  // namespace emporium::ps
