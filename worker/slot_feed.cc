#include "worker/slot_feed.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "proto/exact_math.h"

namespace emporium::worker {

Result<SlotColumns> SlotColumns::Create(const Dataset& dataset, const spec::Job& job) {
  SlotColumns columns;
  for (const spec::Table& table : job.table()) {
    std::vector<Slot>& slots = columns.slots_.emplace_back();
    for (const spec::Slot& spec : table.slot()) {
      Slot& slot = slots.emplace_back();
      slot.update = spec.update();
      if (spec.column().empty()) continue;
      EMPORIUM_ASSIGN_OR_RETURN(const ColumnView view, dataset.event_column(spec.column()));
      const auto events = static_cast<size_t>(dataset.events());
      if (view.type == spec::INT && view.ints.size() == events) {
        slot.ints = view.ints;
      } else if (view.type == spec::FLOAT && view.floats.size() == events) {
        slot.floats = view.floats;
      } else {
        return InvalidArgument("table \"" + table.name() + "\", slot \"" + spec.name() +
                               "\": column \"" + spec.column() +
                               "\" holds no numbers for it; name an INT or FLOAT column of "
                               "data.events that is not the time");
      }
    }
  }
  return columns;
}

void SlotFeed::Add(const SlotColumns::Slot& slot, double x, Seen* seen) const {
  const bool first = seen->times++ == 0;
  switch (slot.update) {
    case spec::Slot::ADD:
    case spec::Slot::EMA:
      seen->value += x;
      return;
    case spec::Slot::SET:
      seen->value = x;
      return;
    case spec::Slot::MAX:
      seen->value = first ? x : std::max(seen->value, x);
      return;
    case spec::Slot::LOG_EMA:
      seen->value = first ? x : LogAddExp(seen->value, x);
      return;
  }
}

void SlotFeed::Observe(const models::RowLists& lists, std::span<const int64_t> rows) {
  const std::span<const SlotColumns::Slot> slots = columns_.of(lists.table);
  if (slots.empty()) return;
  std::vector<Seen>& seen = seen_[lists.table.value()];
  for (size_t i = 0; i < rows.size(); ++i) {
    for (int32_t k = lists.offset[i]; k < lists.offset[i + 1]; ++k) {
      const size_t at = static_cast<size_t>(lists.index[static_cast<size_t>(k)]) * slots.size();
      if (seen.size() < at + slots.size()) seen.resize(at + slots.size());
      for (size_t s = 0; s < slots.size(); ++s) Add(slots[s], slots[s].at(rows[i]), &seen[at + s]);
    }
  }
}

void SlotFeed::Finish(std::vector<TableKeys>* tables) {
  for (TableKeys& table : *tables) {
    const std::span<const SlotColumns::Slot> slots = columns_.of(table.table);
    if (slots.empty()) continue;
    std::vector<Seen>& seen = seen_[table.table.value()];
    seen.resize(table.keys.size() * slots.size());
    table.observed.reserve(seen.size());
    for (size_t i = 0; i < seen.size(); ++i) {
      const spec::Slot::Update update = slots[i % slots.size()].update;
      double value = seen[i].value;
      if (seen[i].times == 0) value = std::numeric_limits<double>::quiet_NaN();
      if (update == spec::Slot::EMA) value /= seen[i].times;
      if (update == spec::Slot::LOG_EMA) value -= NaturalLog(seen[i].times);
      table.observed.push_back(static_cast<float>(value));
    }
  }
}

}  // namespace emporium::worker
