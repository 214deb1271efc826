// Records of a comma- or tab-separated text, one at a time.
//
//   file    := [BOM] record*
//   record  := field (separator field)* ("\n" | "\r\n" | end)
//   field   := bytes without separator, newline and quote | quoted          (comma separated)
//            | bytes without tab and newline                                (tab separated)
//   quoted  := '"' (any byte but '"' | '""')* '"'                           (RFC 4180)
//
// A record that breaks the grammar, or is longer than kMaxRecordBytes (a quote that is never
// closed swallows the rest of a file), is reported as malformed, and reading goes on at the next
// line after the record's first. Lines with nothing in them are skipped.
//
// Belongs to one thread. The views of a record are valid until the next call.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proto/status.h"
#include "worker/decompress.h"

namespace emporium::worker {

inline constexpr size_t kMaxRecordBytes = 1 << 20;

struct CsvRecord {
  int64_t line = 0;             // of the record's first byte, from 1
  const char* error = nullptr;  // why it is malformed; null: it is sound
  std::vector<std::string_view> fields;
};

class CsvReader {
 public:
  CsvReader(std::unique_ptr<ByteSource> source, char separator);

  // False at the end of the file.
  Result<bool> Next(CsvRecord* record);
  // Bytes of text that have been taken so far.
  int64_t bytes() const { return bytes_; }

 private:
  enum class Scan : uint8_t { kDone, kMore, kMalformed };

  // Makes more bytes readable behind the current record; false when there are none.
  Result<bool> Fill();
  Result<bool> FindLineEnd(size_t from, size_t* end);
  void SplitPlain(std::string_view line, CsvRecord* record) const;
  // Take one field of a record with quotes, starting at `position`, which then is behind it.
  Scan TakeQuotedField(size_t* position, int64_t* lines, const char** error);
  Scan TakeBareField(size_t* position, const char** error);
  // Splits the quoted record at begin_; on kDone `end` is behind its last byte.
  Scan SplitQuoted(CsvRecord* record, size_t* end, int64_t* lines, const char** error);
  Result<bool> NextQuoted(CsvRecord* record, size_t first_line_end);
  void Consume(size_t end, int64_t lines);

  std::unique_ptr<ByteSource> source_;
  const char separator_;
  std::vector<char> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  bool ended_ = false;
  bool started_ = false;
  int64_t line_ = 1;
  int64_t bytes_ = 0;
  std::string unquoted_;  // fields that held "", rewritten
  struct Span {
    size_t begin;
    size_t end;
    bool rewritten;
  };
  std::vector<Span> spans_;
};

}  // namespace emporium::worker
