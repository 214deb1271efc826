#include <ATen/Parallel.h>

#include "models/model.h"

namespace emporium::models {

// One thread for each lane: ATen and MKL keep the number for all threads of the process. (How
// idle OpenMP threads wait is settled by the environment before the process starts.)
void ConfigureLibTorch() {
  at::set_num_threads(1);
  // LibTorch takes this number once and refuses a second call.
  if (at::get_num_interop_threads() != 1) at::set_num_interop_threads(1);
}

}  // namespace emporium::models
