#include "runtime/failpoint.h"

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>

namespace emporium::runtime {
namespace {

std::atomic<int> armed_id = -1;
std::atomic<int> passes_left = 0;

}  // namespace

Status ArmFailpoint(const std::string& text) {
  const size_t colon = text.find(':');
  const std::string name = text.substr(0, colon);
  const auto found = std::find(kFailpoints.begin(), kFailpoints.end(), name);
  if (found == kFailpoints.end()) return InvalidArgument("there is no failpoint " + name);
  const int passes = colon == std::string::npos ? 1 : std::atoi(text.c_str() + colon + 1);
  if (passes < 1) return InvalidArgument(text + ": a failpoint is passed once or more");
  passes_left = passes;
  armed_id = static_cast<int>(found - kFailpoints.begin());
  return Status::Ok();
}

void internal::Pass(int id) {
  if (armed_id.load(std::memory_order_relaxed) != id) return;
  if (passes_left.fetch_sub(1) == 1) raise(SIGKILL);
}

}  // namespace emporium::runtime
