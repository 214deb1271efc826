// The result of one chunk of an export: vectors of a range of items, or of some users. This is the
// only codec. Values; any thread. Grammar (worker/blob.h):
//
//   blob := magic u32 | version u32 | kind u32 | width u32 | count u32 | number i32 x count
//         | value f32 x (count * width)
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proto/status.h"

namespace emporium::worker {

enum class VectorKind : uint32_t { kItems = 1, kUsers = 2 };

struct VectorChunk {
  VectorKind kind = VectorKind::kItems;
  int32_t width = 0;
  std::vector<int32_t> numbers;  // of items or users, ascending
  std::vector<float> values;     // row-major, finite
};

std::string Encode(const VectorChunk& chunk);
// DataLoss when the bytes are not such a chunk of this kind and width.
Result<VectorChunk> DecodeVectors(std::string_view bytes, VectorKind kind, int32_t width);

}  // namespace emporium::worker
