#include "worker/column_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace emporium::worker {
namespace {

constexpr uint32_t kVersion = 1;
constexpr uint64_t kAlign = 64;
constexpr size_t kEntryFixedBytes = 32;

struct Head {
  char magic[8];
  uint32_t version;
  uint32_t arrays;
  uint64_t rows;
  uint64_t file_bytes;
  uint64_t directory_bytes;
  uint64_t directory_hash;
  uint64_t reserved;
  uint64_t head_hash;
};
static_assert(sizeof(Head) == 64 && offsetof(Head, head_hash) == 56);

uint64_t AlignUp(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }
uint64_t Blocks(uint64_t bytes) { return (bytes + kColumnBlockBytes - 1) / kColumnBlockBytes; }
uint64_t EntryBytes(const ArraySpec& a) {
  const uint64_t blocks = Blocks(a.count * ElementBytes(a.element));
  return AlignUp(kEntryFixedBytes + 8 * blocks + a.name.size(), 8);
}

template <class T>
void Put(std::byte* at, T value) {
  std::memcpy(at, &value, sizeof value);
}
template <class T>
T Get(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

Status SystemError(const std::string& path, const char* what, int error) {
  const std::string message = path + ": " + what + ": " + std::strerror(error);
  return error == ENOSPC || error == EDQUOT ? ResourceExhausted(message + "; free some space")
                                            : Unavailable(message);
}

}  // namespace

size_t ElementBytes(Element element) {
  switch (element) {
    case Element::kU8:
      return 1;
    case Element::kI32:
    case Element::kF32:
      return 4;
    case Element::kI64:
    case Element::kF64:
      return 8;
  }
  EMPORIUM_CHECK(false, "an element has a size");
  return 0;
}

Result<std::unique_ptr<ColumnFileWriter>> ColumnFileWriter::Create(const std::string& path,
                                                                   uint64_t rows,
                                                                   std::vector<ArraySpec> arrays) {
  std::unique_ptr<ColumnFileWriter> writer(new ColumnFileWriter);  // NOLINT: private constructor
  writer->path_ = path;
  writer->rows_ = rows;
  writer->arrays_ = std::move(arrays);
  for (const ArraySpec& a : writer->arrays_) {
    writer->directory_bytes_ += EntryBytes(a);
  }
  uint64_t at = AlignUp(sizeof(Head) + writer->directory_bytes_, kAlign);
  for (size_t i = 0; i < writer->arrays_.size(); ++i) {
    const ArraySpec& a = writer->arrays_[i];
    EMPORIUM_CHECK(writer->by_name_.emplace(a.name, i).second, "array names are unique");
    writer->offsets_.push_back(at);
    at = AlignUp(at + a.count * ElementBytes(a.element), kAlign);
  }
  writer->bytes_ = at;
  writer->fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (writer->fd_ < 0) {
    return SystemError(path, "cannot be created", errno);
  }
  // Reserved now, because a store into a mapped page of a full disk would kill the process.
  const int error = ::posix_fallocate(writer->fd_, 0, static_cast<off_t>(at));
  if (error != 0) {
    return SystemError(path, "no room for it", error);
  }
  void* map = ::mmap(nullptr, at, PROT_READ | PROT_WRITE, MAP_SHARED, writer->fd_, 0);
  if (map == MAP_FAILED) {
    return SystemError(path, "cannot be mapped", errno);
  }
  writer->map_ = static_cast<std::byte*>(map);
  return writer;
}

ColumnFileWriter::~ColumnFileWriter() {
  if (map_ != nullptr) {
    ::munmap(map_, bytes_);
  }
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

std::byte* ColumnFileWriter::Find(const std::string& name, Element element) {
  const auto it = by_name_.find(name);
  EMPORIUM_CHECK(it != by_name_.end(), "the array was announced");
  EMPORIUM_CHECK(arrays_[it->second].element == element, "the array's element type is this one");
  return map_ + offsets_[it->second];
}

uint64_t ColumnFileWriter::Count(const std::string& name) const {
  return arrays_[by_name_.at(name)].count;
}

std::vector<std::byte> ColumnFileWriter::Directory() const {
  std::vector<std::byte> directory(directory_bytes_);
  std::byte* at = directory.data();
  for (size_t i = 0; i < arrays_.size(); ++i) {
    const ArraySpec& a = arrays_[i];
    const uint64_t bytes = a.count * ElementBytes(a.element);
    Put<uint16_t>(at, static_cast<uint16_t>(a.name.size()));
    Put<uint8_t>(at + 2, static_cast<uint8_t>(a.element));
    Put<uint64_t>(at + 8, a.count);
    Put<uint64_t>(at + 16, offsets_[i]);
    Put<uint64_t>(at + 24, Blocks(bytes));
    std::byte* hash = at + kEntryFixedBytes;
    for (uint64_t b = 0; b < bytes; b += kColumnBlockBytes, hash += 8) {
      const size_t n = std::min<uint64_t>(kColumnBlockBytes, bytes - b);
      Put<uint64_t>(hash, XXH3_64bits(map_ + offsets_[i] + b, n));
    }
    std::memcpy(hash, a.name.data(), a.name.size());
    at += EntryBytes(a);
  }
  return directory;
}

Status ColumnFileWriter::Finish() {
  const std::vector<std::byte> directory = Directory();
  Head head{};
  std::memcpy(head.magic, kColumnMagic.data(), sizeof head.magic);
  head.version = kVersion;
  head.arrays = static_cast<uint32_t>(arrays_.size());
  head.rows = rows_;
  head.file_bytes = bytes_;
  head.directory_bytes = directory.size();
  head.directory_hash = XXH3_64bits(directory.data(), directory.size());
  head.head_hash = XXH3_64bits(&head, offsetof(Head, head_hash));
  std::memcpy(map_, &head, sizeof head);
  std::copy(directory.begin(), directory.end(), map_ + sizeof head);
  if (::msync(map_, bytes_, MS_SYNC) != 0 || ::fsync(fd_) != 0) {
    return SystemError(path_, "cannot be written", errno);
  }
  return Status::Ok();
}

bool ColumnFile::Recognise(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return false;
  }
  char magic[8];
  const bool same = ::read(fd, magic, sizeof magic) == static_cast<ssize_t>(sizeof magic) &&
                    std::string_view(magic, sizeof magic) == kColumnMagic;
  ::close(fd);
  return same;
}

Result<std::unique_ptr<ColumnFile>> ColumnFile::Open(const std::string& path) {
  std::unique_ptr<ColumnFile> file(new ColumnFile);  // NOLINT: private constructor
  file->path_ = path;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return NotFound(path + ": cannot be opened: " + std::strerror(errno));
  }
  struct stat info {};
  void* map = MAP_FAILED;
  if (::fstat(fd, &info) == 0 && info.st_size >= static_cast<off_t>(sizeof(Head))) {
    file->bytes_ = static_cast<uint64_t>(info.st_size);
    map = ::mmap(nullptr, file->bytes_, PROT_READ, MAP_SHARED, fd, 0);
  }
  ::close(fd);
  if (map == MAP_FAILED) {
    return DataLoss(path + ": is no column file: too short, or it cannot be mapped");
  }
  file->map_ = static_cast<const std::byte*>(map);
  EMPORIUM_RETURN_IF_ERROR(file->Parse());
  return file;
}

