// Built only where the CUDA toolkit and NCCL are found (cmake/Dependencies.cmake).
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <string>

#include "worker/device.h"

namespace emporium::worker {
namespace {

// Whether the program was linked with LibTorch's CUDA libraries (torch::first names them where
// LIBTORCH_ROOT has them), so that they are in this process.
bool HasLibTorchCuda() {
  void* const library = ::dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) return false;
  ::dlclose(library);
  return true;
}

}  // namespace

Status CheckCuda() {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error != cudaSuccess || devices == 0) {
    const std::string why = error != cudaSuccess ? cudaGetErrorString(error) : "there is none";
    return FailedPrecondition("device CUDA: no GPU can be used here: " + why +
                              "; check `nvidia-smi`, or set cluster.device to CPU");
  }
  if (!HasLibTorchCuda()) {
    return FailedPrecondition(
        "device CUDA: this program was linked with LibTorch for the CPU; run `.ci/setup --cuda` "
        "and build again, or set cluster.device to CPU");
  }
  return Unimplemented(
      "device CUDA: models compute on the CPU only as yet; set cluster.device to CPU");
}

}  // namespace emporium::worker
