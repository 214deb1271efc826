#include "ps/table.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "proto/check.h"
#include "ps/index.h"
#include "ps/initializer.h"
#include "ps/optimizer.h"
#include "ps/popularity.h"
#include "runtime/route.h"

namespace emporium::ps {
namespace {

// Rows asked for ahead of the one in work.
constexpr size_t kReadAhead = 12;
constexpr size_t kUpdateAhead = 8;

RowLayout LayoutOf(const TableSettings& settings, const Optimizer& optimizer) {
  return {settings.dim, optimizer.StateFloats(settings.dim), settings.popularity};
}

}  // namespace

class Table::Impl {
 public:
  Impl(const TableSettings& table_settings, uint32_t partition_count,
       const std::vector<PartitionId>& owned_partitions)
      : settings(table_settings),
        partitions(partition_count),
        owned(partition_count),
        optimizer(MakeOptimizer(settings.optimizer).value()),
        initializer(Initializer::Make(settings.initializer, settings.seed).value()),
        decay(settings.half_life_steps),
        layout(LayoutOf(settings, *optimizer)),
        cell_bytes(CellBytes(layout)),
        index(partition_count),
        slabs(cell_bytes) {
    EMPORIUM_CHECK(settings.dim > 0, "a table needs a dimension");
    for (PartitionId partition : owned_partitions) {
      EMPORIUM_CHECK(partition.value() < partitions, "an owned partition must exist");
      owned[partition.value()] = true;
    }
  }

  bool Owns(uint64_t key) const { return owned[runtime::PartitionOf(key, partitions).value()]; }

  // Makes an empty cell the row of `key`: everything but weights and optimizer state.
  void Occupy(Slot slot, uint64_t key) {
    EMPORIUM_CHECK(Owns(key), "a row belongs to a partition that the shard owns");
    HeaderOf(slabs.At(slot)) = RowHeader{key, 0, 0};
  }

  // The row of a key that has none yet.
  std::byte* Create(uint64_t key) {
    const Slot slot = slabs.Allocate();
    Occupy(slot, key);
    index.FindOrInsert(key, slot);
    return slabs.At(slot);
  }

  // The cell of a key, or nullptr.
  std::byte* Lookup(uint64_t key) {
    Slot slot = kNoSlot;
    index.Find({&key, 1}, {&slot, 1});
    return slot == kNoSlot ? nullptr : slabs.At(slot);
  }

  float PopularityAt(const std::byte* cell, uint32_t step) const {
    const double now = PopularityOf(cell, layout) * decay.Factor(HeaderOf(cell).last_step, step);
    return static_cast<float>(now);
  }

  RowView View(const std::byte* cell) const {
    const RowHeader& header = HeaderOf(cell);
    RowView row;
    row.key = header.key;
    row.weights = WeightsOf(cell, layout);
    row.state = StateOf(cell, layout);
    row.popularity = layout.popularity ? PopularityOf(cell, layout) : 0;
    row.last_step = header.last_step;
    row.updates = header.updates;
    return row;
  }

