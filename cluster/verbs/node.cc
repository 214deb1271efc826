// The roles that `launch` starts as processes: `scheduler`, `server`, `worker`. People may start
// more of the latter two by hand, with the scheduler's address.
#include "cluster/node.h"

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <thread>

#include "cluster/flags.h"
#include "cluster/job_context.h"
#include "cluster/node_address.h"
#include "cluster/report.h"
#include "cluster/signals.h"
#include "cluster/verb.h"
#include "runtime/clock.h"
#include "runtime/control_client.h"
#include "runtime/failpoint.h"
#include "runtime/log.h"
#include "runtime/thrift_server.h"
#include "scheduler/http.h"
#include "scheduler/service.h"

namespace emporium::cluster {
namespace {

// A handler for Thrift, which shares ownership; the service itself is owned by the verb.
std::shared_ptr<control::SchedulerIf> Borrow(control::SchedulerIf* handler) {
  return {handler, [](control::SchedulerIf*) {}};
}

Status TellReady(const std::string& line) {
  if (FLAGS_ready_fd < 0) return Status::Ok();
  const std::string text = line + "\n";
  const ssize_t written = write(FLAGS_ready_fd, text.data(), text.size());
  close(FLAGS_ready_fd);
  if (written != static_cast<ssize_t>(text.size())) {
    return Unavailable("cannot tell the launcher that the process is ready");
  }
  return Status::Ok();
}

// Waits for a role that ends by itself; the first signal asks it to leave, a second one ends the
// process. Returns its result.
template <class Role>
Status WaitFor(SignalWatch* signals, Role* role) {
  Status result;
  std::thread joiner([&] {
    result = role->Join();
    signals->Interrupt();
  });
  bool asked = false;
  while (true) {
    const int signal = signals->Wait(-1);
    if (signal == 0) break;  // the role has ended
    if (asked) std::_Exit(kExitInterrupted);
    asked = true;
    role->RequestStop();
  }
  joiner.join();
  return result;
}

// The scheduler as such a role.
struct SchedulerRole {
  scheduler::SchedulerService* service;
  Status Join() const { return service->WaitUntilDone(); }
  void RequestStop() const { service->RequestStop("asked to stop"); }
};

int ArmFailpoint() {
  if (FLAGS_failpoint.empty()) return kExitOk;
  const Status armed = runtime::ArmFailpoint(FLAGS_failpoint);
  return armed.ok() ? kExitOk : Fail(kExitUsage, armed.message());
}

int RunScheduler(const std::vector<std::string>& arguments) {
  SignalWatch signals;
  if (const int code = ArmFailpoint(); code != 0) return code;
  JobContext context;
  if (const int code = LoadJob(arguments[0], false, &context); code != 0) return code;
  const runtime::SystemClock clock;
  scheduler::SchedulerService::Config config;
  config.job = context.job;
  config.job_text = context.job_text;
  config.fingerprint = context.fingerprint;
  config.work_dir = context.work_dir;
  config.servers = context.job.cluster().servers();
  config.workers = context.job.cluster().workers();
  config.heartbeat_ms = context.job.cluster().heartbeat_ms();
  config.lease_ms = context.job.cluster().lease_ms();
  config.rejoin = FLAGS_rejoin;
  config.clock = &clock;
  Result<std::unique_ptr<scheduler::SchedulerService>> service =
      scheduler::SchedulerService::Start(std::move(config));
  if (!service.ok()) return Fail(kExitFailed, service.status().ToString());
  Result<std::unique_ptr<runtime::ThriftServer>> thrift =
      runtime::ThriftServer::Start(Borrow(service->get()), FLAGS_bind, FLAGS_port);
  if (!thrift.ok()) return Fail(kExitFailed, thrift.status().ToString());
  Result<std::unique_ptr<scheduler::HttpServer>> http = scheduler::HttpServer::Start(
      FLAGS_bind, FLAGS_http_port, [&service] { return (*service)->StatusJson(); },
      [&service] { return (*service)->PrometheusText(); });
  if (!http.ok()) return Fail(kExitFailed, http.status().ToString());
  const std::string port = std::to_string((*thrift)->port());
  Status status = WriteSchedulerAddress(context.address_path(), FLAGS_bind + ":" + port,
                                        FLAGS_bind + ":" + std::to_string((*http)->port()));
  if (status.ok()) status = TellReady(port);
  if (!status.ok()) return Fail(kExitFailed, status.ToString());

  SchedulerRole role{service->get()};
  const Status result = WaitFor(&signals, &role);
  WriteLastStatus(context, (*service)->StatusJson());
  (*service)->Close();
  (*thrift)->Stop();
  (*http)->Stop();
  unlink(context.address_path().c_str());
  if (result.ok()) return kExitOk;
  return Fail(result.code() == StatusCode::kCancelled ? kExitInterrupted : kExitFailed,
              result.ToString());
}

int Report(const Status& result) {
  if (result.ok()) return kExitOk;
  return Fail(result.code() == StatusCode::kCancelled ? kExitOk : kExitFailed, result.ToString());
}

// The job that a node is to work for, and the way to its scheduler. An exit code, 0 when both are
// there.
int JoinJob(const std::string& path, JobContext* context,
            std::unique_ptr<control::SchedulerIf>* scheduler) {
  if (const int code = ArmFailpoint(); code != 0) return code;
  if (const int code = LoadJob(path, false, context); code != 0) return code;
  Result<std::unique_ptr<control::SchedulerIf>> connected = ConnectTo(FLAGS_scheduler);
  if (!connected.ok()) return Fail(kExitUsage, connected.status().message());
  *scheduler = std::move(connected).value();
  return kExitOk;
}

int RunServer(const std::vector<std::string>& arguments) {
  SignalWatch signals;
  JobContext context;
  std::unique_ptr<control::SchedulerIf> scheduler;
  if (const int code = JoinJob(arguments[0], &context, &scheduler); code != 0) return code;
  runtime::Context transport;
  const std::vector<std::string> endpoints(context.job.cluster().shards_per_server(),
                                           "tcp://" + FLAGS_bind + ":0");
  Result<std::unique_ptr<ps::Server>> server =
      StartServer(context, endpoints, &transport, scheduler.get(), FLAGS_name);
  if (!server.ok()) return Fail(kExitFailed, server.status().ToString());
  return Report(WaitFor(&signals, server->get()));
}

int RunWorker(const std::vector<std::string>& arguments) {
  SignalWatch signals;
  JobContext context;
  std::unique_ptr<control::SchedulerIf> scheduler;
  if (FLAGS_first_lane < 0) return Fail(kExitUsage, "--first_lane takes a number from 0");
  if (const int code = JoinJob(arguments[0], &context, &scheduler); code != 0) return code;
  runtime::Context transport;
  Result<std::unique_ptr<WorkerRole>> role = WorkerRole::Start(
      context, &transport, scheduler.get(), static_cast<uint32_t>(FLAGS_first_lane), FLAGS_name);
  if (!role.ok()) return Fail(kExitFailed, role.status().ToString());
  return Report(WaitFor(&signals, &(*role)->worker()));
}

}  // namespace

std::vector<Verb> NodeVerbs() {
  const std::vector<std::string> scheduler = {"work_dir", "workers",  "servers",
                                              "bind",     "port",     "http_port",
                                              "rejoin",   "ready_fd", "failpoint"};
  const std::vector<std::string> server = {"scheduler", "work_dir", "shards_per_server",
                                           "bind",      "name",     "failpoint"};
  const std::vector<std::string> worker = {"scheduler",  "work_dir", "lanes",    "device",
                                           "first_lane", "name",     "failpoint"};
  return {
      {"scheduler", "JOB", "run the scheduler of a job", scheduler, 1, 1, RunScheduler, true},
      {"server", "JOB --scheduler=HOST:PORT", "run one parameter server of a job", server, 1, 1,
       RunServer, true},
      {"worker", "JOB --scheduler=HOST:PORT", "run one worker of a job", worker, 1, 1, RunWorker,
       true},
  };
}

}  // namespace emporium::cluster
