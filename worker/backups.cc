#include "worker/backups.h"

#include <algorithm>

#include "proto/check.h"

namespace emporium::worker {
namespace {

constexpr size_t kRecent = 128;
constexpr int kOwnParts = 2;
// Shorter waits are not worth the messages.
constexpr std::chrono::milliseconds kLeast(10);

}  // namespace

void Backups::Recent::Add(Time value) {
  if (values_.size() < kRecent) {
    values_.push_back(value);
  } else {
    values_[next_] = value;
    next_ = (next_ + 1) % kRecent;
  }
}

Backups::Time Backups::Recent::Percentile(uint32_t percent) const {
  EMPORIUM_CHECK(!values_.empty(), "of nothing there is no percentile");
  std::vector<Time> sorted = values_;
  const size_t at = (sorted.size() - 1) * percent / 100;
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(at), sorted.end());
  return sorted[at];
}

void Backups::Begin(uint32_t rank, uint32_t workers) {
  rank_ = rank;
  workers_ = workers;
  reached_at_.reset();
  waits_since_.reset();
  due_.reset();
  looking_ = false;
}

void Backups::Reached(Step step, Time now) {
  if (reached_at_.has_value() && step <= step_) return;
  if (waits_since_.has_value()) {
    const Time waited = now - *waits_since_;
    waits_.Add(backed_up_ ? std::min(waited, patience_) : waited);
  }
  step_ = step;
  reached_at_ = now;
  waits_since_.reset();
  due_.reset();
  looking_ = false;
}

void Backups::Waits(Step step, Time now) {
  if (!reached_at_.has_value() || step != step_ || waits_since_.has_value()) return;
  own_parts_.Add(now - *reached_at_);
  waits_since_ = now;
  backed_up_ = false;
  rounds_ = 0;
  chosen_.clear();
  if (percent_ == 0 || workers_ < 2 || waits_.size() < std::max<size_t>(first_, 1)) return;
  patience_ = std::max(
      {waits_.Percentile(100 - percent_), kOwnParts * own_parts_.Percentile(50), Time(kLeast)});
  due_ = now + patience_;
}

Step Backups::Look() {
  EMPORIUM_CHECK(due_.has_value() && !looking_, "one lane at a time looks, when it is due");
  looking_ = true;
  return step_;
}

std::optional<MicroBatch> Backups::Choose(Step step, uint32_t lowest, uint32_t of, Time now) {
  if (!Waiting(step) || !looking_) return std::nullopt;
  looking_ = false;
  const uint32_t owner = lowest % workers_;
  if (lowest < of && owner != rank_) {
    // What its owner has left, shared out among the others: the next ranks first, and as many as
    // there is to do; more of them with each round that does not end the wait.
    const uint32_t left = (of - lowest + workers_ - 1) / workers_;
    const uint32_t place = (rank_ + workers_ - owner - 1) % workers_;
    for (uint32_t i = 0; i < left && place < uint64_t{left} * (rounds_ + 1); ++i) {
      const uint32_t m = lowest + (place + i) % left * workers_;
      if (!chosen_.insert(m).second) continue;
      backed_up_ = true;
      return MicroBatch(m);
    }
  }
  Postpone(now);
  return std::nullopt;
}

void Backups::GiveUp(Step step, Time now) {
  if (!Waiting(step) || !looking_) return;
  looking_ = false;
  Postpone(now);
}

void Backups::Postpone(Time now) {
  ++rounds_;
  due_ = now + patience_;
}

}  // namespace emporium::worker
