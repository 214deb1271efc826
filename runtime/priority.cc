#include "runtime/priority.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>

namespace emporium::runtime {

void GiveWay(bool far) {
  const int nice = far ? 15 : 5;  // a thirtieth, or a third, of the weight of the others
  const auto thread = static_cast<id_t>(::gettid());
  errno = 0;
  const int present = ::getpriority(PRIO_PROCESS, thread);
  // Where the system does not allow it everything is as it would be without.
  if (errno == 0) ::setpriority(PRIO_PROCESS, thread, present + nice);
}

}  // namespace emporium::runtime
