// The part of a row that no gradient changes: slots, each with its own rule (models.md H3), and the
// time at which what fades was last brought forward, where the table fades by event time.
//
//   extras := time u32 (if by event time) | slot*      words of 4 bytes, not aligned
//   slot   := value f32 (SET, ADD, MAX) | value f32, updates f32 (EMA, LOG_EMA)
//
// One observation changes one slot:
//   SET      v <- x
//   ADD      v <- v + x; a fading one is multiplied by the popularity's decay when it is touched
//   MAX      v <- max(v, x)
//   EMA      v <- v + rho (x - v)
//   LOG_EMA  v <- logaddexp(log(1 - rho) + v, log(rho) + x)
//            where rho = max(least rho, 1 / (k + 1)), k = observations before
// The numbers are doubles until they are stored, made by +, -, *, / alone.  Immutable; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "proto/job.pb.h"

namespace emporium::ps {

struct SlotRule {
  spec::Slot::Update update = spec::Slot::ADD;
  bool fades = false;   // ADD: with the half life of the popularity
  float least_rho = 0;  // EMA, LOG_EMA
  float initial = 0;    // before the first observation
  friend bool operator==(const SlotRule&, const SlotRule&) = default;
};

class RowSlots {
 public:
  RowSlots(std::vector<SlotRule> rules, bool event_time);

  uint32_t slots() const { return static_cast<uint32_t>(rules_.size()); }
  // 4-byte words that a row has for all this.
  uint32_t words() const { return words_; }

  // A row that nothing was observed of.
  void Init(std::byte* extras) const;
  // Nothing was observed of a key without a row.
  void ReadInitial(std::span<float> values) const;
  // The values; those that fade times `factor`.
  void Read(const std::byte* extras, double factor, std::span<float> values) const;
  // Brings what fades forward.
  void Fade(std::byte* extras, double factor) const;
  // Takes one observation for each slot; NaN: none.
  void Observe(std::byte* extras, std::span<const float> observed) const;

  // Only with event time.
  static uint32_t Time(const std::byte* extras);
  static void SetTime(std::byte* extras, uint32_t time);

 private:
  const std::vector<SlotRule> rules_;
  std::vector<uint32_t> at_;  // by slot: its first byte
  uint32_t words_ = 0;
  bool fades_ = false;
};

}  // namespace emporium::ps
