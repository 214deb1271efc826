// What a worker tells the scheduler of its losses and numbers. Pure functions.
#pragma once

#include "proto/control_types.h"
#include "worker/ps_client.h"
#include "worker/trainer.h"

namespace emporium::worker {

control::MicroBatchLoss LossOf(const StepLoss& loss);
// How much was done and sent, and where the time went.
void AddNumbers(const Trainer::Progress& progress, const PsClientCounters& traffic,
                control::Report* report);

}  // namespace emporium::worker
