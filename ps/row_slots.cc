#include "ps/row_slots.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "proto/check.h"
#include "proto/exact_math.h"

namespace emporium::ps {
namespace {

constexpr size_t kWord = 4;

bool IsMean(const SlotRule& rule) {
  return rule.update == spec::Slot::EMA || rule.update == spec::Slot::LOG_EMA;
}

float Load(const std::byte* from) {
  float value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}
void Store(double value, std::byte* to) {
  const auto stored = static_cast<float>(value);
  std::memcpy(to, &stored, sizeof(stored));
}

// What is beyond a float stays the largest one.
double Bounded(double value) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  return std::clamp(value, -kLargest, kLargest);
}

// `updates` lies behind the value.
void ObserveMean(const SlotRule& rule, double x, std::byte* at) {
  const double value = Load(at);
  const double updates = Load(at + kWord);
  const double rho = std::max<double>(rule.least_rho, 1 / (1 + updates));
  if (rho == 1) {
    Store(x, at);
  } else if (rule.update == spec::Slot::EMA) {
    Store(value + rho * (x - value), at);
  } else {
    Store(LogAddExp(NaturalLog(1 - rho) + value, NaturalLog(rho) + x), at);
  }
  constexpr double kExact = 1 << 24;  // floats count no further
  Store(std::min(updates + 1, kExact), at + kWord);
}

}  // namespace

RowSlots::RowSlots(std::vector<SlotRule> rules, bool event_time)
    : rules_(std::move(rules)), words_(event_time ? 1 : 0) {
  at_.reserve(rules_.size());
  for (const SlotRule& rule : rules_) {
    at_.push_back(words_ * kWord);
    words_ += IsMean(rule) ? 2 : 1;
    fades_ = fades_ || rule.fades;
  }
}

void RowSlots::Init(std::byte* extras) const {
  std::memset(extras, 0, words_ * kWord);
  for (size_t s = 0; s < rules_.size(); ++s) Store(rules_[s].initial, extras + at_[s]);
}

void RowSlots::ReadInitial(std::span<float> values) const {
  for (size_t s = 0; s < rules_.size(); ++s) values[s] = rules_[s].initial;
}

void RowSlots::Read(const std::byte* extras, double factor, std::span<float> values) const {
  for (size_t s = 0; s < rules_.size(); ++s) {
    const float value = Load(extras + at_[s]);
    values[s] = rules_[s].fades ? static_cast<float>(value * factor) : value;
  }
}

void RowSlots::Fade(std::byte* extras, double factor) const {
  if (!fades_) return;
  for (size_t s = 0; s < rules_.size(); ++s) {
    if (rules_[s].fades) Store(Load(extras + at_[s]) * factor, extras + at_[s]);
  }
}

void RowSlots::Observe(std::byte* extras, std::span<const float> observed) const {
  EMPORIUM_CHECK(observed.size() == rules_.size(), "an observation for each slot");
  for (size_t s = 0; s < rules_.size(); ++s) {
    const double x = observed[s];
    if (std::isnan(x)) continue;
    std::byte* const at = extras + at_[s];
    switch (rules_[s].update) {
      case spec::Slot::SET:
        Store(x, at);
        break;
      case spec::Slot::ADD:
        Store(Bounded(Load(at) + x), at);
        break;
      case spec::Slot::MAX:
        Store(std::max<double>(Load(at), x), at);
        break;
      case spec::Slot::EMA:
      case spec::Slot::LOG_EMA:
        ObserveMean(rules_[s], x, at);
        break;
    }
  }
}

uint32_t RowSlots::Time(const std::byte* extras) {
  uint32_t time;
  std::memcpy(&time, extras, sizeof(time));
  return time;
}

void RowSlots::SetTime(std::byte* extras, uint32_t time) {
  std::memcpy(extras, &time, sizeof(time));
}

}  // namespace emporium::ps
