#include "tests/cluster/command.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace emporium::cluster {

namespace fs = std::filesystem;

Program::Program(const std::vector<std::string>& arguments) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) std::abort();
  std::vector<std::string> words = {EMPORIUM_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_ = fork();
  if (pid_ == 0) {
    dup2(fds[1], STDOUT_FILENO);
    dup2(fds[1], STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(fds[1]);
  fd_ = fds[0];
}

Program::~Program() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  close(fd_);
}

bool Program::ReadMore() {
  char buffer[4096];
  const ssize_t got = read(fd_, buffer, sizeof(buffer));
  if (got <= 0) return false;
  text_.append(buffer, static_cast<size_t>(got));
  return true;
}

bool Program::WaitForText(const std::string& text) {
  while (text_.find(text) == std::string::npos) {
    if (!ReadMore()) return false;
  }
  return true;
}

void Program::Signal(int signal) const { kill(pid_, signal); }

Output Program::Finish() {
  while (ReadMore()) {
  }
  int state = 0;
  waitpid(pid_, &state, 0);
  pid_ = -1;
  return {WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state), text_};
}

Output RunEmporium(const std::vector<std::string>& arguments) {
  return Program(arguments).Finish();
}

std::vector<pid_t> ChildrenWithVerb(pid_t parent, const std::string& verb) {
  std::vector<pid_t> found;
  std::istringstream children(ReadText("/proc/" + std::to_string(parent) + "/task/" +
                                       std::to_string(parent) + "/children"));
  for (pid_t child = 0; children >> child;) {
    const std::string line = ReadText("/proc/" + std::to_string(child) + "/cmdline");
    const size_t first = line.find('\0');
    if (first != std::string::npos && line.compare(first + 1, verb.size(), verb) == 0) {
      found.push_back(child);
    }
  }
  return found;
}

TempDir::TempDir() {
  std::string pattern = (fs::temp_directory_path() / "emporium-test-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) std::abort();
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;  // a test that failed may have left it in any state
  fs::remove_all(path_, ignored);
}

void WriteText(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string ReadText(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace emporium::cluster
