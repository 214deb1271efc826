#include "tests/random/plain_table.h"

#include <algorithm>
#include <cstring>

#include "proto/check.h"
#include "proto/element.h"
#include "runtime/route.h"

namespace emporium::ps {

PlainTable::PlainTable(const TableSettings& settings, uint32_t partitions,
                       const std::vector<PartitionId>& owned)
    : settings_(settings),
      partitions_(partitions),
      owned_(partitions),
      optimizer_(MakeOptimizer(settings.optimizer).value()),
      initializer_(Initializer::Make(settings.initializer, settings.seed).value()),
      decay_(settings.half_life_seconds > 0 ? settings.half_life_seconds
                                            : settings.half_life_steps),
      code_(settings.popularity_bytes),
      slots_(settings.slots, settings.event_time()) {
  for (PartitionId partition : owned) owned_[partition.value()] = true;
}

bool PlainTable::Owns(uint64_t key) const {
  return owned_[runtime::PartitionOf(key, partitions_).value()];
}

void PlainTable::Find(std::span<const uint64_t> keys, std::span<Slot> slots) const {
  for (size_t i = 0; i < keys.size(); ++i) {
    const auto at = rows_.find(keys[i]);
    slots[i] = at == rows_.end() ? kNoSlot : at->second.slot;
  }
}

void PlainTable::FindOrCreate(std::span<const uint64_t> keys, std::span<Slot> slots) {
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!rows_.contains(keys[i])) Make(keys[i], Initial(keys[i]));
    slots[i] = rows_.at(keys[i]).slot;
  }
}

void PlainTable::Read(std::span<const uint64_t> keys, std::span<const Slot> slots, uint32_t step,
                      std::span<float> weights, std::span<float> popularity) const {
  const size_t bytes = WeightBytes(settings_.element_type, settings_.dim);
  std::vector<std::byte> raw(keys.size() * bytes);
  ReadRaw(keys, slots, step, raw, popularity);
  for (size_t i = 0; i < keys.size(); ++i) {
    Decode(settings_.element_type, raw.data() + i * bytes, settings_.dim,
           weights.data() + i * settings_.dim);
  }
}

void PlainTable::ReadRaw(std::span<const uint64_t> keys, std::span<const Slot> slots, uint32_t step,
                         std::span<std::byte> rows, std::span<float> popularity) const {
  const size_t bytes = WeightBytes(settings_.element_type, settings_.dim);
  for (size_t i = 0; i < keys.size(); ++i) {
    const bool found = slots[i] != kNoSlot;
    const std::vector<std::byte> raw = found ? rows_.at(keys[i]).raw : Initial(keys[i]);
    std::copy(raw.begin(), raw.end(), rows.begin() + static_cast<ptrdiff_t>(i * bytes));
    if (!popularity.empty()) popularity[i] = found ? PopularityAt(rows_.at(keys[i]), step) : 0;
  }
}

void PlainTable::Apply(const UpdateBatch& batch) {
  const size_t dim = settings_.dim;
  const size_t bytes = WeightBytes(settings_.element_type, settings_.dim);
  for (size_t i = 0; i < batch.slots.size(); ++i) {
    const uint64_t key = key_of_.at(batch.slots[i]);
    Row& row = rows_.at(key);
    if (!batch.kept_rows.empty()) {
      std::copy(row.raw.begin(), row.raw.end(),
                batch.kept_rows.begin() + static_cast<ptrdiff_t>(i * bytes));
    }
    if (!batch.kept_popularity.empty()) {
      batch.kept_popularity[i] = PopularityAt(row, batch.step - 1);
    }
    if (settings_.popularity) {
      CountPopularity(key, batch.counts.empty() ? 0 : batch.counts[i], batch.step, &row);
    }
    RowClock clock;
    if (row.last_step > 0 && batch.step > row.last_step) {
      clock.missed = batch.step - row.last_step - 1;
    }
    if (settings_.popularity || settings_.expiry.every_steps > 0 || optimizer_->CountsMissed()) {
      row.last_step = batch.step;
    }
    if (optimizer_->CountsUpdates()) clock.updates = ++row.updates;
    std::vector<float> weights = Floats(row);
    optimizer_->Apply(weights, row.state, batch.gradients.subspan(i * dim, dim), clock,
                      batch.learning_rate_factor);
    Encode(settings_.element_type, weights.data(), settings_.dim,
           RoundingSeedOf(settings_.seed, key, batch.step), row.raw.data());
  }
}

void PlainTable::CountPopularity(uint64_t key, float added, uint32_t step, Row* row) const {
  const float now = PopularityAt(*row, step) + added;
  code_.Encode(now, PopularityBits(settings_.seed, key, step), row->popularity.data());
  slots_.Fade(row->extra.data(), TickOf(*row), TickAt(step));
  if (settings_.event_time())
    RowSlots::SetTime(row->extra.data(), std::max(TickOf(*row), TickAt(step)));
}

void PlainTable::ReadSlots(std::span<const Slot> slots, uint32_t step,
                           std::span<float> values) const {
  const size_t width = slots_.slots();
  for (size_t i = 0; i < slots.size(); ++i) {
    const std::span<float> out = values.subspan(i * width, width);
    if (slots[i] == kNoSlot) {
      slots_.ReadInitial(out);
    } else {
      const Row& row = rows_.at(key_of_.at(slots[i]));
      slots_.Read(row.extra.data(), TickOf(row), TickAt(step), out);
    }
  }
}

