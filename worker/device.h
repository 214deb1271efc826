// Where lanes compute, as the job's cluster.device says. The CPU is always there. CUDA is looked
// for step by step, so that what is missing is named: a build with the CUDA toolkit, a device with
// its driver, LibTorch's CUDA libraries, and models that compute there. The last is not so yet:
// their row kernels are the CPU's own (models/kernels.h).
//
// Pure questions; any thread.
#pragma once

#include "proto/job.pb.h"
#include "proto/status.h"

namespace emporium::worker {

// Ok when lanes can compute on the device; else what is missing and what to do.
Status CheckDevice(spec::Cluster::Device device);

#ifdef EMPORIUM_HAVE_CUDA
// The part that needs CUDA's headers (device_cuda.cc).
Status CheckCuda();
#endif

}  // namespace emporium::worker