  const TableSettings settings;
  const uint32_t partitions;
  std::vector<bool> owned;  // by partition
  const std::unique_ptr<Optimizer> optimizer;
  const Initializer initializer;
  const Decay decay;
  const RowLayout layout;
  const uint32_t cell_bytes;
  Index index;
  Slabs slabs;
  Total total;
};

Table::Table(const TableSettings& settings, uint32_t partitions,
             const std::vector<PartitionId>& owned)
    : impl_(std::make_unique<Impl>(settings, partitions, owned)) {}

Table::~Table() = default;

const TableSettings& Table::settings() const { return impl_->settings; }
const RowLayout& Table::layout() const { return impl_->layout; }
uint64_t Table::rows() const { return impl_->index.size(); }
uint64_t Table::bytes() const { return impl_->index.bytes() + impl_->slabs.bytes(); }
bool Table::Owns(uint64_t key) const { return impl_->Owns(key); }

void Table::Find(std::span<const uint64_t> keys, std::span<Slot> slots) const {
  impl_->index.Find(keys, slots);
}

void Table::FindOrCreate(std::span<const uint64_t> keys, std::span<Slot> slots) {
  Impl& t = *impl_;
  t.index.Find(keys, slots);
  Slot spare = kNoSlot;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (slots[i] != kNoSlot) continue;
    if (spare == kNoSlot) spare = t.slabs.Allocate();
    slots[i] = t.index.FindOrInsert(keys[i], spare);
    if (slots[i] != spare) continue;  // the same key was made a moment ago
    spare = kNoSlot;
    t.Occupy(slots[i], keys[i]);
    std::byte* cell = t.slabs.At(slots[i]);
    t.initializer.Fill(keys[i], WeightsOf(cell, t.layout));
    t.optimizer->InitState(WeightsOf(cell, t.layout), StateOf(cell, t.layout));
  }
  if (spare != kNoSlot) t.slabs.Free(spare);
}

void Table::Read(std::span<const uint64_t> keys, std::span<const Slot> slots, uint32_t step,
                 std::span<float> weights, std::span<float> popularity) const {
  const Impl& t = *impl_;
  const size_t dim = t.layout.dim;
  EMPORIUM_CHECK(keys.size() == slots.size() && weights.size() == keys.size() * dim,
                 "room for the weights of every key");
  EMPORIUM_CHECK(popularity.empty() || popularity.size() == keys.size(), "one count per key");
  const bool counts = !popularity.empty() && t.layout.popularity;
  // The popularity lies behind the optimizer's state.
  const size_t wanted = counts ? t.cell_bytes : sizeof(RowHeader) + dim * sizeof(float);
  for (size_t i = 0; i < std::min(kReadAhead, slots.size()); ++i) {
    if (slots[i] != kNoSlot) PrefetchCell<false>(t.slabs.At(slots[i]), wanted);
  }
  for (size_t i = 0; i < slots.size(); ++i) {
    if (i + kReadAhead < slots.size() && slots[i + kReadAhead] != kNoSlot) {
      PrefetchCell<false>(t.slabs.At(slots[i + kReadAhead]), wanted);
    }
    const std::span<float> out = weights.subspan(i * dim, dim);
    if (slots[i] == kNoSlot) {
      t.initializer.Fill(keys[i], out);
      if (!popularity.empty()) popularity[i] = 0;
      continue;
    }
    const std::byte* cell = t.slabs.At(slots[i]);
    CopyFloats(FloatsOf(cell), dim, out.data());
    if (!popularity.empty()) popularity[i] = counts ? t.PopularityAt(cell, step) : 0;
  }
}

std::span<const float> Table::Weights(Slot slot) const {
  return WeightsOf(std::as_const(impl_->slabs).At(slot), impl_->layout);
}

uint64_t Table::Key(Slot slot) const { return HeaderOf(std::as_const(impl_->slabs).At(slot)).key; }

