#include "worker/key_order.h"

#include <vector>

#include "proto/bytes.h"

namespace emporium::worker {
namespace {

template <class Visit>
void ForEachLists(PlannedBatch* planned, const Visit& visit) {
  models::Batch* const batch = &planned->batch;
  for (models::FieldColumn& field : batch->fields) visit(&field.rows);
  visit(&batch->items.id);
  visit(&batch->items.title);
  visit(&batch->history.action);
  visit(&batch->history.query);
  for (SlotInputs::Column& column : planned->slots.columns) visit(&column.rows);
}

// Orders the keys; `place[k]` is where key k has gone.
void OrderTable(const runtime::Route& route, TableKeys* table, UnclearedVector<int32_t>* place) {
  const size_t n = table->keys.size();
  const size_t shards = route.shards();
  UnclearedVector<uint16_t> owner(n);
  std::vector<uint32_t> begin(shards + 1);
  for (size_t k = 0; k < n; ++k) {
    owner[k] = route.ShardOf(table->keys[k]).value();
    ++begin[owner[k] + 1];
  }
  for (size_t s = 0; s < shards; ++s) begin[s + 1] += begin[s];
  std::vector<uint32_t> next(begin.begin(), begin.end() - 1);
  place->resize(n);
  UnclearedVector<uint64_t> keys(n);
  for (size_t k = 0; k < n; ++k) {
    const uint32_t to = next[owner[k]]++;
    (*place)[k] = static_cast<int32_t>(to);
    keys[to] = table->keys[k];
  }
  std::copy(keys.begin(), keys.end(), table->keys.begin());
  if (!table->counts.empty()) {
    const std::vector<float> counts = table->counts;
    for (size_t k = 0; k < n; ++k) table->counts[(*place)[k]] = counts[k];
  }
  if (!table->observed.empty()) {
    const std::vector<float> observed = table->observed;
    const std::vector<uint32_t> mask = table->observed_mask;
    const size_t slots = observed.size() / n;
    for (size_t k = 0; k < n; ++k) {
      table->observed_mask[static_cast<size_t>((*place)[k])] = mask[k];
      std::copy_n(&observed[k * slots], slots,
                  &table->observed[static_cast<size_t>((*place)[k]) * slots]);
    }
  }
  table->shard_begin = std::move(begin);
}

}  // namespace

void OrderByShard(const runtime::Route& route, PlannedBatch* planned) {
  UnclearedVector<int32_t> place;
  for (TableKeys& table : planned->tables) {
    if (route.shards() == 1) {
      table.shard_begin = {0, static_cast<uint32_t>(table.keys.size())};
      continue;
    }
    OrderTable(route, &table, &place);
    ForEachLists(planned, [&table, &place](models::RowLists* lists) {
      if (lists->table != table.table) return;
      for (int32_t& index : lists->index) index = place[static_cast<size_t>(index)];
    });
  }
}

}  // namespace emporium::worker
