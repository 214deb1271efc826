#include "runtime/file.h"

#include <fcntl.h>
#include <glob.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

#include "proto/planted_bug.h"
#include "runtime/failpoint.h"
#include "runtime/xxh3.h"

namespace emporium::runtime {
namespace {

Status SystemError(const std::string& what, const std::string& path, int error) {
  std::string message = path + ": cannot " + what + ": " + std::strerror(error);
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return ResourceExhausted(message + "; make room there, or choose another directory");
    case EMFILE:
    case ENFILE:
      return ResourceExhausted(message + "; raise the limit of open files (ulimit -n)");
    case ENOENT:
    case ENOTDIR:
      return NotFound(message);
    default:
      return Unavailable(message);
  }
}

// A file descriptor that is closed when it goes out of scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  // Closes now; 0 or the error, since a full disk may be reported only here.
  int Close() {
    const int fd = fd_;
    fd_ = -1;
    return ::close(fd) == 0 ? 0 : errno;
  }

 private:
  int fd_;
};

Status SyncPath(const std::string& path, int flags) {
  Descriptor file(::open(path.c_str(), flags | O_CLOEXEC));
  if (file.get() < 0) return SystemError("open", path, errno);
  if (::fsync(file.get()) != 0) return SystemError("sync", path, errno);
  return Status::Ok();
}

Status WriteAndSync(const std::string& path, std::string_view bytes) {
  Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (file.get() < 0) return SystemError("create", path, errno);
  while (!bytes.empty()) {
    const ssize_t written = ::write(file.get(), bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return SystemError("write", path, errno);
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  if (::fsync(file.get()) != 0) return SystemError("sync", path, errno);
  if (const int error = file.Close(); error != 0) return SystemError("close", path, error);
  return Status::Ok();
}

std::string DirectoryOf(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

std::string Hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * bytes.size());
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    hex.push_back(kDigits[byte >> 4]);
    hex.push_back(kDigits[byte & 15]);
  }
  return hex;
}

// SHA-256 of bytes that come in pieces.
class Sha256Hasher {
 public:
  Sha256Hasher() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    EMPORIUM_CHECK(
        context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1,
        "OpenSSL has SHA-256");
  }
  void Add(const void* bytes, size_t size) {
    EMPORIUM_CHECK(EVP_DigestUpdate(context_.get(), bytes, size) == 1, "SHA-256 takes any bytes");
  }
  // 32 bytes.
  std::string Finish() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned int size = 0;
    EMPORIUM_CHECK(EVP_DigestFinal_ex(context_.get(), digest.data(), &size) == 1,
                   "SHA-256 ends once");
    return std::string(reinterpret_cast<const char*>(digest.data()), size);
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

// Calls `take(bytes, size)` for each piece of the file.
template <class Take>
Status ReadPieces(const std::string& path, const Take& take) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return SystemError("open", path, errno);
  std::vector<char> piece(size_t{1} << 18);
  while (true) {
    const ssize_t size = ::read(file.get(), piece.data(), piece.size());
    if (size == 0) return Status::Ok();
    if (size < 0) {
      if (errno == EINTR) continue;
      return SystemError("read", path, errno);
    }
    take(piece.data(), static_cast<size_t>(size));
  }
}

template <class Hasher>
Result<std::string> DigestOfFile(const std::string& path) {
  Hasher hasher;
  EMPORIUM_RETURN_IF_ERROR(
      ReadPieces(path, [&hasher](const char* bytes, size_t size) { hasher.Add(bytes, size); }));
  return Hex(hasher.Finish());
}

}  // namespace

Status WriteFileDurably(const std::string& path, std::string_view bytes) {
  std::string temporary = path + ".tmp." + std::to_string(::getpid());
  if (Planted(PlantedBug::kNamesUnwritten)) temporary = path;
  Status status = WriteAndSync(temporary, bytes);
  EMPORIUM_FAILPOINT("any.file_written");
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) {
    status = SystemError("rename " + temporary + " to it", path, errno);
  }
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  EMPORIUM_FAILPOINT("any.file_renamed");
  return FsyncDir(DirectoryOf(path));
}

Status FsyncFile(const std::string& path) { return SyncPath(path, O_RDONLY); }

Status FsyncDir(const std::string& path) {
  if (Planted(PlantedBug::kSkipsNameSync)) return Status::Ok();
  return SyncPath(path, O_RDONLY | O_DIRECTORY);
}

Status RenameDurably(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    return SystemError("rename to " + to, from, errno);
  }
  return FsyncDir(DirectoryOf(to));
}

Status LinkFile(const std::string& from, const std::string& to) {
  if (::link(from.c_str(), to.c_str()) == 0) return Status::Ok();
  const bool copies = errno == EPERM || errno == EOPNOTSUPP || errno == EMLINK || errno == EXDEV;
  if (!copies) return SystemError("link to " + to, from, errno);
  std::error_code error;
  std::filesystem::copy_file(from, to, error);
  if (error) return SystemError("copy to " + to, from, error.value());
  return FsyncFile(to);
}

Status ReplaceDirDurably(const std::string& from, const std::string& to) {
  const auto swap = [&](unsigned int flags) {
    return ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0 ? 0 : errno;
  };
  int error = swap(RENAME_EXCHANGE);
  if (error == EINVAL) EMPORIUM_RETURN_IF_ERROR(RemoveDir(to));  // names cannot be exchanged here
  if (error == EINVAL || error == ENOENT) error = swap(0);
  if (error != 0) return SystemError("rename to " + to, from, error);
  EMPORIUM_RETURN_IF_ERROR(FsyncDir(DirectoryOf(to)));
  return RemoveDir(from);
}

Status RemoveDir(const std::string& path) {
  // Each time that this fails somebody has changed a name in it, of which there are few.
  constexpr int kMostAttempts = 100;
  std::error_code error;
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    std::filesystem::remove_all(path, error);
    const bool others =
        error == std::errc::no_such_file_or_directory || error == std::errc::directory_not_empty;
    if (!others) break;
  }
  if (error) return SystemError("remove", path, error.value());
  return Status::Ok();
}

Result<std::string> ReadFile(const std::string& path) {
  std::string content;
  EMPORIUM_RETURN_IF_ERROR(ReadPieces(
      path, [&content](const char* bytes, size_t size) { content.append(bytes, size); }));
  return content;
}

Result<std::string> Sha256OfFile(const std::string& path) {
  return DigestOfFile<Sha256Hasher>(path);
}

std::string Sha256(std::string_view bytes) {
  Sha256Hasher hasher;
  hasher.Add(bytes.data(), bytes.size());
  return Hex(hasher.Finish());
}

Result<std::string> Xxh3OfFile(const std::string& path) { return DigestOfFile<Xxh3>(path); }

Status MakeDirs(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return SystemError("make the directory", path, error.value());
  return Status::Ok();
}

Result<std::vector<std::string>> Glob(const std::string& pattern) {
  glob_t found{};
  const int error = ::glob(pattern.c_str(), GLOB_ERR, nullptr, &found);
  const std::unique_ptr<glob_t, decltype(&::globfree)> release(&found, &::globfree);
  if (error == GLOB_NOMATCH) return std::vector<std::string>();
  if (error != 0) {
    return Unavailable(pattern + ": cannot list the files that match: a directory is unreadable");
  }
  return std::vector<std::string>(found.gl_pathv, found.gl_pathv + found.gl_pathc);
}

}  // namespace emporium::runtime
