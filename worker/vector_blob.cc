#include "worker/vector_blob.h"

#include <algorithm>
#include <cmath>

#include "worker/blob.h"

namespace emporium::worker {

namespace {

constexpr uint32_t kMagic = 0x31584d45;  // "EMX1"
constexpr uint32_t kVersion = 1;

}  // namespace

std::string Encode(const VectorChunk& chunk) {
  BlobWriter out;
  out.Put(kMagic);
  out.Put(kVersion);
  out.Put(static_cast<uint32_t>(chunk.kind));
  out.Put(static_cast<uint32_t>(chunk.width));
  out.Put(static_cast<uint32_t>(chunk.numbers.size()));
  out.PutAll(std::span<const int32_t>(chunk.numbers));
  out.PutAll(std::span<const float>(chunk.values));
  return out.Take();
}

Result<VectorChunk> DecodeVectors(std::string_view bytes, VectorKind kind, int32_t width) {
  BlobReader in(bytes);
  VectorChunk chunk;
  chunk.kind = kind;
  chunk.width = width;
  const bool expected = in.Get<uint32_t>() == kMagic && in.Get<uint32_t>() == kVersion &&
                        in.Get<uint32_t>() == static_cast<uint32_t>(kind) &&
                        in.Get<uint32_t>() == static_cast<uint32_t>(width);
  if (!expected) {
    return DataLoss(
        "result of an export chunk: of another kind, width or version; the workers may run "
        "different versions of Emporium");
  }
  const auto count = in.Get<uint32_t>();
  chunk.numbers = in.GetAll<int32_t>(count);
  chunk.values = in.GetAll<float>(static_cast<uint64_t>(count) * static_cast<uint64_t>(width));
  if (!in.done()) return DataLoss("result of an export chunk: cut short or with bytes left over");
  const auto out_of_order = [](int32_t a, int32_t b) { return a >= b; };
  if (std::adjacent_find(chunk.numbers.begin(), chunk.numbers.end(), out_of_order) !=
      chunk.numbers.end()) {
    return DataLoss("result of an export chunk: its rows are not in order");
  }
  for (const float value : chunk.values) {
    if (!std::isfinite(value)) {
      return DataLoss("result of an export chunk: a vector has a number that is not finite");
    }
  }
  return chunk;
}

}  // namespace emporium::worker
