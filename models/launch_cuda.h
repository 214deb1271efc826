// Puts a task into a stream of the current GPU. Defined by models/device_tasks.cu for every task of
// models/device_tasks.h; only where the CUDA toolkit is. Any thread.
#pragma once

#include <driver_types.h>

#include "models/device_tasks.h"
#include "models/launch_shape.h"

namespace emporium::models {

template <class Task>
cudaError_t LaunchTask(const Task& task, cudaStream_t stream);

}  // namespace emporium::models
