// The slots of a table's rows, and the totals of what it counts.
#include <utility>

#include "proto/check.h"
#include "ps/table_impl.h"

namespace emporium::ps {

void Table::ReadSlots(std::span<const Slot> slots, uint32_t step, std::span<float> values) const {
  const Impl& t = *impl_;
  const size_t width = t.extras.slots();
  EMPORIUM_CHECK(values.size() == slots.size() * width, "room for the slots of every row");
  for (size_t i = 0; i < slots.size(); ++i) {
    const std::span<float> out = values.subspan(i * width, width);
    if (slots[i] == kNoSlot) {
      t.extras.ReadInitial(out);
      continue;
    }
    const std::byte* const tail = t.slabs.At(slots[i]).tail;
    t.extras.Read(t.shape().Extra(tail), t.TickOf(tail), t.TickAt(step), out);
  }
}

void Table::Observe(std::span<const uint64_t> keys, std::span<const Slot> slots,
                    std::span<const Observation> observed) {
  Impl& t = *impl_;
  EMPORIUM_CHECK(keys.size() == slots.size() && observed.size() == slots.size(),
                 "an observation for every row");
  t.BeforeChange(keys, slots);
  for (size_t i = 0; i < slots.size(); ++i) {
    if (slots[i] == kNoSlot) continue;
    std::byte* const tail = t.slabs.At(slots[i]).tail;
    std::byte* const extras = t.shape().Extra(tail);
    t.slot_stats.Hold(extras, t.TickOf(tail));
    t.extras.Observe(extras, observed[i]);
    t.slot_stats.Settle(keys[i], extras, t.TickOf(tail));
  }
}

std::span<const uint32_t> Table::counters() const { return impl_->extras.counters(); }

PopularitySummary Table::popularity_summary(uint32_t step) const {
  return impl_->stats.Summary(impl_->TickAt(step));
}

std::vector<PopularitySummary> Table::counter_summaries(uint32_t step) const {
  return impl_->slot_stats.Summaries(impl_->TickAt(step));
}

Table::Totals Table::totals(uint32_t step) const {
  const Impl& t = *impl_;
  const uint32_t from = t.event_time() ? t.total.time : t.total.step;
  const uint32_t to = t.TickAt(step);
  Totals totals{t.total.value * t.decay.Factor(from, to), t.total.slots};
  for (size_t c = 0; c < totals.slots.size(); ++c) {
    totals.slots[c] *= Decay(t.extras.half_life(t.extras.counters()[c])).Factor(from, to);
  }
  return totals;
}

void Table::AddToTotals(const Totals& added, uint32_t step) {
  const uint32_t time = impl_->event_time() ? impl_->TickAt(step) : 0;
  Totals totals = this->totals(step);
  EMPORIUM_CHECK(added.slots.size() == totals.slots.size(), "a sum for every counter");
  for (size_t c = 0; c < totals.slots.size(); ++c) totals.slots[c] += added.slots[c];
  impl_->total = {totals.popularity + added.popularity, step, time, std::move(totals.slots)};
}

const Table::Total& Table::total() const { return impl_->total; }

void Table::RestoreTotal(Total total) {
  EMPORIUM_CHECK(total.slots.size() == counters().size(), "the checkpoint is of this table");
  impl_->clock = {total.step, total.time, total.time};
  impl_->total = std::move(total);
}

}  // namespace emporium::ps
