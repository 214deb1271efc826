// NumPy's file format, as much of it as an export needs: one matrix of float32, row-major. Written
// row by row without knowing how many there will be; NumPy maps the file as it is (np.load with
// mmap_mode). One thread at a time.
//
//   file   := header(128) value f32 LE x (rows * width)
//   header := 0x93 "NUMPY" 1 0 | 118 u16 | "{'descr': '<f4', 'fortran_order': False, 'shape':
//             (rows, width), }" | spaces | "\n"
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "proto/status.h"

namespace emporium::worker {

class NpyWriter {
 public:
  // Creates or empties the file.
  static Result<NpyWriter> Create(const std::string& path, int32_t width);
  // Whole rows.
  Status Append(std::span<const float> rows);
  // Writes the header and syncs the file. Nothing may follow.
  Status Finish();
  int64_t rows() const { return rows_; }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  NpyWriter(std::string path, int32_t width, std::FILE* file)
      : path_(std::move(path)), width_(width), file_(file) {}

  std::string path_;
  int32_t width_;
  int64_t rows_ = 0;
  std::unique_ptr<std::FILE, Close> file_;
};

// Reads a file that NpyWriter or NumPy (float32, C order, two dimensions, format 1.0) has written.
class NpyReader {
 public:
  // DataLoss when the file is not such a matrix or is shorter or longer than its header says.
  static Result<NpyReader> Open(const std::string& path);
  int64_t rows() const { return rows_; }
  int32_t width() const { return width_; }
  // Rows [first, first + count), which exist.
  Result<std::vector<float>> Read(int64_t first, int64_t count) const;

 private:
  std::string path_;
  int64_t rows_ = 0;
  int32_t width_ = 0;
  int64_t data_at_ = 0;
};

}  // namespace emporium::worker
