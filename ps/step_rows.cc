#include "ps/step_rows.h"

#include <cmath>
#include <cstring>

#include "proto/check.h"

namespace emporium::ps {
namespace {

constexpr size_t kAhead = 16;  // keys whose places are fetched before they are needed

// to = a + b; `to` may be `a`. In blocks of a constant size, which the compiler makes vector
// instructions of.
void AddFloats(const float* a, const float* __restrict b, size_t n, float* to) {
  constexpr size_t kBlock = 16;
  size_t i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    float sum[kBlock];
    for (size_t k = 0; k < kBlock; ++k) sum[k] = a[i + k] + b[i + k];
    std::copy_n(sum, kBlock, to + i);
  }
  for (; i < n; ++i) to[i] = a[i] + b[i];
}

// In this order, whatever the processor: squares of floats are exact doubles.
double SumOfSquares(const float* g, size_t n) {
  constexpr size_t kLanes = 8;
  double partial[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (size_t k = 0; k < kLanes; ++k) {
      const double x = g[i + k];
      partial[k] += x * x;
    }
  }
  for (; i < n; ++i) partial[i % kLanes] += static_cast<double>(g[i]) * g[i];
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t k = 0; k < half; ++k) partial[k] += partial[k + half];
  }
  return partial[0];
}

}  // namespace

StepRows::StepRows(const TableSettings& settings)
    : dim_(settings.dim),
      row_bytes_(WeightBytes(settings.element_type, settings.dim)),
      popularity_(settings.popularity),
      table_needs_keys_(settings.element_type != spec::FP32 || settings.popularity ||
                        !settings.slots.empty()),
      needs_keys_(table_needs_keys_),
      row_slots_(settings.slots.size()),
      sums_(settings.dim) {}

void StepRows::KeepKeys(bool keep) {
  EMPORIUM_CHECK(slots_.empty(), "a step has all its keys or none");
  needs_keys_ = keep || table_needs_keys_;
}

float* StepRows::Sums::Take() {
  const size_t block = taken_ / block_rows_;
  if (block == blocks_.size()) blocks_.emplace_back(size_t{block_rows_} * dim_);
  return blocks_[block].data() + (taken_++ % block_rows_) * dim_;
}

void StepRows::AddGradient(const float* from, uint32_t position) {
  float*& sum = sum_of_[position];
  if (sum == nullptr) sum = sums_.Take();
  AddFloats(gradients_[position], from, dim_, sum);
  gradients_[position] = sum;
}

void StepRows::Add(std::span<const uint64_t> keys, std::span<const Slot> slots,
                   const SectionView& section) {
  EMPORIUM_CHECK(keys.size() == section.rows && slots.size() == section.rows,
                 "a gradient for every key");
  if (slots.empty()) return;
  if (slots_.empty()) positions_.Clear(std::max(previous_rows_, slots.size()));
  positions_.Reserve(slots_.size() + slots.size());
  const bool counted = popularity_ && !section.counts.empty();
  const bool observed = section.slots_dim > 0;
  ObservationReader observations(section);
  observed_.insert(observed_.end(), section.observed.begin(), section.observed.end());
  for (size_t i = 0; i < slots.size(); ++i) {
    if (i + kAhead < slots.size()) positions_.Prefetch(slots[i + kAhead]);
    const float* gradient = section.values.data() + i * dim_;
    const float count = counted ? section.counts[i] : 0;
    uint32_t& position = slots[i] != kNoSlot ? Known(slots[i]) : Awaited(keys[i]);
    if (position == kFree) {
      position = static_cast<uint32_t>(slots_.size());
      gradients_.push_back(gradient);
      sum_of_.push_back(nullptr);
      slots_.push_back(slots[i]);
      if (needs_keys_) keys_.push_back(keys[i]);
      if (popularity_) counts_.push_back(count);
    } else {
      AddGradient(gradient, position);
      if (popularity_) counts_[position] += count;
    }
    if (!observed) continue;
    const uint32_t mask = observations.Next().mask;
    if (mask == 0) continue;
    observed_position_.push_back(position);
    observed_mask_.push_back(mask);
  }
}

uint32_t& StepRows::Known(Slot slot) {
  Entry<Slot>& entry = positions_.At(slot);
  entry.name = slot;
  return entry.position;
}

uint32_t& StepRows::Awaited(uint64_t key) {
  awaited_.Reserve(awaited_keys_.size() + 1);
  Entry<uint64_t>& entry = awaited_.At(key);
  if (entry.position == kFree) {
    entry.name = key;
    awaited_keys_.push_back(key);
    awaited_positions_.push_back(static_cast<uint32_t>(slots_.size()));
  }
  return entry.position;
}

uint64_t StepRows::Admit(Admission& admission) {
  for (size_t i = 0; i < awaited_keys_.size(); ++i) {
    admission.Count(awaited_keys_[i], counts_[awaited_positions_[i]]);
  }
  const size_t all = awaited_keys_.size();
  size_t kept = 0;
  for (size_t i = 0; i < all; ++i) {
    if (!admission.Admits(awaited_keys_[i])) continue;
    awaited_keys_[kept] = awaited_keys_[i];
    awaited_positions_[kept++] = awaited_positions_[i];
  }
  awaited_keys_.resize(kept);
  awaited_positions_.resize(kept);
  awaited_.Clear(0);  // nothing more is added
  admission.EndStep();
  return all - kept;
}

