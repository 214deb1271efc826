#include "worker/device.h"

#include <string>

#include "proto/check.h"

namespace emporium::worker {

Status CheckDevice(spec::Cluster::Device device) {
  if (device == spec::Cluster::CPU) return Status::Ok();
  const Result<uint32_t> gpus = models::CountGpus();
  return gpus.ok() ? Status::Ok() : gpus.status();
}

Result<std::unique_ptr<models::Device>> OpenDevice(spec::Cluster::Device device,
                                                   uint32_t lane_on_host) {
  if (device == spec::Cluster::CPU) return models::MakeCpuDevice();
  EMPORIUM_ASSIGN_OR_RETURN(const uint32_t gpus, models::CountGpus());
  return models::MakeCudaDevice(GpuOfLane(lane_on_host, gpus));
}

uint32_t GpuOfLane(uint32_t lane_on_host, uint32_t gpus) {
  EMPORIUM_CHECK(gpus > 0, "there is a GPU to choose");
  return lane_on_host % gpus;
}

Status DeviceFault(const std::exception& error) {
  return ResourceExhausted(std::string("the device gave up on a batch: ") + error.what() +
                           "; if it is out of memory, make micro-batches smaller or start fewer "
                           "lanes for each GPU");
}

}  // namespace emporium::worker
