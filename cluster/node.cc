#include "cluster/node.h"

#include <unistd.h>

#include <utility>

#include "models/model.h"
#include "runtime/clock.h"
#include "runtime/heap.h"
#include "worker/bodies.h"
#include "worker/device.h"

namespace emporium::cluster {

std::string HostName() {
  char name[256] = "";
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "unknown";
}

Result<std::unique_ptr<WorkerRole>> WorkerRole::Start(const JobContext& job,
                                                      runtime::Context* transport,
                                                      control::SchedulerIf* scheduler,
                                                      uint32_t first_lane,
                                                      const std::string& name) {
  runtime::KeepFreedMemory();
  models::ConfigureLibTorch();
  std::unique_ptr<WorkerRole> role(new WorkerRole());
  EMPORIUM_ASSIGN_OR_RETURN(role->source_, worker::BatchSource::Open(job.job, job.dataset_dir()));
  EMPORIUM_ASSIGN_OR_RETURN(role->device_,
                            worker::OpenDevice(job.job.cluster().device(), first_lane));
  worker::WorkerConfig config;
  config.job = &job.job;
  config.source = role->source_.get();
  config.scheduler = scheduler;
  config.context = transport;
  config.model_factory = [&job](models::Device& device) {
    return models::CreateModel(job.job, device);
  };
  config.bodies_factory =
      [&job, source = role->source_.get(),
       device = role->device_.get()]() -> Result<std::unique_ptr<worker::StageBodies>> {
    EMPORIUM_ASSIGN_OR_RETURN(std::unique_ptr<models::Model> model,
                              models::CreateModel(job.job, *device));
    return std::unique_ptr<worker::StageBodies>(std::make_unique<worker::Bodies>(
        job.job, *source, std::move(model), job.work_dir + "/exports"));
  };
  config.lanes = job.job.cluster().lanes();
  config.first_lane = first_lane;
  config.host_name = HostName();
  config.name = name;
  config.started_ms = runtime::UnixMs();
  config.job_fingerprint = job.fingerprint;
  EMPORIUM_ASSIGN_OR_RETURN(role->worker_, worker::Worker::Start(config));
  return role;
}

Result<std::unique_ptr<ps::Server>> StartServer(const JobContext& job,
                                                std::vector<std::string> endpoints,
                                                runtime::Context* transport,
                                                control::SchedulerIf* scheduler,
                                                const std::string& name) {
  runtime::KeepFreedMemory();
  ps::ServerConfig config;
  config.job = job.job;
  config.job_fingerprint = job.fingerprint;
  config.host_name = HostName();
  config.name = name;
  config.started_ms = runtime::UnixMs();
  config.endpoints = std::move(endpoints);
  config.context = transport;
  config.scheduler = scheduler;
  return ps::Server::Start(std::move(config));
}

}  // namespace emporium::cluster
