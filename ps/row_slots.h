// The part of a row that no gradient changes: slots, each with its own rule (models.md H3), and the
// time at which what fades was last brought forward, where the table fades by event time.
//
//   extras := time u32 (if by event time) | slot*      words of 4 bytes, not aligned
//   slot   := value f32 (SET, ADD, MAX, MIN) | value f32, updates f32 (EMA, LOG_EMA)
//           | seconds u32 since 1970, 0: none yet (SET, MAX, MIN of a time)
//
// One observation changes one slot:
//   SET      v <- x
//   ADD      v <- v + x; a fading one is multiplied by its decay when its row is touched:
//            v <- v 2^(-(t - t of the last touch) / half life)
//   MAX      v <- max(v, x)
//   MIN      v <- min(v, x)
//   EMA      v <- v + rho (x - v)
//   LOG_EMA  v <- logaddexp(log(1 - rho) + v, log(rho) + x)
//            where rho = max(least rho, 1 / (k + 1)), k = observations before
// The numbers are doubles until they are stored, made by +, -, *, / alone. A time stands in the
// place of a float wherever values are handed out or in: its bits are the seconds, exact.
// Immutable; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "proto/frame.h"
#include "proto/job.pb.h"

namespace emporium::ps {

struct SlotRule {
  spec::Slot::Update update = spec::Slot::ADD;
  double half_life = 0;  // ADD: in ticks of the table (ps/table.h); 0: it does not fade
  float least_rho = 0;   // EMA, LOG_EMA
  float initial = 0;     // before the first observation
  bool time = false;     // its values are seconds u32
  std::string name = {};
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
  // The values of a row that was touched at tick `from`, as of tick `to`.
  void Read(const std::byte* extras, uint32_t from, uint32_t to, std::span<float> values) const;
  bool fades() const { return fades_; }
  // Brings what fades forward.
  void Fade(std::byte* extras, uint32_t from, uint32_t to) const;
  // Takes one observation of each slot whose bit is set.
  void Observe(std::byte* extras, const Observation& observed) const;

  // Slots that are counters (ADD), ascending.
  std::span<const uint32_t> counters() const { return counters_; }
  double half_life(uint32_t slot) const { return rules_[slot].half_life; }
  // As it is stored.
  float Value(const std::byte* extras, uint32_t slot) const;

  // Only with event time.
  static uint32_t Time(const std::byte* extras);
  static void SetTime(std::byte* extras, uint32_t time);

 private:
  const std::vector<SlotRule> rules_;
  std::vector<uint32_t> at_;  // by slot: its first byte
  std::vector<uint32_t> counters_;
  uint32_t words_ = 0;
  bool fades_ = false;
};

}  // namespace emporium::ps
