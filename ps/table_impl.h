// What the files of Table share: its parts. Included by ps/table*.cc alone.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "proto/element.h"
#include "ps/index.h"
#include "ps/initializer.h"
#include "ps/optimizer.h"
#include "ps/popularity.h"
#include "ps/popularity_code.h"
#include "ps/row_bits.h"
#include "ps/slab.h"
#include "ps/slot_stats.h"
#include "ps/table.h"
#include "ps/table_cut.h"

namespace emporium::ps {

class Table::Impl {
 public:
  Impl(const TableSettings& table_settings, uint32_t partition_count,
       const std::vector<PartitionId>& owned, PageAhead* page_ahead);

  const RowLayout& layout() const { return slabs.shape().layout(); }
  const RowShape& shape() const { return slabs.shape(); }
  bool fp32() const { return settings.element_type == spec::FP32; }

  // A place for the row of a key that has none; nothing of it is set.
  Slot Occupy(uint64_t key);
  // Gives a row initial values; `weights` is room for them.
  void MakeInitial(uint64_t key, const RowRef& row, std::span<float> weights) const;
  // Everything but the weights of a row that has had no update.
  void InitTail(std::span<const float> weights, std::byte* tail) const;
  // Initial values in the table's element type; `weights` is room for them as floats.
  void FillRaw(uint64_t key, std::span<float> weights, std::byte* raw) const;

  // The rows of an owned partition, in no particular order; reads that partition only.
  std::vector<Index::Entry> EntriesOf(PartitionId partition) const;
  // The slots of entries, one for one.
  static std::vector<Slot> SlotsOf(std::span<const Index::Entry> entries);

  // Adds the rows of `entries` to the statistics, but those of `gone` (ascending).
  void CountStaying(std::span<const Index::Entry> entries, std::span<const uint64_t> gone,
                    PopularityStats* to, SlotStats* slots_to) const;

  // To be called before rows change or go: a cut under way gets them as they are.
  void BeforeChange(std::span<const uint64_t> keys, std::span<const Slot> slots);
  void BeforeErase(uint64_t key, Slot slot);
  // A row that has just been made.
  void AfterOccupy(Slot slot);
  // The rows of a bin have moved: the one that was in before[i] is number i now.
  void AfterMove(uint32_t bin, std::span<const Slot> before);

  bool event_time() const { return settings.event_time(); }
  uint32_t TickOf(const std::byte* tail) const {
    return event_time() ? RowSlots::Time(shape().Extra(tail)) : shape().LastStep(tail);
  }
  uint32_t TickAt(uint32_t step) const {
    if (!event_time()) return step;
    return step >= clock.step ? clock.now : clock.before;
  }
  // As it was stored, valid as of TickOf.
  float StoredPopularity(const std::byte* tail) const {
    return layout().popularity_bytes == 0 ? 0 : code.Decode(shape().Popularity(tail));
  }
  float PopularityAt(const std::byte* tail, uint32_t step) const {
    if (layout().popularity_bytes == 0) return 0;
    const double factor = decay.Factor(TickOf(tail), TickAt(step));
    return static_cast<float>(StoredPopularity(tail) * factor);
  }

  const TableSettings settings;
  const uint32_t partitions;
  const std::unique_ptr<Optimizer> optimizer;
  const Initializer initializer;
  const Decay decay;
  const RowSlots extras;
  const PopularityCode code;
  Index index;
  Slabs slabs;
  Total total;
  struct Clock {
    uint32_t step = 0;
    uint32_t now = 0, before = 0;  // newest event up to this step, and up to the one before
  };
  Clock clock;
  PopularityStats stats;
  SlotStats slot_stats;
  std::optional<Admission> admission;
  std::optional<RowChanges> changes;  // since the last cut, where they are followed
  std::optional<TableCut> cut;        // under way
  std::vector<float> scratch;         // of Apply
};

}  // namespace emporium::ps
