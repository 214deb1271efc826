#include "ps/barrier.h"

#include <string>
#include <utility>

#include "proto/check.h"
#include "proto/planted_bug.h"

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

bool Barrier::Knows(const FrameHeader& header) const {
  const Window& window = windows_[header.step.value() % 2];
  if (Planted(PlantedBug::kTakesRepetitions)) return false;
  return header.micro_batch.value() < window.micro_batches &&
         window.Knows(header.micro_batch.value());
}

Result<Barrier::Outcome> Barrier::Stage(StagedPush&& push) {
  const FrameHeader& header = push.frame.header();
  const bool next = header.step != step_;
  EMPORIUM_CHECK(!next || header.step == step_.next(), "only two steps are held");
  Window& window = windows_[header.step.value() % 2];
  const uint32_t m = header.micro_batch.value();
  EMPORIUM_CHECK(m < header.micro_batches, "the codec checks this");
  const bool first = window.micro_batches == 0;
  const std::string where = "step " + std::to_string(header.step.value()) + ": ";
  if (!first && header.micro_batches != window.micro_batches) {
    return InvalidArgument(where + "a push says " + std::to_string(header.micro_batches) +
                           " micro-batches, one before it " + std::to_string(window.micro_batches) +
                           "; all workers need the same job file");
  }
  if (!first && header.learning_rate_factor != window.learning_rate_factor) {
    return InvalidArgument(where +
                           "pushes disagree on the learning-rate factor; all workers need "
                           "the same job file");
  }
  if (!first && header.awaits_scale != window.awaits_scale) {
    return InvalidArgument(where +
                           "pushes disagree on whether gradients are clipped by their norm; all "
                           "workers need the same job file");
  }
  if (!first && window.Knows(m) && Planted(PlantedBug::kTakesRepetitions) && m >= window.taken) {
    ++window.taken;  // counted twice: another one is left out
    return Outcome::kKnown;
  }
  if (!first && window.Knows(m)) return Outcome::kKnown;
  const uint64_t bytes = push.bytes.bytes().size() + kOverheadBytes;
  if (staged_bytes_ + bytes > max_bytes_ || (next && window.bytes + bytes > max_bytes_ / 2)) {
    return Busy(where + std::to_string(staged_bytes_) + " bytes of gradients are staged, at most " +
                std::to_string(max_bytes_) +
                "; send it again, or use more shards or smaller steps");
  }
  if (first) {
    window.micro_batches = header.micro_batches;
    window.pushes.resize(header.micro_batches);
    window.learning_rate_factor = header.learning_rate_factor;
    window.awaits_scale = header.awaits_scale;
  }
  window.pushes[m].emplace(std::move(push));
  window.bytes += bytes;
  staged_bytes_ += bytes;
  return Outcome::kStaged;
}

std::optional<StagedPush> Barrier::TakeNext() {
  Window& window = windows_[step_.value() % 2];
  if (window.missing() == 0) return std::nullopt;
  if (Planted(PlantedBug::kAddsAsTheyCome)) {
    for (size_t m = window.taken; m < window.pushes.size(); ++m) {
      if (!window.pushes[m].has_value()) continue;
      std::swap(window.pushes[m], window.pushes[window.taken]);
      break;
    }
  }
  if (!window.pushes[window.taken].has_value()) return std::nullopt;
  return std::exchange(window.pushes[window.taken++], std::nullopt);
}

void Barrier::Advance() {
  EMPORIUM_CHECK(complete(), "a step ends when all of it has been taken");
  Window& window = windows_[step_.value() % 2];
  staged_bytes_ -= window.bytes;
  window = Window{};
  step_ = step_.next();
}

}  // namespace emporium::ps
