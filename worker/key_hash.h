// How a feature's value becomes the 64-bit key of a row. Part of a checkpoint's meaning: never
// change it.
//
//   HASH      key = XXH3_64bits of the value's text (an integer's decimal text), seed = salt
//   IDENTITY  key = the integer's 64 bits
#pragma once

#include <xxhash.h>

#include <charconv>
#include <cstdint>
#include <string_view>

namespace emporium::worker {

inline uint64_t KeyOfText(std::string_view text, uint64_t salt) {
  return XXH3_64bits_withSeed(text.data(), text.size(), salt);
}

inline uint64_t KeyOfInteger(int64_t value, uint64_t salt) {
  char text[24];
  const char* end = std::to_chars(text, text + sizeof text, value).ptr;
  return XXH3_64bits_withSeed(text, static_cast<size_t>(end - text), salt);
}

}  // namespace emporium::worker
