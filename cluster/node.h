// One role of a job in this process: what `run` puts together and `launch` starts as processes.
// Objects belong to one thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cluster/job_context.h"
#include "ps/server.h"
#include "worker/batch_source.h"
#include "worker/worker_node.h"

namespace emporium::cluster {

// A worker with what it is made of.
class WorkerRole {
 public:
  // Opens the data set, which PrepareData has made. `first_lane`: lanes of this host's workers
  // before this one. `name`: of the process, see control::Registration.
  static Result<std::unique_ptr<WorkerRole>> Start(const JobContext& job,
                                                   runtime::Context* transport,
                                                   control::SchedulerIf* scheduler,
                                                   uint32_t first_lane,
                                                   const std::string& name = "");
  worker::Worker& worker() { return *worker_; }

 private:
  WorkerRole() = default;
  std::unique_ptr<worker::BatchSource> source_;
  std::unique_ptr<models::Device> device_;  // that evaluate and export stages score on
  std::unique_ptr<worker::Worker> worker_;
};

// A server with `endpoints.size()` shards. `name`: of the process, see control::Registration.
Result<std::unique_ptr<ps::Server>> StartServer(const JobContext& job,
                                                std::vector<std::string> endpoints,
                                                runtime::Context* transport,
                                                control::SchedulerIf* scheduler,
                                                const std::string& name = "");

std::string HostName();

}  // namespace emporium::cluster
