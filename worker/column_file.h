// Emporium's own column file: named arrays of one element type each, checksummed, made to be mapped
// into memory and used where they lie. Written whole, under a name that nobody reads yet.
//
//   file      := head | directory | zeros | array*               (little endian)
//   head      := magic "EMPCOLS1" | version u32 = 1 | arrays u32 | rows u64 | file_bytes u64
//              | directory_bytes u64 | directory_hash u64 | reserved u64 | head_hash u64
//   directory := entry*                                          (hash: XXH3 of its bytes)
//   entry     := name_bytes u16 | element u8 | zero u8 | reserved u32 | count u64 | offset u64
//              | blocks u64 | block_hash u64 x blocks | name | zeros to 8
//   array     := elements, at `offset` (a multiple of 64), zeros to 64
//
// A block is kColumnBlockBytes of an array (the last one less); block_hash is XXH3 of its bytes.
// head_hash is XXH3 of the 56 bytes before it. `rows` is for the reader to know without looking.
//
// Names of a table's arrays (worker/dataset_writer.h makes them): "c:NAME:codes" i32 (-1: none),
// "c:NAME:dict" u8 and "c:NAME:dict_offset" i64 [texts + 1] for dictionary columns (TEXT: of the
// whole texts); "c:NAME:ints" i64; "c:NAME:floats" f32; "c:NAME:doubles" f64 for a FLOAT time
// column; "c:NAME:words" i32, "c:NAME:word_offset" i64 [rows + 1], "c:NAME:word_dict" u8 and
// "c:NAME:word_dict_offset" i64 for TEXT.
//
// A ColumnFile is immutable and safe from any thread; a writer belongs to one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "proto/status.h"

namespace emporium::worker {

inline constexpr size_t kColumnBlockBytes = 1 << 20;
inline constexpr std::string_view kColumnMagic = "EMPCOLS1";

enum class Element : uint8_t { kU8 = 0, kI32 = 1, kI64 = 2, kF32 = 3, kF64 = 4 };

template <class T>
constexpr Element ElementOf() {
  if constexpr (std::is_same_v<T, char>) {
    return Element::kU8;
  } else if constexpr (std::is_same_v<T, int32_t>) {
    return Element::kI32;
  } else if constexpr (std::is_same_v<T, int64_t>) {
    return Element::kI64;
  } else if constexpr (std::is_same_v<T, float>) {
    return Element::kF32;
  } else {
    static_assert(std::is_same_v<T, double>, "not an element of a column file");
    return Element::kF64;
  }
}
size_t ElementBytes(Element element);

// What a writer is told before it begins: sizes are known, so that the whole file is reserved on
// disk (a full disk is an error here, not later) and every array can be filled at once.
struct ArraySpec {
  std::string name;
  Element element = Element::kU8;
  uint64_t count = 0;
};

class ColumnFileWriter {
 public:
  static Result<std::unique_ptr<ColumnFileWriter>> Create(const std::string& path, uint64_t rows,
                                                          std::vector<ArraySpec> arrays);
  ~ColumnFileWriter();
  ColumnFileWriter(const ColumnFileWriter&) = delete;
  ColumnFileWriter& operator=(const ColumnFileWriter&) = delete;

  // The array's place in the file, zeros at first. The name must be one of Create's.
  template <class T>
  std::span<T> Array(const std::string& name) {
    return {reinterpret_cast<T*>(Find(name, ElementOf<T>())), Count(name)};
  }
  // Checksums, directory, head, fsync.
  Status Finish();

 private:
  struct Placed;
  ColumnFileWriter() = default;
  std::byte* Find(const std::string& name, Element element);
  uint64_t Count(const std::string& name) const;
  std::vector<std::byte> Directory() const;

  std::string path_;
  int fd_ = -1;
  std::byte* map_ = nullptr;
  uint64_t bytes_ = 0;
  uint64_t rows_ = 0;
  uint64_t directory_bytes_ = 0;
  std::vector<ArraySpec> arrays_;
  std::vector<uint64_t> offsets_;
  std::map<std::string, size_t> by_name_;
};

class ColumnFile {
 public:
  // Checks every checksum. DataLoss names the file and the array.
  static Result<std::unique_ptr<ColumnFile>> Open(const std::string& path);
  // Whether the file begins with the magic of a column file.
  static bool Recognise(const std::string& path);
  ~ColumnFile();
  ColumnFile(const ColumnFile&) = delete;
  ColumnFile& operator=(const ColumnFile&) = delete;

  uint64_t rows() const { return rows_; }
  uint64_t bytes() const { return bytes_; }
  bool Has(const std::string& name) const { return arrays_.count(name) != 0; }
  std::vector<std::string> names() const;
  // NotFound when there is no such array, DataLoss when it has other elements.
  template <class T>
  Result<std::span<const T>> Array(const std::string& name) const {
    EMPORIUM_ASSIGN_OR_RETURN(const Entry entry, Find(name, ElementOf<T>()));
    return std::span<const T>(reinterpret_cast<const T*>(map_ + entry.offset), entry.count);
  }

 private:
  struct Entry {
    Element element = Element::kU8;
    uint64_t offset = 0;
    uint64_t count = 0;
  };
  ColumnFile() = default;
  Result<Entry> Find(const std::string& name, Element element) const;
  Status Parse();
  Status ParseEntry(std::span<const std::byte> directory, size_t* at);

  std::string path_;
  const std::byte* map_ = nullptr;
  uint64_t bytes_ = 0;
  uint64_t rows_ = 0;
  std::map<std::string, Entry> arrays_;
};

// Texts one after another: text i is bytes [offset[i], offset[i + 1]).
struct DictionaryView {
  std::span<const int64_t> offset;
  std::span<const char> bytes;

  int32_t size() const { return offset.empty() ? 0 : static_cast<int32_t>(offset.size()) - 1; }
  std::string_view text(int32_t code) const {
    const auto c = static_cast<size_t>(code);
    return {bytes.data() + offset[c], static_cast<size_t>(offset[c + 1] - offset[c])};
  }
};
// Of the arrays `prefix` and `prefix`_offset; DataLoss when offsets do not fit the bytes.
Result<DictionaryView> ReadDictionary(const ColumnFile& file, const std::string& prefix);

}  // namespace emporium::worker
