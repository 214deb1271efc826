// Built only where the CUDA toolkit and NCCL are found (cmake/Dependencies.cmake).
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <string>
#include <utility>

#include "models/launch_cuda.h"
#include "proto/check.h"
#include "worker/dense_reduce.h"

namespace emporium::worker {
namespace {

Status Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return Status::Ok();
  return ResourceExhausted(std::string("reducing gradients: ") + what + ": " +
                           cudaGetErrorString(error) + "; check `nvidia-smi`");
}
Status Check(ncclResult_t result, const char* what) {
  if (result == ncclSuccess) return Status::Ok();
  return Unavailable(std::string("reducing gradients: NCCL, ") + what + ": " +
                     ncclGetErrorString(result) + "; NCCL_DEBUG=WARN says more");
}

// The calling thread's GPU, while it lives.
class CurrentGpu {
 public:
  explicit CurrentGpu(uint32_t gpu) {
    cudaGetDevice(&before_);
    error_ = cudaSetDevice(static_cast<int>(gpu));
  }
  ~CurrentGpu() { cudaSetDevice(before_); }
  CurrentGpu(const CurrentGpu&) = delete;
  CurrentGpu& operator=(const CurrentGpu&) = delete;
  cudaError_t error() const { return error_; }

 private:
  int before_ = 0;
  cudaError_t error_ = cudaSuccess;
};

// Device memory that only grows.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), floats_(std::exchange(other.floats_, 0)) {}
  Buffer& operator=(Buffer&&) = delete;
  ~Buffer() { cudaFree(data_); }

  Status Grow(size_t floats) {
    if (floats <= floats_) return Status::Ok();
    cudaFree(std::exchange(data_, nullptr));
    floats_ = 0;
    EMPORIUM_RETURN_IF_ERROR(Check(cudaMalloc(&data_, floats * sizeof(float)), "memory"));
    floats_ = floats;
    return Status::Ok();
  }
  float* data() const { return static_cast<float*>(data_); }

 private:
  void* data_ = nullptr;
  size_t floats_ = 0;
};

struct Rank {
  uint32_t gpu = 0;
  ncclComm_t comm = nullptr;
  cudaStream_t stream = nullptr;
  Buffer parts;   // [micro-batches, floats of the segment]
  Buffer scales;  // [micro-batches]
  Buffer total;   // rank 0: the whole gradient; others: their segment
};

class NcclReduce final : public DenseReduce {
 public:
  ~NcclReduce() override {
    for (Rank& rank : ranks_) {
      const CurrentGpu here(rank.gpu);
      if (rank.comm != nullptr) ncclCommDestroy(rank.comm);
      if (rank.stream != nullptr) cudaStreamDestroy(rank.stream);
    }
  }

  Status Open(const std::vector<uint32_t>& gpus) {
    const std::vector<int> devices(gpus.begin(), gpus.end());
    std::vector<ncclComm_t> comms(gpus.size());
    EMPORIUM_RETURN_IF_ERROR(
        Check(ncclCommInitAll(comms.data(), static_cast<int>(devices.size()), devices.data()),
              "connecting the GPUs"));
    for (size_t r = 0; r < gpus.size(); ++r) {
      Rank rank;
      rank.gpu = gpus[r];
      rank.comm = comms[r];
      ranks_.push_back(std::move(rank));
    }
    for (Rank& rank : ranks_) {
      const CurrentGpu here(rank.gpu);
      EMPORIUM_RETURN_IF_ERROR(Check(here.error(), "choosing the GPU"));
      EMPORIUM_RETURN_IF_ERROR(
          Check(cudaStreamCreateWithFlags(&rank.stream, cudaStreamNonBlocking), "a stream"));
    }
    return Status::Ok();
  }

  Status Sum(uint32_t rank, const ReducePlan& plan, std::span<const float> scales,
             std::span<const Part> mine, std::span<float> sum) override {
    EMPORIUM_CHECK(plan.ranks() == ranks_.size() && scales.size() == plan.micro_batches(),
                   "the plan is of these GPUs");
    Rank& self = ranks_[rank];
    const CurrentGpu here(self.gpu);
    EMPORIUM_RETURN_IF_ERROR(Check(here.error(), "choosing the GPU"));
    EMPORIUM_RETURN_IF_ERROR(Exchange(self, rank, plan, mine));
    EMPORIUM_RETURN_IF_ERROR(SumSegment(self, rank, plan, scales));
    EMPORIUM_RETURN_IF_ERROR(Collect(self, rank, plan));
    if (rank == 0) {
      EMPORIUM_RETURN_IF_ERROR(
          Check(cudaMemcpyAsync(sum.data(), self.total.data(), sum.size_bytes(),
                                cudaMemcpyDeviceToHost, self.stream),
                "copying the sum"));
    }
    return Check(cudaStreamSynchronize(self.stream), "waiting");
  }

