#include "tests/sim/disk.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "proto/check.h"

namespace emporium::sim {
namespace {

namespace fs = std::filesystem;

// The one that lives.
Disk*& TheDisk() {
  static Disk* disk = nullptr;
  return disk;
}

std::string PathOf(int fd) {
  std::array<char, 4096> path{};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t size = ::readlink(link.c_str(), path.data(), path.size());
  return size > 0 ? std::string(path.data(), static_cast<size_t>(size)) : "";
}

ino_t NumberOf(const std::string& path) {
  struct stat facts {};
  return ::stat(path.c_str(), &facts) == 0 ? facts.st_ino : 0;
}

std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void Write(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

}  // namespace

Disk::Disk(World* world, std::string root) : world_(*world), root_(std::move(root)) {
  EMPORIUM_CHECK(TheDisk() == nullptr, "one disk at a time");
  TheDisk() = this;
}

Disk::~Disk() { TheDisk() = nullptr; }

void Disk::DieAtSync(const Process* process, int syncs, bool before, bool power) {
  deaths_[process] = {syncs, before, power};
}

int Disk::Sync(int fd) {
  const std::string path = PathOf(fd);
  if (!IsHere(path)) return static_cast<int>(::syscall(SYS_fsync, fd));
  const auto death = deaths_.find(world_.current());
  const bool dies = death != deaths_.end() && --death->second.syncs == 0;
  struct stat facts {};
  EMPORIUM_CHECK(::fstat(fd, &facts) == 0, "an open file");
  File* file = S_ISREG(facts.st_mode) ? &files_[facts.st_ino] : nullptr;
  if (file != nullptr) file->writer = world_.current();
  if (dies && death->second.before) Die();
  if (syncs_fail && world_.Chance(0.2)) {
    if (file != nullptr) file->lost = true;
    errno = EIO;
    return -1;
  }
  if (file != nullptr) {
    file->safe = !file->lost;
  } else {
    SyncDir(path);
  }
  if (dies) Die();
  return 0;
}

void Disk::SyncDir(const std::string& path) {
  std::erase_if(renamed_, [&](const Renamed& r) { return r.dir == path; });
  if (path != root_) return;
  for (const auto& entry : fs::directory_iterator(root_)) {
    if (entry.is_directory()) safe_dirs_.insert(NumberOf(entry.path()));
  }
}

int Disk::Rename(const char* from, const char* to) {
  const int result = static_cast<int>(::syscall(SYS_rename, from, to));
  if (result != 0 || !IsHere(to)) return result;
  files_.try_emplace(NumberOf(to), File{world_.current()});
  renamed_.push_back({world_.current(), fs::path(to).parent_path(), from, to});
  return 0;
}

void Disk::Die() {
  const Process* process = world_.current();
  const Death death = deaths_.extract(process).mapped();
  world_.Note(process->name() + " dies while it writes");
  if (death.power) LosePower(process);
  dies();
  throw Died();
}

void Disk::LosePower(const Process* process) {
  for (const Renamed& renamed : renamed_) {
    if (renamed.writer != process || !world_.Chance(0.5)) continue;
    (void)::syscall(SYS_rename, renamed.to.c_str(), renamed.from.c_str());
  }
  std::erase_if(renamed_, [&](const Renamed& r) { return r.writer == process; });
  if (!fs::exists(root_)) return;
  std::set<std::string> paths;  // in an order that follows from the seed
  for (const auto& entry : fs::recursive_directory_iterator(root_)) {
    paths.insert(entry.path());
  }
  for (const std::string& path : paths) {
    if (fs::is_directory(path)) {
      const bool safe = !safe_dirs_.insert(NumberOf(path)).second;
      if (process == maker_of_dirs && !safe && world_.Chance(0.5)) fs::remove_all(path);
      continue;
    }
    const auto file = files_.find(NumberOf(path));
    if (file == files_.end() || file->second.writer != process || file->second.safe) continue;
    Tear(path);
    file->second.safe = true;  // what is there now stays
  }
}

void Disk::Tear(const std::string& path) {
  std::string bytes = Read(path);
  const uint64_t from = world_.Random(bytes.size() + 1);
  switch (world_.Random(3)) {
    case 0:
      bytes.resize(from);
      break;
    case 1:
      for (uint64_t i = from; i < bytes.size() && i < from + 4096; ++i) bytes[i] = 0;
      break;
    default:
      return;  // all of it happened to be written
  }
  Write(path, bytes);
}

void Disk::Damage(const std::string& path, bool flip_one) {
  std::string bytes = Read(path);
  if (bytes.empty()) return;
  const uint64_t at = world_.Random(bytes.size());
  if (flip_one) {
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
  } else {
    bytes.resize(at);
  }
  Write(path, bytes);
}

}  // namespace emporium::sim

// Instead of the system's, for everything in this program.
extern "C" {

int fsync(int fd) {
  emporium::sim::Disk* const disk = emporium::sim::TheDisk();
  return disk != nullptr ? disk->Sync(fd) : static_cast<int>(::syscall(SYS_fsync, fd));
}

int rename(const char* from, const char* to) noexcept {
  emporium::sim::Disk* const disk = emporium::sim::TheDisk();
  return disk != nullptr ? disk->Rename(from, to)
                         : static_cast<int>(::syscall(SYS_rename, from, to));
}
}
