// The devices of a worker's lanes, as the job's cluster.device says: the CPU, or one GPU for each
// lane with streams of its own. What a device does is models/device.h; here is which one a lane
// gets, and what becomes of its faults.
//
// Pure questions and factories; any thread. A device that was made belongs to its lane.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>

#include "models/device.h"
#include "proto/job.pb.h"
#include "proto/status.h"

namespace emporium::worker {

// Ok when lanes can compute on the device; else what is missing and what to do.
Status CheckDevice(spec::Cluster::Device device);

// The device of a lane. Lanes are numbered through all workers of this host, so that every GPU has
// a lane before one has two; lanes that share a GPU have streams of their own.
Result<std::unique_ptr<models::Device>> OpenDevice(spec::Cluster::Device device,
                                                   uint32_t lane_on_host);
uint32_t GpuOfLane(uint32_t lane_on_host, uint32_t gpus);

// A GPU that is full or fails makes LibTorch throw in the middle of a batch.
Status DeviceFault(const std::exception& error);

// compute(), which returns a Status or Result, with such a fault as its status.
template <class Compute>
auto OnDevice(const Compute& compute) -> decltype(compute()) {
  try {
    return compute();
  } catch (const std::exception& error) {
    return DeviceFault(error);
  }
}

}  // namespace emporium::worker
