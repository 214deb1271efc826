// The part of a job that decides what the bits of its checkpoints mean. Pure; any thread.
#pragma once

#include <string>

#include "proto/job.pb.h"

namespace emporium::runtime {

// Lower-case hex of a SHA-256 over tables, dense groups, features, model, seed, partitions, the
// reading of the data and every train stage with its position. Not in it: names of files and of the
// job, directories, the shape of the cluster, checkpoint policy, how many micro-batches a stage may
// leave out, evaluate and export stages. So a job may get more servers, or one more evaluate stage
// at its end, and go on from its checkpoints.
std::string JobFingerprint(const spec::Job& job);

}  // namespace emporium::runtime
