#include "runtime/heap.h"

#include <malloc.h>

namespace emporium::runtime {

void KeepFreedMemory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the largest value that is taken
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
}

}  // namespace emporium::runtime
