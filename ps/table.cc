#include "ps/table.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "proto/check.h"
#include "ps/cut.h"
#include "ps/row_pass.h"
#include "ps/table_impl.h"

namespace emporium::ps {
namespace {

double HalfLifeTicks(const TableSettings& settings) {
  return settings.half_life_seconds > 0 ? settings.half_life_seconds : settings.half_life_steps;
}

RowLayout LayoutOf(const TableSettings& settings, const Optimizer& optimizer, uint32_t extra) {
  RowLayout layout;
  layout.element = settings.element_type;
  layout.dim = settings.dim;
  layout.state = optimizer.StateFloats(settings.dim);
  layout.last_step =
      settings.popularity || settings.expiry.every_steps > 0 || optimizer.CountsMissed();
  layout.extra = extra;
  layout.updates = optimizer.CountsUpdates();
  layout.popularity_bytes = settings.popularity ? settings.popularity_bytes : 0;
  return layout;
}

}  // namespace

Table::Impl::Impl(const TableSettings& table_settings, uint32_t partition_count,
                  const std::vector<PartitionId>& owned, PageAhead* page_ahead)
    : settings(table_settings),
      partitions(partition_count),
      optimizer(MakeOptimizer(settings.optimizer).value()),
      initializer(Initializer::Make(settings.initializer, settings.seed).value()),
      decay(HalfLifeTicks(settings)),
      extras(settings.slots, settings.event_time()),
      code(settings.popularity_bytes),
      index(partition_count, owned, settings.seed, BestIndexFind(), page_ahead),
      slabs(LayoutOf(settings, *optimizer, extras.words()), std::max(index.bins(), 1u),
            index.number_bits(), page_ahead),
      stats(HalfLifeTicks(settings)),
      slot_stats(extras) {
  total.slots.resize(extras.counters().size());
  if (settings.admission_sightings == 0) return;
  admission.emplace(settings.admission_sightings, SketchWidth(settings.sketch_bytes, partitions),
                    settings.seed, partitions, owned);
}

Slot Table::Impl::Occupy(uint64_t key) {
  EMPORIUM_CHECK(index.Owns(key), "a row belongs to a partition that the shard owns");
  const Slot slot = slabs.Allocate(index.Bin(key));
  index.Insert(key, slot);
  if (settings.popularity) stats.Add(key, 0, 0);
  AfterOccupy(slot);
  return slot;
}

std::vector<Index::Entry> Table::Impl::EntriesOf(PartitionId partition) const {
  std::vector<Index::Entry> entries;
  const Index::Bins bins = index.BinsOf(partition);
  for (uint32_t bin = bins.begin; bin < bins.end; ++bin) {
    const std::vector<Index::Entry> more = index.List(bin);
    entries.insert(entries.end(), more.begin(), more.end());
  }
  return entries;
}

std::vector<Slot> Table::Impl::SlotsOf(std::span<const Index::Entry> entries) {
  std::vector<Slot> slots;
  slots.reserve(entries.size());
  for (const Index::Entry& entry : entries) slots.push_back(entry.slot);
  return slots;
}

void Table::Impl::InitTail(std::span<const float> weights, std::byte* tail) const {
  std::memset(tail, 0, shape().tail_bytes());
  extras.Init(shape().Extra(tail));
  if (layout().state == 0) return;
  if (shape().state_in_place()) {
    optimizer->InitState(weights, {reinterpret_cast<float*>(tail), layout().state});
    return;
  }
  std::vector<float> state(layout().state);
  optimizer->InitState(weights, state);
  std::memcpy(tail, state.data(), state.size() * sizeof(float));
}

void Table::Impl::FillRaw(uint64_t key, std::span<float> weights, std::byte* raw) const {
  initializer.Fill(key, weights);
  EncodeNearest(layout().element, weights.data(), layout().dim, raw);
}

void Table::Impl::MakeInitial(uint64_t key, const RowRef& row, std::span<float> weights) const {
  FillRaw(key, weights, row.weights);
  // The optimizer sees the weights that the row has.
  if (!fp32()) Decode(layout().element, row.weights, layout().dim, weights.data());
  InitTail(weights, row.tail);
}

Table::Table(const TableSettings& settings, uint32_t partitions,
             const std::vector<PartitionId>& owned, PageAhead* page_ahead)
    : impl_(std::make_unique<Impl>(settings, partitions, owned, page_ahead)) {}

Table::~Table() = default;

const TableSettings& Table::settings() const { return impl_->settings; }
const RowLayout& Table::layout() const { return impl_->layout(); }
uint32_t Table::weight_bytes() const { return impl_->shape().weight_bytes(); }
uint64_t Table::rows() const { return impl_->index.size(); }
uint64_t Table::bytes() const {
  const uint64_t sketch = impl_->admission.has_value() ? impl_->admission->bytes() : 0;
  const uint64_t changes = impl_->changes.has_value() ? impl_->changes->bytes() : 0;
  return impl_->index.resident() + impl_->slabs.resident() + sketch + changes;
}
uint32_t Table::bytes_of_row() const {
  constexpr uint32_t kIndexBytes = 16;
  return impl_->shape().stride() + impl_->shape().tail_bytes() + kIndexBytes;
}
bool Table::Owns(uint64_t key) const { return impl_->index.Owns(key); }

void Table::Find(std::span<const uint64_t> keys, std::span<Slot> slots) const {
  impl_->index.Find(keys, slots);
}

void Table::FindOrCreate(std::span<const uint64_t> keys, std::span<Slot> slots) {
  Impl& t = *impl_;
  t.index.Find(keys, slots);
  t.scratch.resize(std::max<size_t>(t.scratch.size(), t.layout().dim));
  for (size_t i = 0; i < keys.size(); ++i) {
    if (slots[i] != kNoSlot) continue;
    slots[i] = t.index.Find(keys[i]);  // the same key may have been made a moment ago
    if (slots[i] != kNoSlot) continue;
    slots[i] = t.Occupy(keys[i]);
    const RowRef row = t.slabs.At(slots[i]);
    t.MakeInitial(keys[i], row, std::span(t.scratch).first(t.layout().dim));
    if (!t.slot_stats.empty()) t.slot_stats.Add(keys[i], t.shape().Extra(row.tail), 0);
  }
}

void Table::Read(std::span<const uint64_t> keys, std::span<const Slot> slots, uint32_t step,
                 std::span<float> weights, std::span<float> popularity) const {
  const Impl& t = *impl_;
  const size_t dim = t.layout().dim;
  EMPORIUM_CHECK(weights.size() == keys.size() * dim, "room for the weights of every key");
  if (t.fp32()) {
    ReadRaw(keys, slots, step, std::as_writable_bytes(weights), popularity);
    return;
  }
  std::vector<std::byte> raw(keys.size() * t.shape().weight_bytes());
  ReadRaw(keys, slots, step, raw, popularity);
  DecodeRows(t.layout().element, raw.data(), keys.size(), t.layout().dim, weights.data());
}

void Table::ReadRaw(std::span<const uint64_t> keys, std::span<const Slot> slots, uint32_t step,
                    std::span<std::byte> rows, std::span<float> popularity) const {
  const Impl& t = *impl_;
  const size_t bytes = t.shape().weight_bytes();
  EMPORIUM_CHECK(keys.size() == slots.size() && rows.size() == keys.size() * bytes,
                 "room for the weights of every key");
  EMPORIUM_CHECK(popularity.empty() || popularity.size() == keys.size(), "one count per key");
  std::byte* const out = rows.data();
  bool all = true;  // have a row
  if (popularity.empty() || t.layout().popularity_bytes == 0) {
    all = CopyWeights(t.slabs, slots, out);
    std::fill(popularity.begin(), popularity.end(), 0.0f);
  } else {
    all = ForRows<true, 0>(t.slabs, slots, [&](size_t i, const Slabs::ConstRowRef& row) {
      CopyRowBytes(row.weights, bytes, out + i * bytes);
      popularity[i] = t.PopularityAt(row.tail, step);
    });
  }
  if (all) return;
  std::vector<float> initial;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (slots[i] != kNoSlot) continue;
    initial.resize(t.layout().dim);
    t.FillRaw(keys[i], initial, out + i * bytes);
    if (!popularity.empty()) popularity[i] = 0;
  }
}

