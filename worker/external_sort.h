// Sorts any number of fixed-size records by (range, time), stable by the order in which they were
// added, in bounded memory: full runs are sorted and spilled to one temporary file, and merged when
// they are drained. What fits into one run never touches the disk.
//
// One thread at a time. The temporary file has no name, so nothing is left behind by a crash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "proto/status.h"

namespace emporium::worker {

struct SortKey {
  int32_t range = 0;
  double time = 0;

  friend bool operator<(const SortKey& a, const SortKey& b) {
    return a.range != b.range ? a.range < b.range : a.time < b.time;
  }
};

class ExternalSorter {
 public:
  // `run_bytes` bounds the records in memory (at least one record is kept).
  ExternalSorter(size_t record_bytes, size_t run_bytes, std::string temp_dir);
  ~ExternalSorter();
  ExternalSorter(const ExternalSorter&) = delete;
  ExternalSorter& operator=(const ExternalSorter&) = delete;

  Status Add(const SortKey& key, std::span<const std::byte> record);
  int64_t records() const { return records_; }
  size_t spilled_runs() const { return runs_.size(); }
  // Gives every record in order. Once, after the last Add.
  Status Drain(const std::function<Status(const SortKey&, std::span<const std::byte>)>& take);

 private:
  struct Run {
    uint64_t offset = 0;
    uint64_t records = 0;
  };
  class RunReader;

  std::vector<uint32_t> SortedOrder() const;
  Status Spill();
  Status WriteAll(std::span<const std::byte> bytes);

  const size_t record_bytes_;
  const size_t run_records_;
  const std::string temp_dir_;
  int64_t records_ = 0;
  std::vector<SortKey> keys_;      // of the run in memory
  std::vector<std::byte> buffer_;  // its records
  bool in_order_ = true;           // it came sorted
  int fd_ = -1;
  uint64_t file_bytes_ = 0;
  std::vector<Run> runs_;
};

}  // namespace emporium::worker
