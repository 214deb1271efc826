// Runs tasks on a GPU: one kernel for all of them. Compiled by nvcc, without LibTorch and without
// fused multiply-add, so that sums have the bits of the CPU's.
#include "models/device_tasks.h"
#include "models/launch_cuda.h"

namespace emporium::models {

namespace {

template <class Task>
__global__ void RunTask(Task task) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.y;
  for (int64_t item = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
       item < task.items; item += step) {
    for (int32_t k = static_cast<int32_t>(threadIdx.x); k < task.width;
         k += static_cast<int32_t>(blockDim.x)) {
      task(item, k);
    }
  }
}

}  // namespace

template <class Task>
cudaError_t LaunchTask(const Task& task, cudaStream_t stream) {
  if (task.items == 0 || task.width == 0) return cudaSuccess;
  const LaunchShape shape = ShapeOf(task.items, task.width);
  const dim3 block(shape.threads_x, shape.threads_y);
  RunTask<Task><<<shape.blocks, block, 0, stream>>>(task);
  return cudaGetLastError();
}

template cudaError_t LaunchTask(const GatherTask&, cudaStream_t);
template cudaError_t LaunchTask(const ScatterTask&, cudaStream_t);
template cudaError_t LaunchTask(const AgeSharesTask&, cudaStream_t);
template cudaError_t LaunchTask(const AgeSumTask&, cudaStream_t);
template cudaError_t LaunchTask(const AgePullTask&, cudaStream_t);
template cudaError_t LaunchTask(const AgeLogitTask&, cudaStream_t);
template cudaError_t LaunchTask(const FmSumTask&, cudaStream_t);
template cudaError_t LaunchTask(const FmOutTask&, cudaStream_t);
template cudaError_t LaunchTask(const FmGradientTask&, cudaStream_t);
template cudaError_t LaunchTask(const CounterTask&, cudaStream_t);
template cudaError_t LaunchTask(const CounterChunkTask&, cudaStream_t);
template cudaError_t LaunchTask(const CounterTotalTask&, cudaStream_t);
template cudaError_t LaunchTask(const OrderedSumTask&, cudaStream_t);

}  // namespace emporium::models
