#include "worker/key_plan.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "proto/check.h"

namespace emporium::worker {
namespace {

constexpr size_t kAhead = 8;  // values whose numbers are fetched before they are needed

}  // namespace

void Interner::Expect(size_t values) {
  const size_t slots = std::bit_ceil(std::max<size_t>(16, 2 * values + 2));
  if (slots <= slots_.size()) {
    return;
  }
  values_.reserve(values);
  slots_.assign(slots, -1);
  mask_ = slots - 1;
  shift_ = 64 - std::countr_zero(slots);
  for (size_t i = 0; i < values_.size(); ++i) {
    size_t slot = Home(values_[i]);
    while (slots_[slot] >= 0) {
      slot = (slot + 1) & mask_;
    }
    slots_[slot] = static_cast<int32_t>(i);
  }
}

void Interner::IndexAll(std::span<const uint64_t> values, int32_t* indices) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (i + 2 * kAhead < values.size()) {
      __builtin_prefetch(&slots_[Home(values[i + 2 * kAhead])]);
    }
    // What the slot leads to, which is usually the value itself.
    if (i + kAhead < values.size()) {
      const int32_t number = slots_[Home(values[i + kAhead])];
      if (number >= 0) {
        __builtin_prefetch(&values_[static_cast<size_t>(number)]);
      }
    }
    indices[i] = Index(values[i]);
  }
}

// The table for keys of its own.
KeyPlan::Table& KeyPlan::Own(TableId id) {
  Table& table = tables_[id.value()];
  if (table.twin != nullptr) {
    table.keys.Expect(table.twin->keys.size());
    for (const uint64_t key : table.twin->keys.values()) {
      table.keys.Index(key);
    }
    table.twin = nullptr;
  }
  return table;
}

void KeyPlan::Expect(TableId table, size_t keys) {
  Interner& interner = Own(table).keys;
  interner.Expect(interner.size() + keys);
}

models::RowLists KeyPlan::Single(TableId table, std::span<const uint64_t> keys) {
  std::vector<int32_t> offset(keys.size() + 1);
  for (size_t i = 0; i < offset.size(); ++i) {
    offset[i] = static_cast<int32_t>(i);
  }
  return Lists(table, keys, std::move(offset));
}

models::RowLists KeyPlan::Lists(TableId table, std::span<const uint64_t> keys,
                                std::vector<int32_t> offset) {
  EMPORIUM_CHECK(!offset.empty() && offset.back() == static_cast<int32_t>(keys.size()),
                 "offsets end at the number of keys");
  models::RowLists lists;
  lists.table = table;
  lists.index.resize(keys.size());
  lists.offset = std::move(offset);
  Own(table).keys.IndexAll(keys, lists.index.data());
  return lists;
}

models::RowLists KeyPlan::Mirror(TableId id, const models::RowLists& lists) {
  models::RowLists mirrored = lists;
  mirrored.table = id;
  if (id == lists.table) {
    return mirrored;
  }
  const Table& from = Own(lists.table);
  Table& table = tables_[id.value()];
  if (table.keys.size() == 0 && (table.twin == nullptr || table.twin == &from)) {
    table.twin = &from;
    return mirrored;
  }
  Table& to = Own(id);
  const std::vector<uint64_t>& keys = from.keys.values();
  std::vector<int32_t>& index = to.mirror[lists.table.value()];
  const size_t known = index.size();
  index.resize(keys.size());
  to.keys.IndexAll(std::span(keys).subspan(known), index.data() + known);
  for (int32_t& i : mirrored.index) {
    i = index[static_cast<size_t>(i)];
  }
  return mirrored;
}

void KeyPlan::Sighted(const models::RowLists& lists, size_t count) {
  if (!keeps_[lists.table.value()]) {
    return;
  }
  Table& table = tables_[lists.table.value()];
  table.counts.resize(table.values().size(), 0.0f);
  const auto uses = static_cast<size_t>(lists.offset[count]);
  for (const int32_t index : std::span(lists.index).first(uses)) {
    table.counts[static_cast<size_t>(index)] += 1;
  }
}

void KeyPlan::SightedOnce(TableId id, int32_t index) {
  if (keeps_[id.value()]) {
    Table& table = tables_[id.value()];
    table.counts.resize(table.values().size(), 0.0f);
    table.counts[static_cast<size_t>(index)] += 1;
  }
}

std::vector<TableKeys> KeyPlan::Finish(const std::vector<bool>& wanted) && {
  std::vector<TableKeys> all;
  for (auto& [id, table] : tables_) {
    TableKeys keys;
    keys.table = TableId(id);
    keys.want_popularity = wanted[id];
    keys.keys = table.values();
    if (keeps_[id]) {
      keys.counts = std::move(table.counts);
      keys.counts.resize(keys.keys.size(), 0.0f);
    }
    all.push_back(std::move(keys));
  }
  return all;
}

}  // namespace emporium::worker
