#include "ps/row_slots.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "proto/check.h"
#include "proto/exact_math.h"
#include "ps/popularity.h"

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

uint32_t LoadTime(const std::byte* from) {
  uint32_t seconds;
  std::memcpy(&seconds, from, sizeof(seconds));
  return seconds;
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

// What remains over some ticks, by half life. Most slots of a table have the same one.
class Factors {
 public:
  Factors(uint32_t from, uint32_t to) : from_(from), to_(to) {}
  double Of(double half_life) {
    if (half_life != half_life_) factor_ = Decay(half_life).Factor(from_, to_);
    half_life_ = half_life;
    return factor_;
  }

 private:
  const uint32_t from_, to_;
  double half_life_ = 0;
  double factor_ = 1;
};

// 0: no time yet.
void ObserveTime(spec::Slot::Update update, uint32_t seconds, std::byte* at) {
  const uint32_t before = LoadTime(at);
  if (before != 0 && update == spec::Slot::MIN) seconds = std::min(seconds, before);
  if (update == spec::Slot::MAX) seconds = std::max(seconds, before);
  std::memcpy(at, &seconds, sizeof(seconds));
}

}  // namespace

RowSlots::RowSlots(std::vector<SlotRule> rules, bool event_time)
    : rules_(std::move(rules)), words_(event_time ? 1 : 0) {
  at_.reserve(rules_.size());
  for (uint32_t s = 0; s < slots(); ++s) {
    const SlotRule& rule = rules_[s];
    at_.push_back(words_ * kWord);
    words_ += IsMean(rule) ? 2 : 1;
    fades_ = fades_ || rule.half_life > 0;
    if (rule.update == spec::Slot::ADD) counters_.push_back(s);
  }
}

void RowSlots::Init(std::byte* extras) const {
  std::memset(extras, 0, words_ * kWord);
  for (size_t s = 0; s < rules_.size(); ++s) Store(rules_[s].initial, extras + at_[s]);
}

void RowSlots::ReadInitial(std::span<float> values) const {
  for (size_t s = 0; s < rules_.size(); ++s) values[s] = rules_[s].initial;
}

void RowSlots::Read(const std::byte* extras, uint32_t from, uint32_t to,
                    std::span<float> values) const {
  Factors factors(from, to);
  for (size_t s = 0; s < rules_.size(); ++s) {
    const std::byte* const at = extras + at_[s];
    if (rules_[s].half_life > 0) {
      values[s] = static_cast<float>(Load(at) * factors.Of(rules_[s].half_life));
    } else {
      std::memcpy(&values[s], at, sizeof(float));  // a float, or the bits of a time
    }
  }
}

void RowSlots::Fade(std::byte* extras, uint32_t from, uint32_t to) const {
  Factors factors(from, to);
  for (const uint32_t s : counters_) {
    if (rules_[s].half_life == 0) continue;
    std::byte* const at = extras + at_[s];
    Store(Load(at) * factors.Of(rules_[s].half_life), at);
  }
}

float RowSlots::Value(const std::byte* extras, uint32_t slot) const {
  return Load(extras + at_[slot]);
}

void RowSlots::Observe(std::byte* extras, const Observation& observed) const {
  size_t next = 0;
  for (uint32_t left = observed.mask; left != 0; left &= left - 1) {
    const auto s = static_cast<uint32_t>(std::countr_zero(left));
    EMPORIUM_CHECK(s < rules_.size(), "an observation of a slot that the table has");
    const float value = observed.values[next++];
    std::byte* const at = extras + at_[s];
    if (rules_[s].time) {
      ObserveTime(rules_[s].update, std::bit_cast<uint32_t>(value), at);
      continue;
    }
    const double x = value;
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
      case spec::Slot::MIN:
        Store(std::min<double>(Load(at), x), at);
        break;
      case spec::Slot::EMA:
      case spec::Slot::LOG_EMA:
        ObserveMean(rules_[s], x, at);
        break;
    }
  }
}

uint32_t RowSlots::Time(const std::byte* extras) { return LoadTime(extras); }

void RowSlots::SetTime(std::byte* extras, uint32_t time) {
  std::memcpy(extras, &time, sizeof(time));
}

}  // namespace emporium::ps
