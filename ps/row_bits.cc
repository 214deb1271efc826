#include "ps/row_bits.h"

#include <bit>
#include <utility>

namespace emporium::ps {

void RowBits::Set(Slot slot) {
  std::vector<uint64_t>& words = bins_[slot >> number_bits_];
  const uint32_t number = slot & number_mask_;
  if (number / 64 >= words.size()) words.resize(number / 64 + 1);
  words[number / 64] |= uint64_t{1} << (number % 64);
}

void RowBits::Clear(Slot slot) {
  std::vector<uint64_t>& words = bins_[slot >> number_bits_];
  const uint32_t number = slot & number_mask_;
  if (number / 64 < words.size()) words[number / 64] &= ~(uint64_t{1} << (number % 64));
}

void RowBits::Renumber(uint32_t bin, std::span<const Slot> before) {
  if (bins_[bin].empty()) return;
  std::vector<uint64_t> words((before.size() + 63) / 64);
  for (size_t i = 0; i < before.size(); ++i) {
    if (Test(before[i])) words[i / 64] |= uint64_t{1} << (i % 64);
  }
  bins_[bin] = std::move(words);
}

uint64_t RowBits::Count() const {
  uint64_t count = 0;
  for (const std::vector<uint64_t>& words : bins_) {
    for (const uint64_t word : words) count += static_cast<uint64_t>(std::popcount(word));
  }
  return count;
}

uint64_t RowBits::bytes() const {
  uint64_t bytes = bins_.size() * sizeof(bins_[0]);
  for (const std::vector<uint64_t>& words : bins_) bytes += words.capacity() * sizeof(uint64_t);
  return bytes;
}

}  // namespace emporium::ps
