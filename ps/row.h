// The bytes of one row, and the only code that knows their offsets. A row lies in two pieces of a
// chunk (ps/slab.h): weights, which every pull reads, and a tail, which updates read besides:
//
//   weights  := weights in the table's element type | zeros to 4     (one `stride`)
//   tail     := state f32 x state | last_step u32 (if kept) | updates u32 (if kept)
//             | extra u32 x extra | popularity (popularity_bytes)
//             | zeros to 4, where the state is read in place         (one `tail_bytes`)
//
// Rows whose weights fill whole cache lines start on one; others are packed. A tail without a long
// state is packed to the byte and may be misaligned. No key: it is in the index (ps/index.h).
// Values only; belongs to whoever owns the row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "proto/check.h"
#include "proto/element.h"
#include "proto/job.pb.h"

namespace emporium::ps {

// What a row consists of.
struct RowLayout {
  spec::ElementType element = spec::FP32;
  uint32_t dim = 0;               // weights
  uint32_t state = 0;             // floats of optimizer state
  bool last_step = false;         // global step of the last update
  bool updates = false;           // number of updates, for optimizers that count them
  uint32_t extra = 0;             // 32-bit words of counters and slots
  uint32_t popularity_bytes = 0;  // of the decayed count, valid as of `last_step`: 0 (none) to 4
};

// Where the pieces of a row are: a layout, worked out once.
class RowShape {
 public:
  explicit RowShape(const RowLayout& layout)
      : layout_(layout),
        weight_bytes_(WeightBytes(layout.element, layout.dim)),
        stride_(RoundUp(weight_bytes_, 4)) {
    EMPORIUM_CHECK(layout.dim > 0, "a row has weights");
    EMPORIUM_CHECK(layout.popularity_bytes == 0 || layout.last_step,
                   "a decayed count needs the step that it is valid for");
    EMPORIUM_CHECK(layout.popularity_bytes <= sizeof(float), "a count has at most 4 bytes");
    last_step_at_ = layout.state * 4;
    updates_at_ = last_step_at_ + (layout.last_step ? 4 : 0);
    extra_at_ = updates_at_ + (layout.updates ? 4 : 0);
    popularity_at_ = extra_at_ + layout.extra * 4;
    tail_bytes_ = popularity_at_ + layout.popularity_bytes;
    if (layout.state > kShortState) tail_bytes_ = RoundUp(tail_bytes_, 4);
    // Little beside a wide row, and the few rows of a chunk start on a line like all others.
    if (stride_ + tail_bytes_ >= kWideRow) tail_bytes_ = RoundUp(tail_bytes_, kLine);
  }

  const RowLayout& layout() const { return layout_; }
  uint32_t weight_bytes() const { return weight_bytes_; }
  uint32_t stride() const { return stride_; }
  uint32_t tail_bytes() const { return tail_bytes_; }
  // Whether the state of every row is aligned for float, so that it can be used where it lies.
  bool state_in_place() const { return layout_.state > 0 && tail_bytes_ % 4 == 0; }

  static std::byte* State(std::byte* tail) { return tail; }
  static const std::byte* State(const std::byte* tail) { return tail; }
  // 0 where it is not kept.
  uint32_t LastStep(const std::byte* tail) const {
    return layout_.last_step ? Load<uint32_t>(tail + last_step_at_) : 0;
  }
  void SetLastStep(std::byte* tail, uint32_t step) const {
    if (layout_.last_step) Store(tail + last_step_at_, step);
  }
  uint32_t Updates(const std::byte* tail) const {
    return layout_.updates ? Load<uint32_t>(tail + updates_at_) : 0;
  }
  void SetUpdates(std::byte* tail, uint32_t updates) const {
    if (layout_.updates) Store(tail + updates_at_, updates);
  }
  std::byte* Extra(std::byte* tail) const { return tail + extra_at_; }
  const std::byte* Extra(const std::byte* tail) const { return tail + extra_at_; }
  std::byte* Popularity(std::byte* tail) const { return tail + popularity_at_; }
  const std::byte* Popularity(const std::byte* tail) const { return tail + popularity_at_; }

 private:
  static constexpr uint32_t kLine = 64;
  static constexpr uint32_t kShortState = 4;  // floats that are cheaper copied than padded
  static constexpr uint32_t kWideRow = 2048;  // bytes

  static constexpr uint32_t RoundUp(uint32_t n, uint32_t unit) {
    return (n + unit - 1) / unit * unit;
  }
  template <class T>
  static T Load(const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof(T));
    return value;
  }
  template <class T>
  static void Store(std::byte* to, T value) {
    std::memcpy(to, &value, sizeof(T));
  }

  RowLayout layout_;
  uint32_t weight_bytes_;
  uint32_t stride_;
  uint32_t tail_bytes_ = 0;
  uint32_t last_step_at_ = 0;
  uint32_t updates_at_ = 0;
  uint32_t extra_at_ = 0;
  uint32_t popularity_at_ = 0;
};

// A row where it lies.
struct RowRef {
  std::byte* weights = nullptr;
  std::byte* tail = nullptr;
};

// Rows are short: a copy in blocks of a size that the compiler knows needs no call.
inline void CopyFloats(const float* __restrict from, size_t n, float* __restrict to) {
  constexpr size_t kBlock = 16;
  size_t i = 0;
  for (; i + kBlock <= n; i += kBlock) std::memcpy(to + i, from + i, kBlock * sizeof(float));
  for (; i < n; ++i) to[i] = from[i];
}

}  // namespace emporium::ps