std::span<const float> Table::Weights(Slot slot) const {
  EMPORIUM_CHECK(impl_->fp32(), "weights that are floats where they lie");
  const auto row = std::as_const(impl_->slabs).At(slot);
  return {reinterpret_cast<const float*>(row.weights), impl_->layout().dim};
}

void Table::Assign(uint64_t key, std::span<const float> weights) {
  Impl& t = *impl_;
  EMPORIUM_CHECK(weights.size() == t.layout().dim, "as many weights as the table has");
  if (t.index.Find(key) != kNoSlot) return;
  const RowRef row = t.slabs.At(t.Occupy(key));
  EncodeNearest(t.layout().element, weights.data(), t.layout().dim, row.weights);
  if (t.fp32()) {
    t.InitTail(weights, row.tail);
  } else {
    std::vector<float> rounded(weights.size());
    Decode(t.layout().element, row.weights, t.layout().dim, rounded.data());
    t.InitTail(rounded, row.tail);
  }
  if (!t.slot_stats.empty()) t.slot_stats.Add(key, t.shape().Extra(row.tail), 0);
}

Status Table::Restore(const RowView& row) {
  Impl& t = *impl_;
  const std::string where = "table " + t.settings.name + ", key " + std::to_string(row.key) + ": ";
  const bool weights_fit = row.raw.empty() ? row.weights.size() == t.layout().dim
                                           : row.raw.size() == t.shape().weight_bytes();
  if (!weights_fit || row.state.size() != t.layout().state) {
    return DataLoss(where + "the checkpoint's row has not " + std::to_string(t.layout().dim) +
                    " weights of type " + spec::ElementType_Name(t.layout().element) + " and " +
                    std::to_string(t.layout().state) +
                    " state floats; restore the job that wrote it");
  }
  if (!t.index.Owns(row.key)) {
    return DataLoss(where + "the key does not belong to the partition that it is stored under; " +
                    "restore an older checkpoint");
  }
  if (!row.extra.empty() && row.extra.size() != t.layout().extra * sizeof(uint32_t)) {
    return DataLoss(where + "the checkpoint's row has " + std::to_string(row.extra.size()) +
                    " bytes of slots, not " + std::to_string(t.layout().extra * sizeof(uint32_t)) +
                    "; restore the job that wrote it");
  }
  if (!std::isfinite(row.popularity) || row.popularity < 0) {
    return DataLoss(where + "the checkpoint's row has a popularity of " +
                    std::to_string(row.popularity) + "; restore an older checkpoint");
  }
  Slot slot = t.index.Find(row.key);
  const bool made = slot == kNoSlot;
  if (made) slot = t.Occupy(row.key);
  const RowRef to = t.slabs.At(slot);
  const float counted = made ? 0 : t.StoredPopularity(to.tail);
  const uint32_t counted_at = made ? 0 : t.TickOf(to.tail);
  if (!made && !t.slot_stats.empty()) {
    t.slot_stats.Remove(row.key, t.shape().Extra(to.tail), counted_at);
  }
  std::memset(to.tail, 0, t.shape().tail_bytes());
  t.extras.Init(t.shape().Extra(to.tail));
  if (!row.extra.empty()) {
    std::memcpy(t.shape().Extra(to.tail), row.extra.data(), row.extra.size());
  }
  if (!row.raw.empty()) {
    CopyRowBytes(row.raw.data(), row.raw.size(), to.weights);
  } else {
    EncodeNearest(t.layout().element, row.weights.data(), t.layout().dim, to.weights);
  }
  std::copy_n(reinterpret_cast<const std::byte*>(row.state.data()), row.state.size_bytes(),
              to.tail);
  t.shape().SetLastStep(to.tail, row.last_step);
  t.shape().SetUpdates(to.tail, row.updates);
  if (t.layout().popularity_bytes > 0) {
    t.code.Encode(row.popularity, PopularityBits(t.settings.seed, row.key, row.last_step),
                  t.shape().Popularity(to.tail));
    t.stats.Change(row.key, counted, counted_at, t.StoredPopularity(to.tail), t.TickOf(to.tail));
  }
  if (!t.slot_stats.empty()) {
    t.slot_stats.Add(row.key, t.shape().Extra(to.tail), t.TickOf(to.tail));
  }
  return Status::Ok();
}