void PlainTable::Observe(std::span<const uint64_t> keys, std::span<const Slot> slots,
                         std::span<const Observation> observed) {
  for (size_t i = 0; i < slots.size(); ++i) {
    if (slots[i] != kNoSlot) slots_.Observe(rows_.at(keys[i]).extra.data(), observed[i]);
  }
}

void PlainTable::SetTime(uint32_t step, uint32_t time) {
  if (step > clock_step_) {
    clock_step_ = step;
    before_ = now_;
  }
  now_ = std::max(now_, time);
}

void PlainTable::Assign(uint64_t key, std::span<const float> weights) {
  if (rows_.contains(key)) return;
  std::vector<std::byte> raw(WeightBytes(settings_.element_type, settings_.dim));
  EncodeNearest(settings_.element_type, weights.data(), settings_.dim, raw.data());
  Make(key, std::move(raw));
}

Status PlainTable::Restore(const RowView& view) {
  Row& row = rows_.contains(view.key) ? rows_.at(view.key) : Make(view.key, Initial(view.key));
  row.raw.assign(view.raw.begin(), view.raw.end());
  row.state.assign(view.state.begin(), view.state.end());
  row.last_step = view.last_step;
  row.updates = view.updates;
  row.extra.assign(view.extra.begin(), view.extra.end());
  if (settings_.popularity) code_.Encode(view.popularity, 0, row.popularity.data());
  return Status::Ok();
}

uint64_t PlainTable::Erase(std::span<const uint64_t> keys) {
  uint64_t erased = 0;
  for (const uint64_t key : keys) {
    const auto at = rows_.find(key);
    if (at == rows_.end()) continue;
    key_of_.erase(at->second.slot);
    rows_.erase(at);
    ++erased;
  }
  return erased;
}

uint64_t PlainTable::Expire(uint32_t step) {
  std::vector<std::vector<RowAge>> ages(partitions_);
  for (const auto& [key, row] : rows_) {
    ages[runtime::PartitionOf(key, partitions_).value()].push_back(
        {key, row.last_step, PopularityAt(row, step)});
  }
  uint64_t gone = 0;
  for (uint32_t p = 0; p < partitions_; ++p) {
    const uint64_t share =
        ShareOf(PartitionId(static_cast<uint16_t>(p)), partitions_, settings_.expiry.rows);
    gone += Erase(Expired(std::move(ages[p]), settings_.expiry, share, step));
  }
  return gone;
}

void PlainTable::ForEachRow(PartitionId partition,
                            const std::function<void(const RowView&)>& visit) const {
  std::vector<uint64_t> keys;
  for (const auto& [key, row] : rows_) {
    if (runtime::PartitionOf(key, partitions_) == partition) keys.push_back(key);
  }
  std::sort(keys.begin(), keys.end());
  for (const uint64_t key : keys) {
    const Row& row = rows_.at(key);
    const std::vector<float> weights = Floats(row);
    RowView view;
    view.key = key;
    view.weights = weights;
    view.state = row.state;
    view.popularity = settings_.popularity ? code_.Decode(row.popularity.data()) : 0;
    view.last_step = row.last_step;
    view.updates = row.updates;
    view.raw = row.raw;
    view.extra = row.extra;
    visit(view);
  }
}

void PlainTable::Clear() {
  rows_.clear();
  key_of_.clear();
  clock_step_ = now_ = before_ = 0;
}

std::vector<std::byte> PlainTable::Initial(uint64_t key) const {
  std::vector<float> weights(settings_.dim);
  initializer_.Fill(key, weights);
  std::vector<std::byte> raw(WeightBytes(settings_.element_type, settings_.dim));
  EncodeNearest(settings_.element_type, weights.data(), settings_.dim, raw.data());
  return raw;
}

std::vector<float> PlainTable::Floats(const Row& row) const {
  std::vector<float> weights(settings_.dim);
  Decode(settings_.element_type, row.raw.data(), settings_.dim, weights.data());
  return weights;
}

uint32_t PlainTable::TickOf(const Row& row) const {
  return settings_.event_time() ? RowSlots::Time(row.extra.data()) : row.last_step;
}

uint32_t PlainTable::TickAt(uint32_t step) const {
  if (!settings_.event_time()) return step;
  return step >= clock_step_ ? now_ : before_;
}

double PlainTable::FactorAt(const Row& row, uint32_t step) const {
  return decay_.Factor(TickOf(row), TickAt(step));
}

float PlainTable::PopularityAt(const Row& row, uint32_t step) const {
  if (!settings_.popularity) return 0;
  return static_cast<float>(code_.Decode(row.popularity.data()) * FactorAt(row, step));
}

PlainTable::Row& PlainTable::Make(uint64_t key, std::vector<std::byte> raw) {
  EMPORIUM_CHECK(Owns(key), "a row belongs to a partition that the shard owns");
  Row row;
  row.slot = next_++;
  row.raw = std::move(raw);
  row.state.resize(optimizer_->StateFloats(settings_.dim));
  optimizer_->InitState(Floats(row), row.state);
  row.popularity.resize(settings_.popularity_bytes);
  row.extra.resize(slots_.words() * sizeof(uint32_t));
  if (!row.extra.empty()) slots_.Init(row.extra.data());
  key_of_[row.slot] = key;
  return rows_[key] = std::move(row);
}

}  // namespace emporium::ps
