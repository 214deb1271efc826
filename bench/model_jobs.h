// A standard job for every model, so that their speeds can stand side by side: the same generated
// data for models of a kind, every width as the model has it by default (400-400 where it has
// none).
//
// A new model without a line in model_jobs.cc is one that scores samples of fields by its defaults.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/workload.h"
#include "proto/status.h"

namespace emporium::bench {

struct ModelJob {
  std::string about;  // the kind of data, in words
  std::string text;   // of the job file
  Status (*write)(const std::string& dir, const WorkloadOptions& options) = nullptr;
  std::string folder;  // of its data
  WorkloadOptions data;
  uint64_t epoch_steps = 0;
};

// Every model of the registry, then forms of them that have lines of their own.
std::vector<std::string> StandardModels();
// InvalidArgument when there is no such model.
Result<ModelJob> StandardJob(const std::string& name);

}  // namespace emporium::bench