uint64_t Table::Erase(std::span<const uint64_t> keys) {
  Impl& t = *impl_;
  uint64_t erased = 0;
  for (const uint64_t key : keys) {
    const Slot slot = t.index.Erase(key);
    if (slot == kNoSlot) continue;
    t.BeforeErase(key, slot);
    const std::byte* const tail = t.slabs.At(slot).tail;
    if (t.settings.popularity) t.stats.Remove(key, t.StoredPopularity(tail), t.TickOf(tail));
    if (!t.slot_stats.empty()) t.slot_stats.Remove(key, t.shape().Extra(tail), t.TickOf(tail));
    t.slabs.Free(slot);
    ++erased;
  }
  return erased;
}

void Table::CompactPartition(PartitionId partition) {
  Impl& t = *impl_;
  const Index::Bins bins = t.index.BinsOf(partition);
  for (uint32_t bin = bins.begin; bin < bins.end; ++bin) {
    std::vector<Index::Entry> entries = t.index.List(bin);
    const std::vector<Slot> before = Impl::SlotsOf(entries);
    std::vector<Slot> slots = before;
    t.slabs.Compact(bin, slots);
    t.AfterMove(bin, before);
    for (size_t i = 0; i < entries.size(); ++i) entries[i].slot = slots[i];
    t.index.Rebuild(bin, entries);
  }
}

