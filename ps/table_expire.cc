// Expiry of a table's rows: which go is said by ps/expiry.h, here they are listed and taken out.
#include <algorithm>
#include <utility>

#include "ps/row_pass.h"
#include "ps/table_impl.h"

namespace emporium::ps {
namespace {

// A partition that lost so large a part of its rows is compacted.
constexpr uint64_t kCompactBelow = 4;

}  // namespace

void Table::Impl::CountStaying(std::span<const Index::Entry> entries,
                               std::span<const uint64_t> gone, PopularityStats* to,
                               SlotStats* slots_to) const {
  for (const Index::Entry& entry : entries) {
    if (std::binary_search(gone.begin(), gone.end(), entry.key)) continue;
    const std::byte* const tail = slabs.At(entry.slot).tail;
    if (settings.popularity) to->Add(entry.key, StoredPopularity(tail), TickOf(tail));
    if (!slots_to->empty()) slots_to->Add(entry.key, shape().Extra(tail), TickOf(tail));
  }
}

uint64_t Table::Expire(uint32_t step) {
  Impl& t = *impl_;
  PopularityStats stats = t.stats;
  stats.Clear();
  SlotStats slot_stats = t.slot_stats;
  slot_stats.Clear();
  const bool counts = t.settings.popularity || !slot_stats.empty();
  uint64_t gone = 0;
  for (uint32_t p = 0; p < t.partitions; ++p) {
    const PartitionId partition(static_cast<uint16_t>(p));
    const std::vector<Index::Entry> entries = t.EntriesOf(partition);
    if (entries.empty()) continue;
    const std::vector<Slot> slots = Impl::SlotsOf(entries);
    std::vector<RowAge> rows(entries.size());
    ForRows<true, 0>(t.slabs, slots, [&](size_t i, const Slabs::ConstRowRef& row) {
      rows[i] = {entries[i].key, t.shape().LastStep(row.tail), t.PopularityAt(row.tail, step)};
    });
    const std::vector<uint64_t> keys =
        Expired(std::move(rows), t.settings.expiry,
                ShareOf(partition, t.partitions, t.settings.expiry.rows), step);
    gone += Erase(keys);
    if (counts) t.CountStaying(entries, keys, &stats, &slot_stats);
    if (keys.size() >= entries.size() / kCompactBelow && !keys.empty()) CompactPartition(partition);
  }
  t.stats = std::move(stats);
  t.slot_stats = std::move(slot_stats);
  return gone;
}

}  // namespace emporium::ps
