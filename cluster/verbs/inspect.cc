// `emporium status`, `scale` and `checkpoint`: what runs, and what lies on disk.
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cluster/flags.h"
#include "cluster/job_context.h"
#include "cluster/node_address.h"
#include "cluster/report.h"
#include "cluster/verb.h"
#include "ps/checkpoint.h"
#include "runtime/control_client.h"
#include "runtime/file.h"
#include "runtime/manifest.h"

namespace emporium::cluster {
namespace {

// JOB or, with --scheduler, a host:port.
int RunStatus(const std::vector<std::string>& arguments) {
  std::string address = FLAGS_scheduler;
  JobContext context;
  if (address.empty()) {
    if (arguments.empty()) return Fail(kExitUsage, "usage: emporium status JOB | --scheduler=H:P");
    if (const int code = LoadJob(arguments[0], false, &context); code != 0) return code;
    Result<std::string> found = ReadSchedulerAddress(context.address_path());
    if (found.ok()) address = *found;
  }
  if (!address.empty()) {
    Result<std::unique_ptr<control::SchedulerIf>> scheduler = ConnectTo(address);
    if (!scheduler.ok()) return Fail(kExitUsage, scheduler.status().message());
    control::JobStatus status;
    const Status asked = runtime::CallScheduler([&] { (*scheduler)->status(status); });
    if (asked.ok()) {
      std::printf("%s\n", status.json.c_str());
      return kExitOk;
    }
    if (arguments.empty()) return Fail(kExitFailed, address + ": " + asked.message());
  }
  Result<std::string> last = runtime::ReadFile(context.status_path());
  if (!last.ok()) {
    return Fail(kExitFailed, "the job does not run and has left no status in " + context.work_dir +
                                 "; start it with `emporium run` or `emporium launch`");
  }
  std::fprintf(stderr, "emporium: the job does not run; this is its last status\n");
  std::printf("%s\n", last->c_str());
  return kExitOk;
}

void PrintLine(const runtime::CheckpointInfo& info) {
  if (!info.status.ok()) {
    std::printf("%-8" PRIu64 " %s\n", info.number, info.status.ToString().c_str());
    return;
  }
  uint64_t bytes = 0;
  uint64_t parent = 0;  // whose files it has changes to, if to any
  int files = 0;
  for (const spec::ManifestFile& file : info.manifest.file()) {
    if (file.has_checkpoint()) {
      parent = std::max(parent, file.checkpoint());
    } else {
      bytes += file.bytes();
      ++files;
    }
  }
  const std::string changes = parent > 0 ? "changes since " + std::to_string(parent) + ", " : "";
  std::printf("%-8" PRIu64 " stage %u%s, step %" PRIu64 ", %d file(s), %.1f MB, %sdigest %.16s\n",
              info.number, info.manifest.stage(), info.manifest.stage_done() ? " (done)" : "",
              info.manifest.step(), files, static_cast<double>(bytes) / 1e6, changes.c_str(),
              info.manifest.content_digest().c_str());
}

int ListAll(const std::string& root) {
  Result<std::vector<runtime::CheckpointInfo>> all = runtime::ListCheckpoints(root);
  if (!all.ok()) return Fail(kExitFailed, all.status().message());
  if (all->empty()) return Fail(kExitFailed, root + ": no checkpoints");
  for (const runtime::CheckpointInfo& info : *all) PrintLine(info);
  return kExitOk;
}

int Show(const std::string& dir) {
  Result<spec::CheckpointManifest> manifest = runtime::ReadManifest(dir);
  if (!manifest.ok()) return Fail(kExitFailed, manifest.status().ToString());
  manifest->clear_scheduler_state();
  std::printf("%s", manifest->DebugString().c_str());
  return kExitOk;
}

int VerifyOne(const std::string& dir) {
  std::string report;
  const Status status = ps::VerifyCheckpoint(dir, &report);
  if (!status.ok()) return Fail(kExitFailed, status.ToString());
  std::printf("%s", report.c_str());
  return kExitOk;
}

// The scheduler of a job that runs.
int SchedulerOf(const JobContext& context, std::unique_ptr<control::SchedulerIf>* scheduler) {
  Result<std::string> address = ReadSchedulerAddress(context.address_path());
  if (!address.ok()) return Fail(kExitFailed, address.status().message());
  Result<std::unique_ptr<control::SchedulerIf>> connected = ConnectTo(*address);
  if (!connected.ok()) return Fail(kExitFailed, connected.status().message());
  *scheduler = std::move(connected).value();
  return kExitOk;
}

// A running job takes one at the end of the step in work.
int Take(const std::string& job_path) {
  JobContext context;
  if (const int code = LoadJob(job_path, false, &context); code != 0) return code;
  std::unique_ptr<control::SchedulerIf> scheduler;
  if (const int code = SchedulerOf(context, &scheduler); code != 0) return code;
  const Status asked = runtime::CallScheduler([&] { scheduler->requestCheckpoint(); });
  if (!asked.ok()) return Fail(kExitFailed, asked.message());
  std::printf("asked for; `emporium checkpoint list %s` shows it when it is whole\n",
              job_path.c_str());
  return kExitOk;
}

// What starts the job's workers starts more of them, or asks some to leave.
int RunScale(const std::vector<std::string>& arguments) {
  if (FLAGS_workers < 1) return Fail(kExitUsage, "say how many workers: --workers=N");
  JobContext context;
  if (const int code = LoadJob(arguments[0], false, &context); code != 0) return code;
  std::unique_ptr<control::SchedulerIf> scheduler;
  if (const int code = SchedulerOf(context, &scheduler); code != 0) return code;
  const Status asked = runtime::CallScheduler([&] { scheduler->scale(FLAGS_workers); });
  if (!asked.ok()) return Fail(kExitFailed, asked.message());
  std::printf("asked for %d workers; `emporium status %s` shows them\n", FLAGS_workers,
              arguments[0].c_str());
  return kExitOk;
}

// The directory of checkpoints of a job file, or the argument itself.
int RootOf(const std::string& argument, std::string* root) {
  if (!argument.ends_with(".textproto") && !argument.ends_with(".job")) {
    *root = argument;
    return kExitOk;
  }
  JobContext context;
  const int code = LoadJob(argument, false, &context);
  *root = context.checkpoint_dir();
  return code;
}

int RunCheckpoint(const std::vector<std::string>& arguments) {
  const std::string& what = arguments[0];
  if (what == "take") return Take(arguments[1]);
  if (what == "show") return Show(arguments[1]);
  if (what == "verify" || what == "list") {
    std::string root;
    if (const int code = RootOf(arguments[1], &root); code != 0) return code;
    if (what == "list") return ListAll(root);
    if (root == arguments[1]) return VerifyOne(root);
    Result<std::vector<runtime::CheckpointInfo>> all = runtime::ListCheckpoints(root);
    if (!all.ok()) return Fail(kExitFailed, all.status().message());
    if (all->empty()) return Fail(kExitFailed, root + ": no checkpoints");
    return VerifyOne(all->back().dir);
  }
  return Fail(kExitUsage, "unknown action \"" + what + "\"; it is list, show, verify or take");
}

}  // namespace

std::vector<Verb> InspectVerbs() {
  return {
      {"status",
       "[JOB] [--scheduler=HOST:PORT]",
       "print the status of a running job (or the last one of a job that ended) as JSON",
       {"scheduler", "work_dir"},
       0,
       1,
       RunStatus},
      {"scale",
       "JOB --workers=N",
       "ask a launched job for another number of workers, while it runs",
       {"work_dir", "workers"},
       1,
       1,
       RunScale},
      {"checkpoint",
       "list JOB|DIR | show DIR | verify JOB|DIR | take JOB",
       "list checkpoints, show a manifest, read one back whole, or ask a running job for one",
       {"work_dir"},
       2,
       2,
       RunCheckpoint},
  };
}

}  // namespace emporium::cluster
