#include "worker/key_plan.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "proto/check.h"

namespace emporium::worker {
namespace {

constexpr size_t kAhead = 16;  // values whose slots are fetched before they are needed

}  // namespace

Interner::Interner(size_t expected) { Grow(std::bit_ceil(std::max<size_t>(16, 2 * expected))); }

void Interner::Grow(size_t slots) {
  slots_.assign(slots, Slot{});
  mask_ = slots - 1;
  shift_ = 64 - std::countr_zero(slots);
  for (size_t i = 0; i < values_.size(); ++i) {
    size_t slot = Home(values_[i]);
    while (slots_[slot].index >= 0) {
      slot = (slot + 1) & mask_;
    }
    slots_[slot] = {values_[i], static_cast<int32_t>(i)};
  }
}

void Interner::IndexAll(std::span<const uint64_t> values, int32_t* indices) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (i + kAhead < values.size()) {
      __builtin_prefetch(&slots_[Home(values[i + kAhead])]);
    }
    indices[i] = Index(values[i]);
  }
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
  tables_[table.value()].keys.IndexAll(keys, lists.index.data());
  return lists;
}

models::RowLists KeyPlan::Mirror(TableId table, const models::RowLists& lists) {
  const std::vector<uint64_t>& keys = tables_.at(lists.table.value()).keys.values();
  Table& to = tables_[table.value()];
  std::vector<int32_t>& index = to.mirror[lists.table.value()];
  if (index.size() < keys.size()) {
    const size_t known = index.size();
    index.resize(keys.size());
    to.keys.IndexAll(std::span(keys).subspan(known), index.data() + known);
  }
  models::RowLists mirrored;
  mirrored.table = table;
  mirrored.offset = lists.offset;
  mirrored.index.resize(lists.index.size());
  for (size_t i = 0; i < lists.index.size(); ++i) {
    mirrored.index[i] = index[static_cast<size_t>(lists.index[i])];
  }
  return mirrored;
}

void KeyPlan::Sighted(const models::RowLists& lists) {
  Table& table = tables_[lists.table.value()];
  table.counts.resize(table.keys.size(), 0.0f);
  for (const int32_t index : lists.index) {
    table.counts[static_cast<size_t>(index)] += 1;
  }
}

void KeyPlan::SightedOnce(TableId table_id, int32_t index, float times) {
  Table& table = tables_[table_id.value()];
  table.counts.resize(table.keys.size(), 0.0f);
  table.counts[static_cast<size_t>(index)] += times;
}

std::vector<TableKeys> KeyPlan::Finish(const std::vector<bool>& kept,
                                       const std::vector<bool>& wanted) && {
  std::vector<TableKeys> all;
  for (auto& [id, table] : tables_) {
    TableKeys keys;
    keys.table = TableId(id);
    keys.want_popularity = wanted[id];
    if (kept[id]) {
      keys.counts = std::move(table.counts);
      keys.counts.resize(table.keys.size(), 0.0f);
    }
    keys.keys = std::move(table.keys).TakeValues();
    all.push_back(std::move(keys));
  }
  return all;
}

}  // namespace emporium::worker
