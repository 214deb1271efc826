#include "ps/cut.h"

#include <algorithm>
#include <cstring>

#include "proto/element.h"

namespace emporium::ps {

size_t RecordBytes(const RowShape& shape) {
  return sizeof(uint64_t) + shape.weight_bytes() + shape.tail_bytes();
}

void WriteRecord(const RowShape& shape, uint64_t key, const std::byte* weights,
                 const std::byte* tail, std::byte* to) {
  std::memcpy(to, &key, sizeof(key));
  std::memcpy(to + sizeof(key), weights, shape.weight_bytes());
  std::memcpy(to + sizeof(key) + shape.weight_bytes(), tail, shape.tail_bytes());
}

RowReader::RowReader(const RowLayout& layout)
    : shape_(layout),
      code_(std::max(layout.popularity_bytes, 1u)),
      weights_(layout.dim),
      state_(layout.state) {
  view_.state = state_;
}

const RowView& RowReader::Read(uint64_t key, const std::byte* weights, const std::byte* tail) {
  const RowLayout& layout = shape_.layout();
  view_.key = key;
  view_.raw = {weights, shape_.weight_bytes()};
  view_.weights = weights_;
  Decode(layout.element, weights, layout.dim, weights_.data());
  ReadTail(tail);
  return view_;
}

const RowView& RowReader::ReadRaw(const std::byte* record) {
  const std::byte* const weights = record + sizeof(uint64_t);
  view_.key = KeyOf(record);
  view_.raw = {weights, shape_.weight_bytes()};
  view_.weights = {};
  ReadTail(weights + shape_.weight_bytes());
  return view_;
}

void RowReader::ReadTail(const std::byte* tail) {
  const RowLayout& layout = shape_.layout();
  if (!state_.empty()) {
    std::memcpy(state_.data(), RowShape::State(tail), state_.size() * sizeof(float));
  }
  view_.last_step = shape_.LastStep(tail);
  view_.popularity = layout.popularity_bytes == 0 ? 0 : code_.Decode(shape_.Popularity(tail));
  view_.extra = {shape_.Extra(tail), layout.extra * sizeof(uint32_t)};
  view_.updates = shape_.Updates(tail);
}

uint64_t RowReader::KeyOf(const std::byte* record) {
  uint64_t key = 0;
  std::memcpy(&key, record, sizeof(key));
  return key;
}

}  // namespace emporium::ps
