#include "runtime/failpoint.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>

namespace emporium::runtime {
namespace {

std::atomic<bool> armed = false;
// Written before `armed`, and not any more.
int ending_id = -1;
std::atomic<int> passes_left = 0;
std::array<bool, kFailpoints.size()> traced{};
int trace_file = -1;

Result<int> IdOf(std::string_view name) {
  const auto found = std::find(kFailpoints.begin(), kFailpoints.end(), name);
  if (found == kFailpoints.end()) {
    return InvalidArgument("there is no failpoint " + std::string(name));
  }
  return static_cast<int>(found - kFailpoints.begin());
}

Status ArmTrace(std::string_view names, const std::string& path) {
  while (!names.empty()) {
    const size_t comma = std::min(names.find(','), names.size());
    EMPORIUM_ASSIGN_OR_RETURN(const int id, IdOf(names.substr(0, comma)));
    traced[static_cast<size_t>(id)] = true;
    names.remove_prefix(std::min(comma + 1, names.size()));
  }
  trace_file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (trace_file < 0) return Unavailable(path + ": " + std::strerror(errno));
  armed = true;
  return Status::Ok();
}

void Trace(int id) {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  std::string line(kFailpoints[static_cast<size_t>(id)]);
  line += ' ';
  line += std::to_string(std::chrono::nanoseconds(now).count());
  line += '\n';
  // One call, so that lines of several threads and processes stay whole; whoever measures sees
  // what is missing.
  [[maybe_unused]] const ssize_t written = ::write(trace_file, line.data(), line.size());
}

}  // namespace

Status ArmFailpoint(const std::string& text) {
  if (const size_t at = text.find('@'); at != std::string::npos) {
    return ArmTrace(std::string_view(text).substr(0, at), text.substr(at + 1));
  }
  const size_t colon = text.find(':');
  EMPORIUM_ASSIGN_OR_RETURN(const int id, IdOf(text.substr(0, colon)));
  const int passes = colon == std::string::npos ? 1 : std::atoi(text.c_str() + colon + 1);
  if (passes < 1) return InvalidArgument(text + ": a failpoint is passed once or more");
  passes_left = passes;
  ending_id = id;
  armed = true;
  return Status::Ok();
}

void internal::Pass(int id) {
  if (!armed.load(std::memory_order_acquire)) return;
  if (traced[static_cast<size_t>(id)]) Trace(id);
  if (id == ending_id && passes_left.fetch_sub(1) == 1) raise(SIGKILL);
}

}  // namespace emporium::runtime
