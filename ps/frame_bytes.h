// The bytes of a frame together with their owner: what the transport received, or a buffer of our
// own (simulation, tests). Moving it leaves the bytes where they lie, so views into them stay
// valid: that is how gradients are staged without being copied. Belongs to one thread at a time.
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/transport.h"

namespace emporium::ps {

class FrameBytes {
 public:
  explicit FrameBytes(Bytes bytes) : owner_(std::move(bytes)) {}
  explicit FrameBytes(runtime::Message message) : owner_(std::move(message)) {}

  std::span<const std::byte> bytes() const {
    if (const auto* buffer = std::get_if<Bytes>(&owner_)) return *buffer;
    return std::get<runtime::Message>(owner_).bytes();
  }

 private:
  std::variant<Bytes, runtime::Message> owner_;
};

}  // namespace emporium::ps
