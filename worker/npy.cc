#include "worker/npy.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string_view>

#include "proto/check.h"
#include "runtime/file.h"

namespace emporium::worker {

namespace {

constexpr size_t kHeaderBytes = 128;
constexpr size_t kPreambleBytes = 10;
constexpr std::string_view kMagic("\x93NUMPY\x01\x00", 8);  // version 1.0

std::string Header(int64_t rows, int32_t width) {
  std::string header(kMagic);
  header.push_back(static_cast<char>(kHeaderBytes - kPreambleBytes));
  header.push_back('\0');
  header += "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(rows) + ", " +
            std::to_string(width) + "), }";
  header.resize(kHeaderBytes - 1, ' ');
  header.push_back('\n');
  return header;
}

Status CannotWrite(const std::string& path) {
  const int error = errno;
  const std::string what = path + ": cannot write: " + std::strerror(error);
  if (error == ENOSPC || error == EDQUOT || error == EMFILE) {
    return ResourceExhausted(what + "; free space or name another work_dir");
  }
  return Unavailable(what);
}

}  // namespace

Result<NpyWriter> NpyWriter::Create(const std::string& path, int32_t width) {
  EMPORIUM_CHECK(width > 0, "a matrix has columns");
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return CannotWrite(path);
  NpyWriter writer(path, width, file);
  const std::string header = Header(0, width);
  if (std::fwrite(header.data(), 1, header.size(), file) != header.size()) return CannotWrite(path);
  return writer;
}

Status NpyWriter::Append(std::span<const float> rows) {
  EMPORIUM_CHECK(rows.size() % width_ == 0, "whole rows are written");
  if (rows.empty()) return Status::Ok();
  if (std::fwrite(rows.data(), sizeof(float), rows.size(), file_.get()) != rows.size()) {
    return CannotWrite(path_);
  }
  rows_ += static_cast<int64_t>(rows.size()) / width_;
  return Status::Ok();
}

Status NpyWriter::Finish() {
  const std::string header = Header(rows_, width_);
  if (std::fseek(file_.get(), 0, SEEK_SET) != 0 ||
      std::fwrite(header.data(), 1, header.size(), file_.get()) != header.size() ||
      std::fflush(file_.get()) != 0) {
    return CannotWrite(path_);
  }
  file_.reset();
  return runtime::FsyncFile(path_);
}

Result<NpyReader> NpyReader::Open(const std::string& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) return NotFound(path + ": cannot open");
  const auto bytes = static_cast<int64_t>(in.tellg());
  in.seekg(0);
  std::string preamble(kPreambleBytes, '\0');
  in.read(preamble.data(), kPreambleBytes);
  if (!in || preamble.compare(0, kMagic.size(), kMagic) != 0) {
    return DataLoss(path + ": not a NumPy file of format 1.0");
  }
  const size_t length =
      static_cast<unsigned char>(preamble[8]) + 256u * static_cast<unsigned char>(preamble[9]);
  std::string text(length, '\0');
  in.read(text.data(), static_cast<std::streamsize>(length));
  long long rows = 0;
  int width = 0;
  int parsed = 0;  // characters up to the closing brace, if all of it is there
  if (in) {
    std::sscanf(text.c_str(),
                "{'descr': '<f4', 'fortran_order': False, 'shape': (%15lld, %9d), }%n", &rows,
                &width, &parsed);
  }
  if (parsed == 0 || rows < 0 || width <= 0) {
    return DataLoss(path + ": not a two-dimensional matrix of float32");
  }
  NpyReader reader;
  reader.path_ = path;
  reader.rows_ = rows;
  reader.width_ = width;
  reader.data_at_ = static_cast<int64_t>(kPreambleBytes + length);
  if ((bytes - reader.data_at_) / (4 * static_cast<int64_t>(reader.width_)) != reader.rows_ ||
      (bytes - reader.data_at_) % (4 * static_cast<int64_t>(reader.width_)) != 0) {
    return DataLoss(path + ": the file is not as long as its header says");
  }
  return reader;
}

Result<std::vector<float>> NpyReader::Read(int64_t first, int64_t count) const {
  EMPORIUM_CHECK(first >= 0 && count >= 0 && first + count <= rows_, "rows that exist are read");
  std::vector<float> values(static_cast<size_t>(count) * width_);
  std::ifstream in(path_, std::ios::binary);
  in.seekg(data_at_ + first * width_ * static_cast<int64_t>(sizeof(float)));
  in.read(reinterpret_cast<char*>(values.data()),
          static_cast<std::streamsize>(values.size() * sizeof(float)));
  if (!in) return DataLoss(path_ + ": cannot read rows " + std::to_string(first) + " and on");
  return values;
}

}  // namespace emporium::worker
