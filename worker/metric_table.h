// The metrics of an evaluation as text for people: the model beside the floors of the same run,
// then the slices. Pure function; any thread.
//
//                     hr@10   ndcg@10  recall@10       mrr
//   model            0.1308    0.0661     0.1308    0.0604
//   pop30d (floor)   0.0848    0.0463     0.0848    0.0444
//   knn (floor)      0.1092    0.0563     0.1092    0.0522
#pragma once

#include <span>
#include <string>

#include "proto/control_types.h"

namespace emporium::worker {

// Names as worker/evaluator.h gives them. Empty text without metrics.
std::string MetricTable(std::span<const control::Metric> metrics);

}  // namespace emporium::worker
