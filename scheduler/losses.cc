#include "scheduler/losses.h"

#include <algorithm>
#include <utility>

#include "scheduler/limits.h"

namespace emporium::scheduler {
namespace {

constexpr double kSmoothing = 0.1;  // a mean over about 2 / 0.1 steps
constexpr int64_t kMarkMs = 100;

// The mean over both points.
void Merge(const CurvePoint& from, CurvePoint* to) {
  const auto a = static_cast<double>(to->steps), b = static_cast<double>(from.steps);
  for (const auto& [name, value] : from.terms) {
    const auto found = to->terms.find(name);
    if (found == to->terms.end()) {
      to->terms[name] = value;
    } else {
      found->second = (found->second * a + value * b) / (a + b);
    }
  }
  to->steps += from.steps;
}

}  // namespace

LossTracker::LossTracker(TrainPlan plan, std::vector<CurvePoint> curve)
    : plan_(std::move(plan)), curve_(std::move(curve)) {
  for (const CurvePoint& point : curve_) {
    while (stride_ < point.steps) stride_ *= 2;
  }
}

uint64_t LossTracker::Add(const control::MicroBatchLoss& loss, uint64_t from, uint64_t until) {
  const auto step = static_cast<uint64_t>(loss.step);
  if (loss.step < 0 || step < std::max(from, settled_) || step >= until) return 0;
  const uint32_t of = plan_.MicroBatches(step);
  if (loss.micro_batch < 0 || static_cast<uint32_t>(loss.micro_batch) >= of) return 0;
  if (loss.samples < 0 || loss.terms.size() > limits::kMaxLossTerms) return 0;
  Parts& parts = open_[step];
  Part part{loss.samples, loss.terms};
  if (part.samples == 0) part.terms.clear();  // it was left out
  if (!parts.emplace(loss.micro_batch, std::move(part)).second) return 0;
  // Steps enter the curve in their order.
  while (!open_.empty() && open_.begin()->first == std::max(from, settled_) &&
         open_.begin()->second.size() == plan_.MicroBatches(open_.begin()->first)) {
    Settle(open_.begin()->first + 1);
  }
  // A worker that died took losses along: later steps do not wait for them for ever.
  if (step > settled_ + limits::kMaxOpenSteps) Settle(step - limits::kMaxOpenSteps);
  return static_cast<uint64_t>(loss.samples);
}

void LossTracker::Settle(uint64_t step) {
  settled_ = std::max(settled_, step);
  while (!open_.empty() && open_.begin()->first < step) {
    Finish(open_.begin()->first, open_.begin()->second);
    open_.erase(open_.begin());
  }
}

void LossTracker::Finish(uint64_t step, const Parts& parts) {
  // The mean over the micro-batches that have the term: a worker may have gone before it knew the
  // norm of the step's gradients.
  std::map<std::string, int64_t> samples;
  std::map<std::string, double> sums;
  for (const auto& [micro_batch, part] : parts) {
    for (const auto& [name, value] : part.terms) {
      samples[name] += part.samples;
      sums[name] += value * static_cast<double>(part.samples);
    }
  }
  for (auto& [name, sum] : sums) sum /= static_cast<double>(samples[name]);
  if (sums.empty()) return;
  const auto total = sums.find("loss");
  const double loss = total == sums.end() ? sums.begin()->second : total->second;
  smoothed_ = smoothed_.has_value() ? *smoothed_ + kSmoothing * (loss - *smoothed_) : loss;
  AddToCurve(step, sums);
  newest_ = std::move(sums);
}

void LossTracker::AddToCurve(uint64_t step, const std::map<std::string, double>& terms) {
  CurvePoint point{step, 1, terms};
  if (!curve_.empty() && step / stride_ == curve_.back().step / stride_) {
    Merge(point, &curve_.back());
    return;
  }
  if (curve_.size() >= limits::kMaxCurvePoints) {
    stride_ *= 2;
    std::vector<CurvePoint> coarser;
    for (CurvePoint& old : curve_) {
      if (!coarser.empty() && coarser.back().step / stride_ == old.step / stride_) {
        Merge(old, &coarser.back());
      } else {
        coarser.push_back(std::move(old));
      }
    }
    curve_ = std::move(coarser);
    AddToCurve(step, terms);
    return;
  }
  curve_.push_back(std::move(point));
}

void RateMeter::Add(int64_t now_ms, uint64_t count) {
  if (!marks_.empty() && now_ms - marks_.back().at_ms < kMarkMs && marks_.size() > 1) {
    marks_.back().count += count;
    sum_ += count;
    return;
  }
  if (!marks_.empty()) sum_ += count;
  marks_.push_back({now_ms, count});
  while (marks_.size() > 2 && now_ms - marks_.front().at_ms > limits::kRateWindowMs) {
    marks_.pop_front();
    sum_ -= marks_.front().count;
  }
}

double RateMeter::PerSecond(int64_t now_ms) const {
  if (marks_.size() < 2) return 0;
  const int64_t span = std::max<int64_t>(now_ms, marks_.back().at_ms) - marks_.front().at_ms;
  return span <= 0 ? 0 : static_cast<double>(sum_) * 1000.0 / static_cast<double>(span);
}

}  // namespace emporium::scheduler
