#include "ps/fletcher32.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace emporium::ps {
namespace {

// The definition, word by word.
uint32_t Slow(std::span<const std::byte> bytes) {
  uint64_t first = 0;
  uint64_t second = 0;
  const auto fold = [](uint64_t sum) {
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    return sum;
  };
  for (size_t i = 0; i < bytes.size(); i += 2) {
    const auto high = std::to_integer<uint64_t>(bytes[i]);
    const auto low = i + 1 < bytes.size() ? std::to_integer<uint64_t>(bytes[i + 1]) : 0;
    first = fold(first + (high << 8 | low));
    second = fold(second + first);
  }
  return static_cast<uint32_t>(second << 16 | first);
}

TEST(Fletcher32Test, IsTheDefinitionForEveryLengthAndContent) {
  std::mt19937_64 random(7);
  std::vector<std::byte> bytes(40'000);
  for (const int kind : {0, 1, 2, 3}) {
    for (std::byte& byte : bytes) {
      byte = kind == 0   ? std::byte{0}
             : kind == 1 ? std::byte{0xff}
                         : static_cast<std::byte>(random() % (kind == 2 ? 256 : 2));
    }
    for (size_t n = 0; n < 200; ++n) {
      EXPECT_EQ(Fletcher32(std::span(bytes).subspan(n, n)), Slow(std::span(bytes).subspan(n, n)));
    }
    for (int i = 0; i < 100; ++i) {
      const auto part = std::span(bytes).subspan(random() % 100, 8'000 + random() % 31'000);
      EXPECT_EQ(Fletcher32(part), Slow(part));
    }
  }
}

// By hand. That HDF5 says the same shows wherever a checkpoint is read.
TEST(Fletcher32Test, WorkedExamples) {
  const char text[] = "abcd";
  const auto sum = [&](size_t n) { return Fletcher32(std::as_bytes(std::span(text, n))); };
  EXPECT_EQ(sum(1), 0x61006100u);
  EXPECT_EQ(sum(2), 0x61626162u);
  EXPECT_EQ(sum(4), 0x2629c4c6u);
}

}  // namespace
}  // namespace emporium::ps
