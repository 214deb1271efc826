#include "ps/row_pass.h"

namespace emporium::ps {
namespace {

// With a width that the compiler knows a copy is a few moves.
template <size_t kBytes>
bool CopyFixed(const Slabs& slabs, std::span<const Slot> slots, std::byte* to) {
  return ForRows<false, kBytes>(slabs, slots, [to](size_t i, const Slabs::ConstRowRef& row) {
    CopyRowBytes(row.weights, kBytes, to + i * kBytes);  // memcpy of 256 bytes is a slow `rep movs`
  });
}

}  // namespace

bool CopyWeights(const Slabs& slabs, std::span<const Slot> slots, std::byte* to) {
  const size_t bytes = slabs.shape().weight_bytes();
  switch (bytes) {
    case 32:
      return CopyFixed<32>(slabs, slots, to);
    case 64:
      return CopyFixed<64>(slabs, slots, to);
    case 128:
      return CopyFixed<128>(slabs, slots, to);
    case 256:
      return CopyFixed<256>(slabs, slots, to);
    case 512:
      return CopyFixed<512>(slabs, slots, to);
    default:
      return ForRows<false, 0>(slabs, slots, [to, bytes](size_t i, const Slabs::ConstRowRef& row) {
        CopyRowBytes(row.weights, bytes, to + i * bytes);
      });
  }
}

}  // namespace emporium::ps
