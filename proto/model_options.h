// What the options of every model have in common, read without knowing which model it is. Pure
// functions; safe from any thread.
#pragma once

#include <string>
#include <vector>

#include "proto/job.pb.h"

namespace emporium {

// The name of the job's model as the job file has it: "deepfm". Empty: none is set.
std::string ModelName(const spec::Job& job);

// The model ranks items by vectors of users and items; otherwise it scores samples one by one.
bool IsRetrieval(const spec::Job& job);

// Of a pointwise model: the names of the features that enter it, in the order of a batch's fields:
// its option `feature` or, when that is empty, the job's ROW features.
std::vector<std::string> InputFeatures(const spec::Job& job);
// Its option `linear_table`; empty when it has none.
std::string LinearTable(const spec::Job& job);

}  // namespace emporium
