// Writing and reading the bytes of a chunk's result. They cross the wire, so a reader checks every
// length before it hands anything out. Little endian, no padding. Values; one thread at a time.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace emporium::worker {

static_assert(std::endian::native == std::endian::little,
              "blobs are written as they lie in memory");

class BlobWriter {
 public:
  template <class T>
  void Put(T value) {
    static_assert(std::is_arithmetic_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  template <class T>
  void PutAll(std::span<const T> values) {
    static_assert(std::is_arithmetic_v<T>);
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  }
  std::string Take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// The first read beyond the end makes ok() false for good; what is read from then on is empty.
class BlobReader {
 public:
  explicit BlobReader(std::string_view bytes) : left_(bytes) {}

  template <class T>
  T Get() {
    T value{};
    const std::string_view raw = Take(1, sizeof(T));
    if (!raw.empty()) std::memcpy(&value, raw.data(), sizeof(T));
    return value;
  }
  template <class T>
  std::vector<T> GetAll(uint64_t count) {
    const std::string_view raw = Take(count, sizeof(T));
    std::vector<T> values(raw.size() / sizeof(T));
    if (!raw.empty()) std::memcpy(values.data(), raw.data(), raw.size());
    return values;
  }
  bool ok() const { return ok_; }
  // Everything was read, and nothing beyond.
  bool done() const { return ok_ && left_.empty(); }

 private:
  std::string_view Take(uint64_t count, size_t size) {
    if (!ok_ || count > left_.size() / size) {
      ok_ = false;
      return {};
    }
    const std::string_view raw = left_.substr(0, count * size);
    left_.remove_prefix(raw.size());
    return raw;
  }

  std::string_view left_;
  bool ok_ = true;
};

}  // namespace emporium::worker
