#include "cluster/portable.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

namespace emporium::cluster {
namespace {

constexpr std::pair<const char*, const char*> kCaps[] = {
    {"ATEN_CPU_CAPABILITY", "avx2"},
    {"ONEDNN_MAX_CPU_ISA", "AVX2"},
    {"MKL_CBWR", "AVX2"},
};

std::vector<std::string> CommandLine() {
  std::ifstream in("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> words;
  for (std::string word; std::getline(in, word, '\0');) words.push_back(word);
  return words;
}

}  // namespace

Status CapInstructionSet() {
  if (!__builtin_cpu_supports("avx2")) {
    return FailedPrecondition(
        "portable_bits needs a processor with AVX2, which this one is not; take it out of the job");
  }
  bool capped = true;
  for (const auto& [name, value] : kCaps) {
    // LibTorch's own interface: there is no other way to cap it.
    const char* present = std::getenv(name);  // allowed: LibTorch's own settings
    if (present == nullptr || std::strcmp(present, value) != 0) {
      capped = false;
      setenv(name, value, 1);
    }
  }
  if (capped) return Status::Ok();
  std::vector<std::string> words = CommandLine();
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  execv("/proc/self/exe", argv.data());
  return Internal(std::string("cannot start again for portable_bits: ") + std::strerror(errno));
}

}  // namespace emporium::cluster
