// What a worker tells the scheduler of its data: the sizes of every stage's work. A function of the
// job file and the data alone.
#pragma once

#include "proto/control_types.h"
#include "proto/job.pb.h"
#include "worker/batch_source.h"

namespace emporium::worker {

// Chunks of an export stage: the catalogue's chunks, then those of the users. A train stage has
// validation chunks when it validates.
control::DatasetFacts FactsOf(const BatchSource& source, const spec::Job& job);

}  // namespace emporium::worker
