// Distinct texts, numbered from 0 in the order in which they were first given. Grows with the
// number of distinct texts of a column, never with its rows. One thread at a time.
#pragma once

#include <xxhash.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "proto/check.h"

namespace emporium::worker {

class StringPool {
 public:
  StringPool() : slots_(kFirstSlots, -1) {}

  int32_t Intern(std::string_view text) {
    if (2 * (hashes_.size() + 1) > slots_.size()) {
      Grow();
    }
    const uint64_t hash = XXH3_64bits(text.data(), text.size());
    size_t slot = hash & (slots_.size() - 1);
    for (; slots_[slot] >= 0; slot = (slot + 1) & (slots_.size() - 1)) {
      const int32_t code = slots_[slot];
      if (hashes_[static_cast<size_t>(code)] == hash && this->text(code) == text) {
        return code;
      }
    }
    EMPORIUM_CHECK(hashes_.size() < INT32_MAX, "fewer than 2^31 distinct texts");
    const auto code = static_cast<int32_t>(hashes_.size());
    slots_[slot] = code;
    hashes_.push_back(hash);
    bytes_.insert(bytes_.end(), text.begin(), text.end());
    offset_.push_back(static_cast<int64_t>(bytes_.size()));
    return code;
  }
  // The text's number, -1 when it was never given.
  int32_t Find(std::string_view text) const {
    const uint64_t hash = XXH3_64bits(text.data(), text.size());
    size_t slot = hash & (slots_.size() - 1);
    for (; slots_[slot] >= 0; slot = (slot + 1) & (slots_.size() - 1)) {
      const int32_t code = slots_[slot];
      if (hashes_[static_cast<size_t>(code)] == hash && this->text(code) == text) {
        return code;
      }
    }
    return -1;
  }
  // Valid until the next Intern.
  std::string_view text(int32_t code) const {
    const auto c = static_cast<size_t>(code);
    return {bytes_.data() + offset_[c], static_cast<size_t>(offset_[c + 1] - offset_[c])};
  }
  int32_t size() const { return static_cast<int32_t>(hashes_.size()); }
  int64_t bytes() const { return offset_.back(); }

 private:
  static constexpr size_t kFirstSlots = 64;

  void Grow() {
    std::vector<int32_t> slots(slots_.size() * 2, -1);
    for (size_t code = 0; code < hashes_.size(); ++code) {
      size_t slot = hashes_[code] & (slots.size() - 1);
      while (slots[slot] >= 0) {
        slot = (slot + 1) & (slots.size() - 1);
      }
      slots[slot] = static_cast<int32_t>(code);
    }
    slots_.swap(slots);
  }

  std::vector<int32_t> slots_;    // code, or -1; a power of two of them, at most half full
  std::vector<uint64_t> hashes_;  // by code
  std::vector<char> bytes_;
  std::vector<int64_t> offset_{0};
};

}  // namespace emporium::worker