void Table::UpdateAndKeep(std::span<const Slot> slots, std::span<const float> gradients,
                          std::span<const float> counts, uint32_t step, float learning_rate_factor,
                          std::span<float> weights, std::span<float> popularity) {
  Impl& t = *impl_;
  const size_t dim = t.layout.dim;
  EMPORIUM_CHECK(weights.empty() || weights.size() == gradients.size(), "room for every row");
  EMPORIUM_CHECK(popularity.empty() || (t.layout.popularity && popularity.size() == slots.size()),
                 "room for every row's popularity");
  EMPORIUM_CHECK(gradients.size() == slots.size() * dim, "one gradient per slot");
  EMPORIUM_CHECK(counts.empty() || counts.size() == slots.size(), "one count per slot");
  for (size_t i = 0; i < std::min(kUpdateAhead, slots.size()); ++i) {
    PrefetchCell<true>(t.slabs.At(slots[i]), t.cell_bytes);
  }
  for (size_t i = 0; i < slots.size(); ++i) {
    if (i + kUpdateAhead < slots.size()) {
      PrefetchCell<true>(t.slabs.At(slots[i + kUpdateAhead]), t.cell_bytes);
    }
    std::byte* cell = t.slabs.At(slots[i]);
    RowHeader& header = HeaderOf(cell);
    if (!weights.empty()) CopyFloats(FloatsOf(cell), dim, weights.data() + i * dim);
    if (!popularity.empty()) popularity[i] = t.PopularityAt(cell, step - 1);
    if (t.layout.popularity) {
      const float added = counts.empty() ? 0 : counts[i];
      PopularityOf(cell, t.layout) = t.PopularityAt(cell, step) + added;
    }
    header.last_step = step;
    ++header.updates;
    t.optimizer->Apply(WeightsOf(cell, t.layout), StateOf(cell, t.layout),
                       gradients.subspan(i * dim, dim), header.updates, learning_rate_factor);
  }
}

void Table::Assign(uint64_t key, std::span<const float> weights) {
  Impl& t = *impl_;
  EMPORIUM_CHECK(weights.size() == t.layout.dim, "as many weights as the table has");
  if (t.Lookup(key) != nullptr) return;
  std::byte* cell = t.Create(key);
  std::copy(weights.begin(), weights.end(), FloatsOf(cell));
  t.optimizer->InitState(WeightsOf(cell, t.layout), StateOf(cell, t.layout));
}

Status Table::Restore(const RowView& row) {
  Impl& t = *impl_;
  const std::string where = "table " + t.settings.name + ", key " + std::to_string(row.key) + ": ";
  if (row.weights.size() != t.layout.dim || row.state.size() != t.layout.state) {
    return DataLoss(where + "the checkpoint's row has " + std::to_string(row.weights.size()) +
                    " weights and " + std::to_string(row.state.size()) + " state floats, not " +
                    std::to_string(t.layout.dim) + " and " + std::to_string(t.layout.state) +
                    "; restore the job that wrote it");
  }
  if (!t.Owns(row.key)) {
    return DataLoss(where + "the key does not belong to the partition that it is stored under; " +
                    "restore an older checkpoint");
  }
  std::byte* cell = t.Lookup(row.key);
  if (cell == nullptr) cell = t.Create(row.key);
  HeaderOf(cell) = RowHeader{row.key, row.last_step, row.updates};
  std::copy(row.weights.begin(), row.weights.end(), WeightsOf(cell, t.layout).begin());
  std::copy(row.state.begin(), row.state.end(), StateOf(cell, t.layout).begin());
  if (t.layout.popularity) PopularityOf(cell, t.layout) = row.popularity;
  return Status::Ok();
}

double Table::popularity_total(uint32_t step) const {
  const Total& total = impl_->total;
  return total.value * impl_->decay.Factor(total.step, step);
}

void Table::AddToTotal(double added, uint32_t step) {
  impl_->total = {popularity_total(step) + added, step};
}

Table::Total Table::total() const { return impl_->total; }
void Table::RestoreTotal(Total total) { impl_->total = total; }

void Table::ForEachRow(PartitionId partition,
                       const std::function<void(const RowView&)>& visit) const {
  const Impl& t = *impl_;
  std::vector<Index::Entry> entries = t.index.List(partition);
  std::sort(entries.begin(), entries.end(),
            [](const Index::Entry& a, const Index::Entry& b) { return a.key < b.key; });
  for (size_t i = 0; i < entries.size(); ++i) {
    if (i + kReadAhead < entries.size()) {
      PrefetchCell<false>(t.slabs.At(entries[i + kReadAhead].slot), t.cell_bytes);
    }
    visit(t.View(t.slabs.At(entries[i].slot)));
  }
}

void Table::Clear() {
  impl_->index.Clear();
  impl_->slabs.Clear();
  impl_->total = Total();
}

}  // namespace emporium::ps
