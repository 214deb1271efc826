#include "runtime/heap.h"

#include <malloc.h>

namespace emporium::runtime {

void KeepFreedMemory() {
#ifdef __GLIBC__
  // Not a threshold: one above 32 MiB is not taken, and tensors are larger than that.
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
}

}  // namespace emporium::runtime
