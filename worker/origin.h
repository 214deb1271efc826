// Where events came from: the file and the line of each, kept beside a prepared data set for those
// who must find a sample again. Not part of the data, nor of its digest: paths differ between
// machines.
//
//   origin.columns := "origin" i64 [events] | "files" u8      (worker/column_file.h)
//   origin         := file << kOriginLineBits | line          (file: index into the list, from 0)
//   files          := (path " line" or path " row", "\n")*    (in the order in which they were
//   read)
//
// A line is that of the record's first byte, from 1; a file that is no text has rows instead. The
// file is read when somebody asks, and only then.
//
// A writer belongs to one thread; OriginText may be called from any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "proto/status.h"
#include "worker/column_file.h"

namespace emporium::worker {

inline constexpr const char* kOriginFile = "origin.columns";

inline constexpr int kOriginLineBits = 40;
inline constexpr int64_t kMaxOriginLine = (int64_t{1} << kOriginLineBits) - 1;
inline constexpr int64_t kMaxOriginFiles = int64_t{1} << (63 - kOriginLineBits);

class OriginWriter {
 public:
  static constexpr size_t kRecordBytes = sizeof(int64_t);

  // What is encoded from now on came from this file. InvalidArgument when there are too many.
  Status AddFile(const std::string& path);
  // In a sort record.
  void Encode(int64_t line, std::byte* at) const;

  // After the last AddFile; then one Write per event in final order, then Finish.
  Status Begin(const std::string& dir, uint64_t events);
  void Write(uint64_t event, const std::byte* at);
  Status Finish() { return writer_->Finish(); }

 private:
  int64_t files_ = 0;
  std::string names_;
  std::unique_ptr<ColumnFileWriter> writer_;
  std::span<int64_t> origins_;
};

// What is told of origins, at most: the rest is counted.
inline constexpr size_t kMaxOriginRanges = 10;
inline constexpr size_t kMaxOriginFilesTold = 3;
inline constexpr size_t kMaxOriginPathBytes = 128;  // of longer ones the end

// The files and lines of events of the data set in `dir`, such as "a.csv lines 3, 17, 20-25; b.csv
// line 4 and 40 more in 3 files". Empty for no events; says why when it is not known.
std::string OriginText(const std::string& dir, std::span<const int64_t> events);

}  // namespace emporium::worker
