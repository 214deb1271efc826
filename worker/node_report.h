// What a worker tells the scheduler of its losses and numbers. Pure functions.
#pragma once

#include "proto/control_types.h"
#include "worker/ps_client.h"
#include "worker/trainer.h"

namespace emporium::worker {

control::MicroBatchLoss LossOf(const StepLoss& loss);
// Why a command failed, and at which micro-batch when it was one that could not be trained.
void AddFailure(const Status& failure, const Trainer::Progress& progress, control::Report* report);
// How much was done and sent, and where the time went.
void AddNumbers(const Trainer::Progress& progress, const PsClientCounters& traffic,
                control::Report* report);

}  // namespace emporium::worker