ColumnFile::~ColumnFile() {
  if (map_ != nullptr) {
    ::munmap(const_cast<std::byte*>(map_), bytes_);
  }
}

Status ColumnFile::Parse() {
  const auto head = Get<Head>(map_);
  const std::string remedy = "; convert the data again";
  if (std::string_view(head.magic, sizeof head.magic) != kColumnMagic) {
    return DataLoss(path_ + ": is no column file" + remedy);
  }
  if (head.head_hash != XXH3_64bits(&head, offsetof(Head, head_hash))) {
    return DataLoss(path_ + ": its head is damaged" + remedy);
  }
  if (head.version != kVersion) {
    return InvalidArgument(path_ + ": is of version " + std::to_string(head.version) +
                           ", this program reads version 1" + remedy);
  }
  if (head.file_bytes != bytes_ || head.directory_bytes > bytes_ - sizeof(Head)) {
    return DataLoss(path_ + ": has " + std::to_string(bytes_) + " bytes, not the " +
                    std::to_string(head.file_bytes) + " that its head says" + remedy);
  }
  rows_ = head.rows;
  const std::span<const std::byte> directory(map_ + sizeof(Head), head.directory_bytes);
  if (XXH3_64bits(directory.data(), directory.size()) != head.directory_hash) {
    return DataLoss(path_ + ": its directory is damaged" + remedy);
  }
  size_t at = 0;
  for (uint32_t i = 0; i < head.arrays; ++i) {
    if (Status s = ParseEntry(directory, &at); !s.ok()) {
      return DataLoss(path_ + ": " + s.message() + remedy);
    }
  }
  return Status::Ok();
}

