#include "worker/prepare.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <vector>

#include "runtime/file.h"
#include "worker/table_source.h"

namespace emporium::worker {
namespace {

namespace fs = std::filesystem;

// Raised when the files of a prepared directory change, so that old ones are made anew.
constexpr int kPreparedVersion = 2;
constexpr const char* kReportFile = "prepared.txt";

// Holds the lock of one prepared directory while it lives.
class DirectoryLock {
 public:
  static Result<std::unique_ptr<DirectoryLock>> Take(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
      return Unavailable(path + ": cannot be created: " + std::strerror(errno));
    }
    auto lock = std::make_unique<DirectoryLock>(fd);
    while (::flock(fd, LOCK_EX) != 0) {
      if (errno != EINTR) {
        return Unavailable(path + ": cannot be locked: " + std::strerror(errno));
      }
    }
    return lock;
  }
  explicit DirectoryLock(int fd) : fd_(fd) {}
  ~DirectoryLock() { ::close(fd_); }
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

 private:
  const int fd_;
};

// What the prepared files are a function of; hexadecimal.
Result<std::string> Fingerprint(const spec::Data& data, const DataFiles& files) {
  spec::Data relevant = data;
  relevant.clear_history();
  relevant.clear_scenario();
  if (!relevant.split().has_files()) {
    relevant.clear_split();
  }
  std::string text = "version " + std::to_string(kPreparedVersion) + "\n";
  text += relevant.SerializeAsString();
  for (const auto* paths : {&files.events[0], &files.events[1], &files.events[2], &files.items}) {
    for (const std::string& path : *paths) {
      struct stat info {};
      if (::stat(path.c_str(), &info) != 0) {
        return NotFound(path + ": cannot be read: " + std::strerror(errno));
      }
      text += "\n" + path + " " + std::to_string(info.st_size) + " " +
              std::to_string(info.st_mtim.tv_sec) + "." + std::to_string(info.st_mtim.tv_nsec);
    }
    text += "\n--";
  }
  return runtime::Sha256(text);
}

// SHA-256 of the digests of the column files that are there; where events came from is no part of
// what they are.
Result<std::string> DigestOf(const std::string& dir) {
  std::string digests;
  for (const char* name : {kEventsFile, kItemsFile, kIndexFile}) {
    const std::string path = dir + "/" + name;
    if (!fs::exists(path)) continue;
    EMPORIUM_ASSIGN_OR_RETURN(const std::string digest, runtime::Sha256OfFile(path));
    digests += digest;
  }
  return runtime::Sha256(digests);
}

std::string ReportText(const PrepareReport& report, const std::string& fingerprint) {
  std::ostringstream out;
  out << "fingerprint " << fingerprint << "\ndigest " << report.digest << "\nrows " << report.rows
      << "\nbad_rows " << report.bad_rows << "\nbytes " << report.bytes << "\n";
  return out.str();
}

Status WriteReport(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  return out ? Status::Ok() : ResourceExhausted(path + ": cannot be written; free some space");
}

// The report of an earlier run when it was of the same sources; rows = 0 when it was not.
PrepareReport EarlierReport(const std::string& dir, const std::string& fingerprint) {
  std::ifstream in(dir + "/" + kReportFile);
  std::map<std::string, std::string> fields;
  std::string name;
  std::string value;
  while (in >> name >> value) {
    fields[name] = value;
  }
  PrepareReport report;
  if (fields["fingerprint"] != fingerprint || fields["digest"].empty()) {
    return report;
  }
  const auto number = [&](const char* field) {
    int64_t n = 0;
    const std::string& text = fields[field];
    std::from_chars(text.data(), text.data() + text.size(), n);
    return n;
  };
  report.digest = fields["digest"];
  report.rows = number("rows");
  report.bad_rows = number("bad_rows");
  report.bytes = number("bytes");
  report.reused = true;
  return report;
}

}  // namespace

Result<PrepareReport> PrepareDataset(const spec::Job& job, const std::string& data_dir,
                                     const std::string& out_dir, const PrepareOptions& options) {
  EMPORIUM_RETURN_IF_ERROR(CheckDataColumns(job.data()));
  EMPORIUM_ASSIGN_OR_RETURN(const DataFiles files, FindDataFiles(job.data(), data_dir));
  EMPORIUM_ASSIGN_OR_RETURN(const std::string fingerprint, Fingerprint(job.data(), files));
  std::error_code error;
  const fs::path parent = fs::absolute(fs::path(out_dir)).parent_path();
  fs::create_directories(parent, error);
  if (error) {
    return Unavailable(parent.string() + ": cannot be created: " + error.message());
  }
  EMPORIUM_ASSIGN_OR_RETURN(const auto lock, DirectoryLock::Take(out_dir + ".lock"));
  PrepareReport report = EarlierReport(out_dir, fingerprint);
  if (report.reused) {
    return report;
  }
  const std::string making = out_dir + ".making";
  fs::remove_all(making, error);  // left by a crash; nobody else is here
  fs::create_directory(making, error);
  if (error) {
    return Unavailable(making + ": cannot be created: " + error.message());
  }
  EMPORIUM_ASSIGN_OR_RETURN(report, WriteDataset(job.data(), files, making, options));
  EMPORIUM_ASSIGN_OR_RETURN(report.digest, DigestOf(making));
  EMPORIUM_RETURN_IF_ERROR(
      WriteReport(making + "/" + kReportFile, ReportText(report, fingerprint)));
  EMPORIUM_RETURN_IF_ERROR(runtime::ReplaceDirDurably(making, out_dir));
  return report;
}

}  // namespace emporium::worker
