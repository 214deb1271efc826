// The checksum that HDF5's filter of that name puts behind a chunk. HDF5 computes it under its one
// lock, which shards that write side by side would wait for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace emporium::ps {

// Of 16-bit words, most significant byte first; an odd last byte is the upper half of a word.
uint32_t Fletcher32(std::span<const std::byte> bytes);

}  // namespace emporium::ps
