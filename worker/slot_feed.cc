#include "worker/slot_feed.h"

#include <bit>
#include <charconv>
#include <string>
#include <utility>

#include "proto/exact_math.h"
#include "runtime/log.h"

namespace emporium::worker {
namespace {

Status Misfit(const spec::Table& table, const spec::Slot& slot, const std::string& what) {
  return InvalidArgument("table \"" + table.name() + "\", slot \"" + slot.name() + "\": " + what);
}

// The values of a column that `when` asks for. A value that no event has is no error: a day may go
// by without a sale; but it may be misspelt.
Result<SlotColumns::When> WhenOf(const Dataset& dataset, const spec::Table& table,
                                 const spec::Slot& spec) {
  SlotColumns::When when;
  if (!spec.has_when()) return when;
  const std::string& name = spec.when().column();
  EMPORIUM_ASSIGN_OR_RETURN(const ColumnView view, dataset.event_column(name));
  when.always = false;
  if (view.type == spec::STRING) when.codes = view.codes;
  if (view.type == spec::INT) when.ints = view.ints;
  const auto events = static_cast<size_t>(dataset.events());
  if (std::max(when.codes.size(), when.ints.size()) != events) {
    return Misfit(table, spec,
                  "when.column \"" + name +
                      "\" holds no kinds of events; name a "
                      "STRING or INT column of data.events that is not the time");
  }
  when.wanted.resize(static_cast<size_t>(view.dictionary.size()));
  for (const std::string& value : spec.when().value()) {
    if (view.type == spec::INT) {
      int64_t number = 0;
      std::from_chars(value.data(), value.data() + value.size(), number);  // validated
      when.values.push_back(number);
      continue;
    }
    int32_t code = 0;
    while (code < view.dictionary.size() && view.text(code) != value) ++code;
    if (code < view.dictionary.size()) {
      when.wanted[static_cast<size_t>(code)] = true;
    } else {
      runtime::Log(runtime::LogLevel::kWarning, "worker",
                   "table \"{}\", slot \"{}\": no event has {} \"{}\"", table.name(), spec.name(),
                   name, value);
    }
  }
  std::sort(when.values.begin(), when.values.end());
  return when;
}

Result<SlotColumns::Slot> SlotOf(const Dataset& dataset, const spec::Job& job,
                                 const spec::Table& table, const spec::Slot& spec) {
  SlotColumns::Slot slot;
  slot.update = spec.update();
  slot.by_model = spec.fed_by_model();
  EMPORIUM_ASSIGN_OR_RETURN(slot.when, WhenOf(dataset, table, spec));
  if (spec.column().empty()) return slot;
  const auto events = static_cast<size_t>(dataset.events());
  if (spec.column() == job.data().time_column()) {
    slot.times = dataset.event_time();
    if (slot.times.size() == events) return slot;
    return Misfit(table, spec, "the events have no time");
  }
  EMPORIUM_ASSIGN_OR_RETURN(const ColumnView view, dataset.event_column(spec.column()));
  if (view.type == spec::INT && view.ints.size() == events) {
    slot.ints = view.ints;
  } else if (view.type == spec::FLOAT && view.floats.size() == events) {
    slot.floats = view.floats;
  } else {
    return Misfit(table, spec,
                  "column \"" + spec.column() +
                      "\" holds no numbers for it; name an "
                      "INT or FLOAT column of data.events");
  }
  return slot;
}

// As it is stored and sent.
float Observed(const SlotColumns::Slot& slot, double value, uint32_t times) {
  if (!slot.times.empty()) return std::bit_cast<float>(static_cast<uint32_t>(value));
  if (slot.update == spec::Slot::EMA) value /= times;
  if (slot.update == spec::Slot::LOG_EMA) value -= NaturalLog(times);
  return static_cast<float>(value);
}

}  // namespace

uint32_t CountersOf(const spec::Table& table) {
  return static_cast<uint32_t>(
      std::count_if(table.slot().begin(), table.slot().end(),
                    [](const spec::Slot& slot) { return slot.update() == spec::Slot::ADD; }));
}

Result<SlotColumns> SlotColumns::Create(const Dataset& dataset, const spec::Job& job) {
  SlotColumns columns;
  for (const spec::Table& table : job.table()) {
    std::vector<Slot>& slots = columns.slots_.emplace_back();
    for (const spec::Slot& spec : table.slot()) {
      EMPORIUM_ASSIGN_OR_RETURN(Slot slot, SlotOf(dataset, job, table, spec));
      slots.push_back(std::move(slot));
    }
  }
  return columns;
}

void SlotFeed::Add(spec::Slot::Update update, double x, Seen* seen) {
  const bool first = seen->times++ == 0;
  switch (update) {
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
    case spec::Slot::MIN:
      seen->value = first ? x : std::min(seen->value, x);
      return;
    case spec::Slot::LOG_EMA:
      seen->value = first ? x : LogAddExp(seen->value, x);
      return;
  }
}

void SlotFeed::Observe(std::span<const models::RowLists* const> lists,
                       std::span<const int64_t> rows) {
  for (size_t t = 0; t < columns_.tables(); ++t) {
    const TableId table(static_cast<uint16_t>(t));
    if (columns_.of(table).empty()) continue;
    std::vector<const models::RowLists*> of_table;
    for (const models::RowLists* list : lists) {
      if (list->table == table) of_table.push_back(list);
    }
    ObserveTable(table, of_table, rows);
  }
}

void SlotFeed::ObserveTable(TableId id, std::span<const models::RowLists* const> lists,
                            std::span<const int64_t> rows) {
  const std::span<const SlotColumns::Slot> slots = columns_.of(id);
  Table& table = tables_[id.value()];
  for (size_t i = 0; i < rows.size(); ++i) {
    for (const models::RowLists* list : lists) {
      for (int32_t k = list->offset[i]; k < list->offset[i + 1]; ++k) {
        const auto key = static_cast<size_t>(list->index[static_cast<size_t>(k)]);
        if (table.event.size() <= key) {
          table.event.resize(key + 1);
          table.seen.resize((key + 1) * slots.size());
        }
        if (table.event[key] == i + 1) continue;
        table.event[key] = i + 1;
        Seen* const seen = &table.seen[key * slots.size()];
        for (size_t s = 0; s < slots.size(); ++s) {
          if (slots[s].by_model || !slots[s].when.Holds(rows[i])) continue;
          Add(slots[s].update, slots[s].at(rows[i]), seen + s);
        }
      }
    }
  }
}

void SlotFeed::Finish(std::vector<TableKeys>* tables) {
  for (TableKeys& keys : *tables) {
    const std::span<const SlotColumns::Slot> slots = columns_.of(keys.table);
    if (slots.empty()) continue;
    std::vector<Seen>& seen = tables_[keys.table.value()].seen;
    seen.resize(keys.keys.size() * slots.size());
    keys.observed.resize(seen.size());
    keys.observed_mask.resize(keys.keys.size());
    keys.slot_totals.clear();
    for (size_t s = 0; s < slots.size(); ++s) {
      double total = 0;
      for (size_t k = 0; k < keys.keys.size(); ++k) {
        const Seen& of_key = seen[k * slots.size() + s];
        if (of_key.times == 0) continue;
        const float value = Observed(slots[s], of_key.value, of_key.times);
        keys.observed[k * slots.size() + s] = value;
        keys.observed_mask[k] |= uint32_t{1} << s;
        if (slots[s].update == spec::Slot::ADD) total += value;
      }
      if (slots[s].update == spec::Slot::ADD) keys.slot_totals.push_back(total);
    }
  }
}

}  // namespace emporium::worker
