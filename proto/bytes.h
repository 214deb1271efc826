// A block of bytes whose memory is not cleared when it is made or grown: whoever sizes it writes
// all of it. Messages are such blocks; clearing megabytes that are filled at once costs as much as
// filling them. A value.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace emporium {

// std::allocator, except that an element made without a value is left as the memory was.
template <class T>
struct UnclearedAllocator : std::allocator<T> {
  template <class U>
  struct rebind {
    using other = UnclearedAllocator<U>;
  };
  template <class U>
  void construct(U* at) noexcept {
    ::new (static_cast<void*>(at)) U;
  }
  template <class U, class... Args>
  void construct(U* at, Args&&... args) {
    ::new (static_cast<void*>(at)) U(std::forward<Args>(args)...);
  }
};

template <class T>
using UnclearedVector = std::vector<T, UnclearedAllocator<T>>;
using Bytes = UnclearedVector<std::byte>;

}  // namespace emporium
