#include <ATen/Parallel.h>
#include <malloc.h>

#include "models/model.h"

namespace emporium::models {

namespace {

// A micro-batch allocates the same tensors and messages of some megabytes as the one before. The C
// library would give them back to the kernel in between, which clears every page anew: 4 % of the
// time of a click model.
void KeepFreedMemory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the largest value that is taken
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
}

}  // namespace

// One thread for each lane: ATen and MKL keep the number for all threads of the process. (How
// idle OpenMP threads wait is settled by the environment before the process starts.)
void ConfigureLibTorch() {
  KeepFreedMemory();
  at::set_num_threads(1);
  // LibTorch takes this number once and refuses a second call.
  if (at::get_num_interop_threads() != 1) at::set_num_interop_threads(1);
}

}  // namespace emporium::models
