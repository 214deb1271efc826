// Bytes of a text file as a stream: plain, gzip (.gz, also of several members) or zstd (.zst),
// unpacked while they are read. Memory is a few buffers, whatever the file's size.
//
// A ByteSource belongs to one thread.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "proto/status.h"

namespace emporium::worker {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Fills the front of `out` and returns how many bytes; 0 only at the end. DataLoss when the file
  // ends in the middle of compressed data or is not what its name says.
  virtual Result<size_t> Read(std::span<char> out) = 0;
};

// The way of unpacking follows from the name's ending. NotFound when there is no such file.
Result<std::unique_ptr<ByteSource>> OpenByteSource(const std::string& path);

// `path` without .gz or .zst.
std::string WithoutCompressionSuffix(const std::string& path);

}  // namespace emporium::worker
