// The GPU's memory and streams for models/staged_device.h. Built only where the CUDA toolkit and
// NCCL are found (cmake/Dependencies.cmake). LibTorch's part is reached through c10's generic
// guard, so that this file links with either flavour of LibTorch.
//
// A device has two streams: LibTorch and the tasks compute in one, batches are copied in the other.
// What is computed after a Send waits on the GPU, by an event, until the copy is there.
#include <ATen/Context.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

#include "models/launch_cuda.h"
#include "models/staged_device.h"

namespace emporium::models {
namespace {

void CheckCuda(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string("the GPU: ") + what + ": " + cudaGetErrorString(error));
}

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(int32_t gpu) {
    const c10::impl::VirtualGuardImpl guard(at::kCUDA);
    const at::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(gpu));
    const c10::Stream stream = guard.getNewStream(device);
    place_ = {true, gpu, stream.id()};
    compute_ = static_cast<cudaStream_t>(stream.native_handle());
    const c10::DeviceGuard here(device);
    CheckCuda(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking), "a stream");
    CheckCuda(cudaEventCreateWithFlags(&sent_, cudaEventDisableTiming), "an event");
  }
  ~CudaBackend() override {
    cudaEventDestroy(sent_);
    cudaStreamDestroy(copies_);
  }

  const Device::Place& place() const override { return place_; }

  Block Allocate(size_t bytes) override {
    const c10::DeviceGuard here(Here());
    Block block;
    void* memory = nullptr;
    CheckCuda(cudaMallocHost(&memory, bytes), "pinned memory for staging");
    block.host = static_cast<std::byte*>(memory);
    if (const cudaError_t error = cudaMalloc(&memory, bytes); error != cudaSuccess) {
      cudaFreeHost(block.host);
      CheckCuda(error, "memory for a batch; make micro-batches smaller");
    }
    block.device = static_cast<std::byte*>(memory);
    block.bytes = bytes;
    return block;
  }
  void Free(const Block& block) override {
    const c10::DeviceGuard here(Here());
    cudaFree(block.device);  // waits for what uses it
    cudaFreeHost(block.host);
  }

  void Send(const Block& block, size_t from, size_t to) override {
    const c10::DeviceGuard here(Here());
    CheckCuda(cudaMemcpyAsync(block.device + from, block.host + from, to - from,
                              cudaMemcpyHostToDevice, copies_),
              "copying a batch");
    CheckCuda(cudaEventRecord(sent_, copies_), "an event");
    CheckCuda(cudaStreamWaitEvent(compute_, sent_, 0), "waiting for an event");
  }
  // In the computing stream: nothing else is left to compute when results are fetched.
  void Receive(const void* device, std::byte* pinned, size_t bytes) override {
    const c10::DeviceGuard here(Here());
    CheckCuda(cudaMemcpyAsync(pinned, device, bytes, cudaMemcpyDeviceToHost, compute_),
              "copying results");
  }
  void Run(const DeviceTask& task) override {
    const c10::DeviceGuard here(Here());
    const cudaError_t error =
        std::visit([this](const auto& one) { return LaunchTask(one, compute_); }, task);
    CheckCuda(error, "starting a kernel");
  }
  void Wait() override {
    const c10::DeviceGuard here(Here());
    CheckCuda(cudaStreamSynchronize(compute_), "computing");
    CheckCuda(cudaStreamSynchronize(copies_), "copying");
  }

 private:
  at::Device Here() const { return {at::kCUDA, static_cast<c10::DeviceIndex>(place_.gpu)}; }

  Device::Place place_;
  cudaStream_t compute_ = nullptr;  // of LibTorch's pool
  cudaStream_t copies_ = nullptr;
  cudaEvent_t sent_ = nullptr;
};

// LibTorch's attention has faster forms whose gradients are summed in no fixed order; this process
// computes on GPUs, so it does without them.
void ChooseRepeatableAttention() {
  at::globalContext().setSDPUseFlash(false);
  at::globalContext().setSDPUseMemEfficient(false);
  at::globalContext().setSDPUseCuDNN(false);
}

}  // namespace

Result<uint32_t> CountGpus() {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error != cudaSuccess || devices == 0) {
    const std::string why = error != cudaSuccess ? cudaGetErrorString(error) : "there is none";
    return FailedPrecondition("device CUDA: no GPU can be used here: " + why +
                              "; check `nvidia-smi`, or set cluster.device to CPU");
  }
  // LibTorch's CUDA libraries register this when they are loaded.
  if (!c10::impl::hasDeviceGuardImpl(at::kCUDA)) {
    return FailedPrecondition(
        "device CUDA: this program was linked with LibTorch for the CPU; run `.ci/setup --cuda` "
        "and build again, or set cluster.device to CPU");
  }
  return static_cast<uint32_t>(devices);
}

Result<std::unique_ptr<Device>> MakeCudaDevice(uint32_t gpu) {
  EMPORIUM_ASSIGN_OR_RETURN(const uint32_t gpus, CountGpus());
  if (gpu >= gpus) {
    return FailedPrecondition("device CUDA: there is no GPU " + std::to_string(gpu) +
                              " here, only " + std::to_string(gpus) +
                              "; start fewer lanes, or set cluster.device to CPU");
  }
  try {
    at::globalContext().lazyInitDevice(at::kCUDA);
    ChooseRepeatableAttention();
    return MakeStagedDevice(std::make_unique<CudaBackend>(static_cast<int32_t>(gpu)));
  } catch (const std::exception& error) {
    return FailedPrecondition("device CUDA: GPU " + std::to_string(gpu) + " cannot be used: " +
                              error.what() + "; check `nvidia-smi`, or set cluster.device to CPU");
  }
}

}  // namespace emporium::models
