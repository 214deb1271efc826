#include "worker/device.h"

namespace emporium::worker {

Status CheckDevice(spec::Cluster::Device device) {
  if (device == spec::Cluster::CPU) return Status::Ok();
#ifdef EMPORIUM_HAVE_CUDA
  return CheckCuda();
#else
  return Unimplemented(
      "device CUDA: this program was built without the CUDA toolkit and NCCL; build it where they "
      "are, or set cluster.device to CPU");
#endif
}

}  // namespace emporium::worker