void StepRows::CloseGaps() {
  std::vector<uint32_t> place(slots_.size(), kFree);
  uint32_t to = 0;
  for (uint32_t from = 0; from < slots_.size(); ++from) {
    if (slots_[from] == kNoSlot) continue;
    place[from] = to;
    if (from != to) {
      slots_[to] = slots_[from];
      keys_[to] = keys_[from];
      counts_[to] = counts_[from];
      gradients_[to] = gradients_[from];
      positions_.At(slots_[to]).position = to;
    }
    ++to;
  }
  slots_.resize(to);
  keys_.resize(to);
  counts_.resize(to);
  gradients_.resize(to);
  for (uint32_t& position : observed_position_) position = place[position];
}

void StepRows::MakeRows(Table& table) {
  if (awaited_keys_.empty()) return;
  std::vector<Slot> made(awaited_keys_.size());
  table.FindOrCreate(awaited_keys_, made);
  for (size_t i = 0; i < made.size(); ++i) {
    const uint32_t position = awaited_positions_[i];
    slots_[position] = made[i];
    Known(made[i]) = position;
  }
  ForgetAwaited();
}

void StepRows::Observe(Table& table) {
  std::span<const float> values = observed_;
  for (size_t i = 0; i < observed_position_.size(); ++i) {
    const auto count = static_cast<size_t>(std::popcount(observed_mask_[i]));
    const Observation observed{observed_mask_[i], values.first(count)};
    values = values.subspan(count);
    const uint32_t position = observed_position_[i];
    if (position == kFree) continue;
    table.Observe({&keys_[position], 1}, {&slots_[position], 1}, {&observed, 1});
  }
  ForgetObserved();
}

void StepRows::ForgetObserved() {
  observed_position_.clear();
  observed_mask_.clear();
  observed_.clear();
}

uint64_t StepRows::Close(Table& table) {
  if (table.admission() == nullptr) return 0;
  const uint64_t refused = Admit(*table.admission());
  dropped_ = refused > 0;
  return refused;
}

void StepRows::AddSquares(StepSquares* squares) const {
  const auto add = [&](size_t position) {
    const double of_row = SumOfSquares(gradients_[position], dim_);
    squares->finite = squares->finite && std::isfinite(of_row);
    if (squares->finite) squares->sum.Add(of_row);
  };
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i] != kNoSlot) add(i);
  }
  for (const uint32_t position : awaited_positions_) add(position);
}

uint64_t StepRows::Apply(Table& table, uint32_t step, Factors factors) {
  MakeRows(table);
  if (std::exchange(dropped_, false)) CloseGaps();
  const size_t rows = slots_.size();
  if (row_slots_ > 0) {
    previous_slots_.resize(rows * row_slots_);
    table.ReadSlots(slots_, step - 1, previous_slots_);
  }
  if (previous_weights_.size() < rows * row_bytes_) previous_weights_.resize(rows * row_bytes_);
  previous_popularity_.resize(popularity_ ? rows : 0);
  table.Apply({.keys = keys_,
               .slots = slots_,
               .gradients = {},
               .gradient_rows = gradients_,
               .counts = counts_,
               .step = step,
               .learning_rate_factor = factors.learning_rate,
               .gradient_scale = factors.gradient,
               .kept_rows = std::span(previous_weights_).first(rows * row_bytes_),
               .kept_popularity = previous_popularity_});
  Observe(table);
  previous_rows_ = slots_.size();
  std::swap(positions_, previous_);
  ForgetGradients();
  return rows;
}

void StepRows::ForgetGradients() {
  slots_.clear();
  keys_.clear();
  counts_.clear();
  gradients_.clear();
  sum_of_.clear();
  sums_.Forget();
}

void StepRows::Clear() {
  ForgetGradients();
  ForgetObserved();
  ForgetAwaited();
  dropped_ = false;
  previous_rows_ = 0;
}

void StepRows::ForgetAwaited() {
  if (awaited_keys_.empty()) return;
  awaited_.Clear(0);
  awaited_keys_.clear();
  awaited_positions_.clear();
}

void StepRows::ReadPrevious(const Table& table, std::span<const uint64_t> keys,
                            std::span<const Slot> slots, uint32_t step, std::span<std::byte> rows,
                            std::span<float> popularity) const {
  table.ReadRaw(keys, slots, step, rows, popularity);
  if (previous_rows_ == 0) return;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (slots[i] == kNoSlot) continue;
    const uint32_t position = previous_.At(slots[i]).position;
    if (position == kFree) continue;
    std::memcpy(&rows[i * row_bytes_], &previous_weights_[position * row_bytes_], row_bytes_);
    if (!popularity.empty()) popularity[i] = previous_popularity_[position];
  }
}

void StepRows::ReadPreviousSlots(const Table& table, std::span<const Slot> slots, uint32_t step,
                                 std::span<float> values) const {
  table.ReadSlots(slots, step, values);
  if (previous_rows_ == 0) return;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (slots[i] == kNoSlot) continue;
    const uint32_t position = previous_.At(slots[i]).position;
    if (position == kFree) continue;
    std::copy_n(&previous_slots_[position * row_slots_], row_slots_, &values[i * row_slots_]);
  }
}

}  // namespace emporium::ps
