// Running the `emporium` program in tests: to its end, or beside the test until it is asked to
// stop.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace emporium::cluster {

struct Output {
  int code = -1;     // exit code; 128 + signal when one ended it
  std::string text;  // stdout and stderr, as they came
};

// A started program. Its output is read through a pipe.
class Program {
 public:
  explicit Program(const std::vector<std::string>& arguments);
  // Kills it when it still runs.
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Reads output until `text` has appeared; false when the program ended before.
  bool WaitForText(const std::string& text);
  void Signal(int signal) const;
  pid_t pid() const { return pid_; }
  // Reads to the end of the output and waits for the program.
  Output Finish();

 private:
  bool ReadMore();
  pid_t pid_ = -1;
  int fd_ = -1;
  std::string text_;
};

Output RunEmporium(const std::vector<std::string>& arguments);

// The processes that are children of `parent` and run the given verb ("worker", "server").
std::vector<pid_t> ChildrenWithVerb(pid_t parent, const std::string& verb);

// A directory that goes with the test.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

void WriteText(const std::string& path, const std::string& text);
std::string ReadText(const std::string& path);

}  // namespace emporium::cluster
