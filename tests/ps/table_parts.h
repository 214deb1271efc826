// What the tests of a table's parts share. Values only.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <vector>

#include "proto/ids.h"

namespace emporium::ps {

inline std::vector<PartitionId> Range(uint32_t begin, uint32_t end) {
  std::vector<PartitionId> partitions;
  for (uint32_t p = begin; p < end; ++p) partitions.emplace_back(static_cast<uint16_t>(p));
  return partitions;
}

// What this process has of the machine's memory.
inline uint64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t pages = 0;
  statm >> pages >> pages;
  return pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace emporium::ps
