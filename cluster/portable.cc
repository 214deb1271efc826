#include "cluster/portable.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

namespace emporium::cluster {
namespace {

constexpr std::pair<const char*, const char*> kCaps[] = {
    {"ATEN_CPU_CAPABILITY", "avx2"},
    {"ONEDNN_MAX_CPU_ISA", "AVX2"},
    {"MKL_CBWR", "AVX2"},
};

}  // namespace

Status CapInstructionSet(char** argv) {
  if (!__builtin_cpu_supports("avx2")) {
    return FailedPrecondition(
        "portable_bits needs a processor with AVX2, which this one is not; take it out of the job");
  }
  bool capped = true;
  for (const auto& [name, value] : kCaps) {
    // LibTorch's own interface: there is no other way to cap it.
    const char* present = std::getenv(name);
    if (present == nullptr || std::strcmp(present, value) != 0) {
      capped = false;
      setenv(name, value, 1);
    }
  }
  if (capped) return Status::Ok();
  execv("/proc/self/exe", argv);
  return Internal(std::string("cannot start again for portable_bits: ") + std::strerror(errno));
}

}  // namespace emporium::cluster
