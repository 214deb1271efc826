#include "ps/step_rows.h"

#include <algorithm>
#include <bit>

#include "proto/check.h"

namespace emporium::ps {
namespace {

constexpr size_t kAhead = 16;  // keys whose places are fetched before they are needed

// In blocks of a constant size, which the compiler makes vector instructions of.
void AddFloats(const float* __restrict from, size_t n, float* __restrict to) {
  constexpr size_t kBlock = 16;
  size_t i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    for (size_t k = 0; k < kBlock; ++k) to[i + k] += from[i + k];
  }
  for (; i < n; ++i) to[i] += from[i];
}

}  // namespace

void StepRows::Begin(uint64_t keys, uint32_t dim, bool popularity) {
  dim_ = dim;
  popularity_ = popularity;
  const uint64_t capacity = std::bit_ceil(std::max<uint64_t>(2 * keys, 2));
  shift_ = 64 - std::countr_zero(capacity);
  index_.assign(capacity, Entry{});
  slots_.clear();
  added_ = 0;
  // Never cleared: what grows is filled with zeros, which would be written over at once.
  if (gradients_.size() < keys * dim) gradients_.resize(keys * dim);
  counts_.clear();
  previous_popularity_.clear();
}

size_t StepRows::Locate(Slot slot) const {
  size_t i = HomeOf(slot);
  while (index_[i].slot != slot && index_[i].slot != kNoSlot) i = (i + 1) & (index_.size() - 1);
  return i;
}

void StepRows::Add(Table& table, const SectionView& section) {
  found_.resize(section.keys.size());
  table.FindOrCreate(section.keys, found_);
  added_ += found_.size();
  EMPORIUM_CHECK(2 * added_ <= index_.size(), "Begin is told how many keys will come");
  for (size_t i = 0; i < found_.size(); ++i) {
    if (i + kAhead < found_.size()) __builtin_prefetch(&index_[HomeOf(found_[i + kAhead])], 1);
    const float* gradient = section.values.data() + i * dim_;
    const float count = popularity_ && !section.counts.empty() ? section.counts[i] : 0;
    Entry& entry = index_[Locate(found_[i])];
    if (entry.slot == kNoSlot) {
      entry = {found_[i], static_cast<uint32_t>(slots_.size())};
      CopyFloats(gradient, dim_, gradients_.data() + slots_.size() * dim_);
      slots_.push_back(found_[i]);
      if (popularity_) counts_.push_back(count);
      continue;
    }
    AddFloats(gradient, dim_, gradients_.data() + size_t{entry.position} * dim_);
    if (popularity_) counts_[entry.position] += count;
  }
}

void StepRows::Apply(Table& table, uint32_t step, float learning_rate_factor) {
  const size_t floats = slots_.size() * dim_;
  if (previous_weights_.size() < floats) previous_weights_.resize(floats);
  previous_popularity_.resize(popularity_ ? slots_.size() : 0);
  table.UpdateAndKeep(slots_, std::span(gradients_).first(floats), counts_, step,
                      learning_rate_factor, std::span(previous_weights_).first(floats),
                      previous_popularity_);
}

void StepRows::ReadPrevious(const Table& table, std::span<const uint64_t> keys,
                            std::span<const Slot> slots, uint32_t step, std::span<float> weights,
                            std::span<float> popularity) const {
  table.Read(keys, slots, step, weights, popularity);
  if (slots_.empty()) return;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (slots[i] == kNoSlot) continue;
    const Entry& entry = index_[Locate(slots[i])];
    if (entry.slot == kNoSlot) continue;
    const float* before = previous_weights_.data() + size_t{entry.position} * dim_;
    CopyFloats(before, dim_, weights.data() + i * dim_);
    if (!popularity.empty()) popularity[i] = previous_popularity_[entry.position];
  }
}

}  // namespace emporium::ps
