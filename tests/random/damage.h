// Seeded damage to bytes, for tests of what reads a peer's or a user's. Belongs to one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>

namespace emporium::testing {

class Damage {
 public:
  explicit Damage(uint64_t seed) : random_(seed) {}

  uint64_t Below(uint64_t end) { return random_() % end; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }

  // A number as faulty programs and hostile peers write them: small, at the edge of a type, any.
  uint64_t Number() {
    constexpr uint64_t kEdges[] = {0,          1,          2,          255,         256,
                                   4096,       4097,       65535,      1u << 22,    (1u << 22) + 1,
                                   0x7fffffff, 0x80000000, 0xffffffff, 0x3f800000,  0x7f7fffff,
                                   0x7f800000, 0x7fc00000, 0xff800000, ~uint64_t{0}};
    constexpr size_t kCount = sizeof(kEdges) / sizeof(kEdges[0]);
    return OneIn(4) ? random_() : kEdges[Below(kCount)];
  }
  // As Number, for floats.
  float Float() {
    const auto bits = static_cast<uint32_t>(Number());
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }

  // One to four edits of a contiguous container of bytes, whose length may change.
  template <class Buffer>
  void Edit(Buffer* bytes) {
    for (uint64_t edits = 1 + Below(4); edits > 0 && !bytes->empty(); --edits) EditOnce(bytes);
  }

 private:
  template <class Buffer>
  void EditOnce(Buffer* bytes) {
    using Byte = typename Buffer::value_type;
    const size_t size = bytes->size();
    const size_t at = Below(size);
    switch (Below(8)) {
      case 0:
        (*bytes)[at] = static_cast<Byte>(random_());
        return;
      case 1:
        (*bytes)[at] = static_cast<Byte>(static_cast<unsigned>((*bytes)[at]) ^ (1u << Below(8)));
        return;
      case 2:
      case 3:
      case 4: {  // a field of 2, 4 or 8 bytes in its place
        const size_t width = size_t{2} << Below(3);
        const uint64_t number = Number();
        const size_t begin = at / width * width;
        if (begin + width <= size) std::memcpy(bytes->data() + begin, &number, width);
        return;
      }
      case 5:  // bytes of elsewhere
        std::memmove(bytes->data() + at, bytes->data() + Below(at + 1), Below(size - at + 1));
        return;
      case 6:  // a hole, or the end cut off
        bytes->erase(bytes->begin() + static_cast<ptrdiff_t>(at),
                     OneIn(2) ? bytes->end()
                              : bytes->begin() + static_cast<ptrdiff_t>(at + Below(size - at + 1)));
        return;
      default:
        bytes->insert(bytes->begin() + static_cast<ptrdiff_t>(at), 1 + Below(64),
                      static_cast<Byte>(random_()));
    }
  }

  std::mt19937_64 random_;
};

}  // namespace emporium::testing
