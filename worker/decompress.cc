#include "worker/decompress.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

namespace emporium::worker {
namespace {

constexpr size_t kInputBytes = 256 << 10;
constexpr int kGzipWindow = 15 + 16;  // zlib: largest window, gzip header and trailer

bool EndsWith(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

class PlainSource final : public ByteSource {
 public:
  PlainSource(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~PlainSource() override { ::close(fd_); }
  PlainSource(const PlainSource&) = delete;
  PlainSource& operator=(const PlainSource&) = delete;

  Result<size_t> Read(std::span<char> out) override {
    for (;;) {
      const ssize_t n = ::read(fd_, out.data(), out.size());
      if (n >= 0) {
        return static_cast<size_t>(n);
      }
      if (errno != EINTR) {
        return DataLoss(path_ + ": cannot be read: " + std::strerror(errno));
      }
    }
  }

 private:
  const int fd_;
  const std::string path_;
};

// What both unpackers share: packed bytes that wait, and whether the file is over.
class PackedInput {
 public:
  explicit PackedInput(std::unique_ptr<ByteSource> file)
      : file_(std::move(file)), buffer_(kInputBytes) {}

  Status Refill() {
    if (begin_ < end_ || ended_) {
      return Status::Ok();
    }
    EMPORIUM_ASSIGN_OR_RETURN(const size_t n, file_->Read(buffer_));
    begin_ = 0;
    end_ = n;
    ended_ = n == 0;
    return Status::Ok();
  }
  std::span<char> waiting() { return {buffer_.data() + begin_, end_ - begin_}; }
  void Consume(size_t n) { begin_ += n; }
  bool ended() const { return ended_; }

 private:
  std::unique_ptr<ByteSource> file_;
  std::vector<char> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  bool ended_ = false;
};

class GzipSource final : public ByteSource {
 public:
  GzipSource(std::unique_ptr<ByteSource> file, std::string path)
      : input_(std::move(file)), path_(std::move(path)) {
    EMPORIUM_CHECK(inflateInit2(&stream_, kGzipWindow) == Z_OK, "zlib starts");
  }
  ~GzipSource() override { inflateEnd(&stream_); }
  GzipSource(const GzipSource&) = delete;
  GzipSource& operator=(const GzipSource&) = delete;

  Result<size_t> Read(std::span<char> out) override {
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    while (stream_.avail_out == out.size()) {
      EMPORIUM_RETURN_IF_ERROR(input_.Refill());
      if (input_.ended()) {
        if (inside_member_) {
          return DataLoss(path_ + ": the gzip file ends too early; it was cut off, fetch it again");
        }
        return size_t{0};
      }
      std::span<char> packed = input_.waiting();
      stream_.next_in = reinterpret_cast<Bytef*>(packed.data());
      stream_.avail_in = static_cast<uInt>(packed.size());
      inside_member_ = true;
      const int code = inflate(&stream_, Z_NO_FLUSH);
      input_.Consume(packed.size() - stream_.avail_in);
      if (code == Z_STREAM_END) {
        inside_member_ = false;
        inflateReset(&stream_);
      } else if (code != Z_OK) {
        return DataLoss(path_ + ": not a sound gzip file: " +
                        (stream_.msg != nullptr ? stream_.msg : "damaged data"));
      }
    }
    return out.size() - stream_.avail_out;
  }

 private:
  PackedInput input_;
  const std::string path_;
  z_stream stream_{};
  bool inside_member_ = true;  // an empty file is a truncated one
};

class ZstdSource final : public ByteSource {
 public:
  ZstdSource(std::unique_ptr<ByteSource> file, std::string path)
      : input_(std::move(file)), path_(std::move(path)), stream_(ZSTD_createDStream()) {
    EMPORIUM_CHECK(stream_ != nullptr, "zstd starts");
  }
  ~ZstdSource() override { ZSTD_freeDStream(stream_); }
  ZstdSource(const ZstdSource&) = delete;
  ZstdSource& operator=(const ZstdSource&) = delete;

  Result<size_t> Read(std::span<char> out) override {
    ZSTD_outBuffer unpacked{out.data(), out.size(), 0};
    while (unpacked.pos == 0) {
      EMPORIUM_RETURN_IF_ERROR(input_.Refill());
      if (input_.ended() && inside_frame_) {
        // What the decoder still holds comes out first; only then is the file known to be short.
        ZSTD_inBuffer nothing{nullptr, 0, 0};
        const size_t rest = ZSTD_decompressStream(stream_, &unpacked, &nothing);
        inside_frame_ = rest != 0;
        if (unpacked.pos == 0 && inside_frame_) {
          return DataLoss(path_ + ": the zstd file ends too early; it was cut off, fetch it again");
        }
        return unpacked.pos;
      }
      if (input_.ended()) {
        return size_t{0};
      }
      std::span<char> packed = input_.waiting();
      ZSTD_inBuffer in{packed.data(), packed.size(), 0};
      const size_t rest = ZSTD_decompressStream(stream_, &unpacked, &in);
      if (ZSTD_isError(rest) != 0) {
        return DataLoss(path_ + ": not a sound zstd file: " + ZSTD_getErrorName(rest));
      }
      inside_frame_ = rest != 0;
      input_.Consume(in.pos);
    }
    return unpacked.pos;
  }

 private:
  PackedInput input_;
  const std::string path_;
  ZSTD_DStream* const stream_;
  bool inside_frame_ = true;
};

}  // namespace

Result<std::unique_ptr<ByteSource>> OpenByteSource(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return NotFound(path + ": cannot be opened: " + std::strerror(errno));
  }
  auto plain = std::make_unique<PlainSource>(fd, path);
  struct stat info {};
  if (::fstat(fd, &info) == 0 && S_ISDIR(info.st_mode)) {
    return InvalidArgument(path + ": is a directory, not a text file; name the files in it");
  }
  if (EndsWith(path, ".gz")) {
    return std::unique_ptr<ByteSource>(std::make_unique<GzipSource>(std::move(plain), path));
  }
  if (EndsWith(path, ".zst")) {
    return std::unique_ptr<ByteSource>(std::make_unique<ZstdSource>(std::move(plain), path));
  }
  return std::unique_ptr<ByteSource>(std::move(plain));
}

std::string WithoutCompressionSuffix(const std::string& path) {
  for (const std::string_view suffix : {".gz", ".zst"}) {
    if (EndsWith(path, suffix)) {
      return path.substr(0, path.size() - suffix.size());
    }
  }
  return path;
}

}  // namespace emporium::worker