// The directory's hash was right, so what is wrong here was written wrong; still nothing outside
// the file may be touched.
Status ColumnFile::ParseEntry(std::span<const std::byte> directory, size_t* at) {
  if (directory.size() - *at < kEntryFixedBytes) {
    return DataLoss("its directory is too short");
  }
  const std::byte* p = directory.data() + *at;
  const auto name_bytes = Get<uint16_t>(p);
  const auto element = Get<uint8_t>(p + 2);
  Entry entry;
  entry.count = Get<uint64_t>(p + 8);
  entry.offset = Get<uint64_t>(p + 16);
  const auto blocks = Get<uint64_t>(p + 24);
  if (element > static_cast<uint8_t>(Element::kF64) || entry.count > bytes_ ||
      entry.offset > bytes_ || entry.offset % kAlign != 0 || blocks > bytes_) {
    return DataLoss("its directory makes no sense");
  }
  entry.element = static_cast<Element>(element);
  const uint64_t bytes = entry.count * ElementBytes(entry.element);
  const uint64_t entry_bytes = AlignUp(kEntryFixedBytes + 8 * blocks + name_bytes, 8);
  if (bytes > bytes_ - entry.offset || blocks != Blocks(bytes) ||
      entry_bytes > directory.size() - *at) {
    return DataLoss("its directory makes no sense");
  }
  const std::byte* hash = p + kEntryFixedBytes;
  const std::string name(reinterpret_cast<const char*>(hash + 8 * blocks), name_bytes);
  for (uint64_t b = 0; b < bytes; b += kColumnBlockBytes, hash += 8) {
    const size_t n = std::min<uint64_t>(kColumnBlockBytes, bytes - b);
    if (XXH3_64bits(map_ + entry.offset + b, n) != Get<uint64_t>(hash)) {
      return DataLoss("bytes " + std::to_string(entry.offset + b) + " to " +
                      std::to_string(entry.offset + b + n) + " (" + name + ") are damaged");
    }
  }
  arrays_.emplace(name, entry);
  *at += entry_bytes;
  return Status::Ok();
}

std::vector<std::string> ColumnFile::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : arrays_) {
    names.push_back(name);
  }
  return names;
}

Result<ColumnFile::Entry> ColumnFile::Find(const std::string& name, Element element) const {
  const auto it = arrays_.find(name);
  if (it == arrays_.end()) {
    return NotFound(path_ + ": has no array " + name);
  }
  if (it->second.element != element) {
    return DataLoss(path_ + ": array " + name + " has elements of another type");
  }
  return it->second;
}

Result<DictionaryView> ReadDictionary(const ColumnFile& file, const std::string& prefix) {
  DictionaryView view;
  EMPORIUM_ASSIGN_OR_RETURN(view.offset, file.Array<int64_t>(prefix + "_offset"));
  EMPORIUM_ASSIGN_OR_RETURN(view.bytes, file.Array<char>(prefix));
  bool sound = !view.offset.empty() && view.offset.front() == 0 &&
               view.offset.back() == static_cast<int64_t>(view.bytes.size());
  for (size_t i = 1; i < view.offset.size(); ++i) {
    sound = sound && view.offset[i - 1] <= view.offset[i];
  }
  if (!sound) {
    return DataLoss("dictionary " + prefix + ": offsets do not fit its bytes");
  }
  return view;
}

}  // namespace emporium::worker
