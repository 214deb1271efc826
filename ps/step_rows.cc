#include "ps/step_rows.h"

#include <algorithm>
#include <bit>

#include "proto/check.h"

namespace emporium::ps {

void StepRows::Begin(uint64_t keys, uint32_t dim, bool popularity) {
  dim_ = dim;
  popularity_ = popularity;
  const uint64_t capacity = std::bit_ceil(std::max<uint64_t>(2 * keys, 2));
  shift_ = 64 - std::countr_zero(capacity);
  index_.assign(capacity, Entry{});
  keys_.clear();
  slots_.clear();
  gradients_.clear();
  counts_.clear();
  previous_weights_.clear();
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
  for (size_t i = 0; i < section.keys.size(); ++i) {
    const float* gradient = section.values.data() + i * dim_;
    const float count = popularity_ && !section.counts.empty() ? section.counts[i] : 0;
    Entry& entry = index_[Locate(found_[i])];
    if (entry.slot == kNoSlot) {
      entry = {found_[i], static_cast<uint32_t>(slots_.size())};
      keys_.push_back(section.keys[i]);
      slots_.push_back(found_[i]);
      gradients_.insert(gradients_.end(), gradient, gradient + dim_);
      if (popularity_) counts_.push_back(count);
      continue;
    }
    float* sum = gradients_.data() + size_t{entry.position} * dim_;
    for (uint32_t d = 0; d < dim_; ++d) sum[d] += gradient[d];
    if (popularity_) counts_[entry.position] += count;
  }
  EMPORIUM_CHECK(2 * slots_.size() <= index_.size(), "Begin is told how many keys will come");
}

void StepRows::Remember(const Table& table, uint32_t step) {
  previous_weights_.resize(slots_.size() * dim_);
  previous_popularity_.resize(popularity_ ? slots_.size() : 0);
  table.Read(keys_, slots_, step, previous_weights_, previous_popularity_);
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
    std::copy_n(before, dim_, weights.data() + i * dim_);
    if (!popularity.empty()) popularity[i] = previous_popularity_[entry.position];
  }
}

}  // namespace emporium::ps
