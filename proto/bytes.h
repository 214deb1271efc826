// A block of bytes whose memory is not cleared when it is made or grown: whoever sizes it writes
// all of it. Messages are such blocks; clearing megabytes that are filled at once costs as much as
// filling them. A value.
#pragma once

#include <cstddef>
#include <new>
#include <utility>
#include <vector>

namespace emporium {

// An element made without a value is left as the memory was. Blocks start on a cache line, so that
// rows of whole lines lie in no more of them than they must.
template <class T>
struct UnclearedAllocator {
  using value_type = T;
  static constexpr auto kAlign = static_cast<std::align_val_t>(64);

  UnclearedAllocator() = default;
  template <class U>
  UnclearedAllocator(const UnclearedAllocator<U>&) {}  // NOLINT: allocators convert

  T* allocate(size_t n) {
    static_assert(alignof(T) <= static_cast<size_t>(kAlign));
    return static_cast<T*>(::operator new(n * sizeof(T), kAlign));
  }
  void deallocate(T* at, size_t) { ::operator delete(at, kAlign); }
  template <class U>
  void construct(U* at) noexcept {
    ::new (static_cast<void*>(at)) U;
  }
  template <class U, class... Args>
  void construct(U* at, Args&&... args) {
    ::new (static_cast<void*>(at)) U(std::forward<Args>(args)...);
  }
  friend bool operator==(const UnclearedAllocator&, const UnclearedAllocator&) { return true; }
};

template <class T>
using UnclearedVector = std::vector<T, UnclearedAllocator<T>>;
using Bytes = UnclearedVector<std::byte>;

}  // namespace emporium