 private:
  // Brings this rank's segment of every micro-batch into `parts`.
  Status Exchange(Rank& self, uint32_t rank, const ReducePlan& plan, std::span<const Part> mine) {
    const ReducePlan::Segment own = plan.segment(rank);
    EMPORIUM_RETURN_IF_ERROR(self.parts.Grow(own.floats * plan.micro_batches()));
    std::vector<const float*> gradients(plan.micro_batches(), nullptr);
    for (const Part& part : mine) {
      EMPORIUM_CHECK(plan.owner(part.micro_batch) == rank, "a rank brings what it owns");
      gradients[part.micro_batch] = part.gradient;
      EMPORIUM_RETURN_IF_ERROR(
          Check(cudaMemcpyAsync(self.parts.data() + part.micro_batch * own.floats,
                                part.gradient + own.offset, own.floats * sizeof(float),
                                cudaMemcpyDeviceToDevice, self.stream),
                "copying a part"));
    }
    EMPORIUM_RETURN_IF_ERROR(Check(ncclGroupStart(), "a group"));
    Status status;
    for (const ReducePlan::Transfer& t : plan.Sends(rank)) {
      EMPORIUM_CHECK(gradients[t.micro_batch] != nullptr, "a rank brings all that it owns");
      if (!status.ok()) break;
      status = Check(ncclSend(gradients[t.micro_batch] + t.segment.offset, t.segment.floats,
                              ncclFloat32, static_cast<int>(t.peer), self.comm, self.stream),
                     "sending a part");
    }
    for (const ReducePlan::Transfer& t : plan.Receives(rank)) {
      if (!status.ok()) break;
      status = Check(ncclRecv(self.parts.data() + t.micro_batch * own.floats, own.floats,
                              ncclFloat32, static_cast<int>(t.peer), self.comm, self.stream),
                     "receiving a part");
    }
    const Status ended = Check(ncclGroupEnd(), "exchanging parts");
    return status.ok() ? ended : status;
  }

  Status SumSegment(Rank& self, uint32_t rank, const ReducePlan& plan,
                    std::span<const float> scales) {
    const ReducePlan::Segment own = plan.segment(rank);
    const ReducePlan::Segment last = plan.segment(plan.ranks() - 1);
    EMPORIUM_RETURN_IF_ERROR(self.total.Grow(rank == 0 ? last.offset + last.floats : own.floats));
    EMPORIUM_RETURN_IF_ERROR(self.scales.Grow(scales.size()));
    EMPORIUM_RETURN_IF_ERROR(
        Check(cudaMemcpyAsync(self.scales.data(), scales.data(), scales.size_bytes(),
                              cudaMemcpyHostToDevice, self.stream),
              "copying the scales"));
    models::OrderedSumTask task = {};
    task.parts = self.parts.data();
    task.scale = self.scales.data();
    task.count = static_cast<int32_t>(plan.micro_batches());
    task.stride = static_cast<int64_t>(own.floats);
    task.out = self.total.data() + (rank == 0 ? own.offset : 0);
    task.items = static_cast<int64_t>(own.floats);
    task.width = 1;
    return Check(models::LaunchTask(task, self.stream), "starting the sum");
  }

  // Brings all segments' sums to rank 0.
  Status Collect(Rank& self, uint32_t rank, const ReducePlan& plan) {
    if (rank != 0) {
      const size_t floats = plan.segment(rank).floats;
      if (floats == 0) return Status::Ok();
      return Check(ncclSend(self.total.data(), floats, ncclFloat32, 0, self.comm, self.stream),
                   "sending a sum");
    }
    EMPORIUM_RETURN_IF_ERROR(Check(ncclGroupStart(), "a group"));
    Status status;
    for (uint32_t peer = 1; peer < plan.ranks(); ++peer) {
      const ReducePlan::Segment segment = plan.segment(peer);
      if (segment.floats == 0 || !status.ok()) continue;
      status = Check(ncclRecv(self.total.data() + segment.offset, segment.floats, ncclFloat32,
                              static_cast<int>(peer), self.comm, self.stream),
                     "receiving a sum");
    }
    const Status ended = Check(ncclGroupEnd(), "collecting the sums");
    return status.ok() ? ended : status;
  }

  std::vector<Rank> ranks_;
};

}  // namespace

Result<std::unique_ptr<DenseReduce>> MakeNcclReduce(const std::vector<uint32_t>& gpus) {
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    return FailedPrecondition(std::string("reducing gradients: no GPU can be used here: ") +
                              cudaGetErrorString(error) + "; check `nvidia-smi`");
  }
  auto reduce = std::make_unique<NcclReduce>();
  EMPORIUM_RETURN_IF_ERROR(reduce->Open(gpus));
  return std::unique_ptr<DenseReduce>(std::move(reduce));
}

}  // namespace emporium::worker