void Table::SetTime(uint32_t step, uint32_t time) {
  Impl::Clock& clock = impl_->clock;
  if (step > clock.step) clock = {step, clock.now, clock.now};
  clock.now = std::max(clock.now, time);
}

Admission* Table::admission() {
  return impl_->admission.has_value() ? &*impl_->admission : nullptr;
}
const Admission* Table::admission() const {
  return impl_->admission.has_value() ? &*impl_->admission : nullptr;
}

void Table::ForEachRow(PartitionId partition,
                       const std::function<void(const RowView&)>& visit) const {
  const Impl& t = *impl_;
  std::vector<Index::Entry> entries = t.EntriesOf(partition);
  std::sort(entries.begin(), entries.end(),
            [](const Index::Entry& a, const Index::Entry& b) { return a.key < b.key; });
  const std::vector<Slot> slots = Impl::SlotsOf(entries);
  RowReader reader(t.layout());
  ForRows<true, 0>(t.slabs, slots, [&](size_t i, const Slabs::ConstRowRef& row) {
    visit(reader.Read(entries[i].key, row.weights, row.tail));
  });
}

void Table::Clear() {
  impl_->index.Clear();
  impl_->slabs.Clear();
  impl_->total = Total{.slots = std::vector<double>(impl_->extras.counters().size())};
  impl_->clock = Impl::Clock();
  impl_->stats.Clear();
  impl_->slot_stats.Clear();
  if (impl_->admission.has_value()) impl_->admission->Clear();
  EndCut();
  if (impl_->changes.has_value()) FollowChanges();
}

}  // namespace emporium::ps
