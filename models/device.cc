#include "models/device.h"

#include <algorithm>
#include <cstring>

#include "proto/check.h"

namespace emporium::models {
namespace {

class CpuKernels final : public RowKernels {
 public:
  void Assemble(const Assembly& assembly, float* out) override {
    for (int32_t from = 0; from < assembly.rows; from += kRowsPerBlock) {
      const int32_t to = std::min(assembly.rows, from + kRowsPerBlock);
      for (const AssemblyPart& part : assembly.parts) {
        GatherRows(part.values, part.dim, part.lists, from, to, part.weight, part.add,
                   out + part.column, assembly.width);
      }
    }
  }
  void AssembleBackward(const Assembly& assembly, const float* gradient) override {
    for (int32_t from = 0; from < assembly.rows; from += kRowsPerBlock) {
      const int32_t to = std::min(assembly.rows, from + kRowsPerBlock);
      for (const AssemblyPart& part : assembly.parts) {
        if (part.sink == nullptr) continue;
        ScatterAddRows(gradient + part.column, assembly.width, part.dim, part.lists, from, to,
                       part.weight, part.sink);
      }
    }
  }

  void PoolByAge(const AgePoolInputs& in, float* shares, float* out) override {
    AgePool(in.items, in.dim, in.by_age, in.by_count, in.events, in.offset, shares, out);
  }
  void PoolByAgeBackward(const AgePoolInputs& in, const float* shares, const float* out_gradient,
                         float* items_gradient, float* by_age_gradient,
                         float* by_count_gradient) override {
    AgePoolBackward(in.items, in.dim, in.events, in.offset, shares, out_gradient, items_gradient,
                    by_age_gradient, by_count_gradient);
  }

  void Factorize(const FactorizationInputs& in, float* sums, float* out) override {
    FactorizationMachine(in.x, in.stride, in.samples, in.fields, in.dim, sums, out);
  }
  void FactorizeBackward(const FactorizationInputs& in, const float* sums,
                         const float* out_gradient, float* gradient_x) override {
    FactorizationMachineBackward(in.x, in.stride, in.samples, in.fields, in.dim, sums, out_gradient,
                                 gradient_x);
  }

  void Weigh(const CounterInputs& in, const float* beta, float* out) override {
    WeighCounters(in.counters, in.rows, in.n, {beta, static_cast<size_t>(in.width)}, out);
  }
  void WeighBackward(const CounterInputs& in, const float* gradient,
                     float* beta_gradient) override {
    WeighCountersBackward(in.counters, in.rows, in.n, gradient,
                          {beta_gradient, static_cast<size_t>(in.width)});
  }
};

class CpuDevice final : public Device {
 public:
  const Place& place() const override { return place_; }
  void Begin() override {}
  const void* Put(const void* host, size_t) override { return host; }
  void Get(std::span<const Copy> copies) override {
    for (const Copy& copy : copies) std::memcpy(copy.to, copy.from, copy.bytes);
  }
  RowKernels& kernels() override { return kernels_; }

 private:
  const Place place_{};
  CpuKernels kernels_;
};

}  // namespace

Device& Cpu() {
  static CpuDevice device;  // without state
  return device;
}

std::unique_ptr<Device> MakeCpuDevice() { return std::make_unique<CpuDevice>(); }

#ifndef EMPORIUM_HAVE_CUDA
Result<std::unique_ptr<Device>> MakeCudaDevice(uint32_t) { return CountGpus().status(); }
Result<uint32_t> CountGpus() {
  return FailedPrecondition(
      "device CUDA: this program was built without the CUDA toolkit and NCCL; build it where they "
      "are, or set cluster.device to CPU");
}
#endif

}  // namespace emporium::models
