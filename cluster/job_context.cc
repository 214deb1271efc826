#include "cluster/job_context.h"

#include <cstdio>
#include <filesystem>

#include "cluster/flags.h"
#include "cluster/portable.h"
#include "cluster/verb.h"
#include "models/model.h"
#include "proto/job_file.h"
#include "runtime/file.h"
#include "runtime/fingerprint.h"
#include "worker/source_columns.h"

namespace emporium::cluster {
namespace {

namespace fs = std::filesystem;

// Writes the command line's wishes into the job; an error message when one is out of range.
std::string ApplyFlags(spec::Job* job) {
  spec::Cluster* cluster = job->mutable_cluster();
  if (FLAGS_workers < 0 || FLAGS_servers < 0 || FLAGS_shards_per_server < 0 || FLAGS_lanes < 0) {
    return "--workers, --servers, --shards_per_server and --lanes take positive numbers";
  }
  if (FLAGS_workers > 0) cluster->set_workers(FLAGS_workers);
  if (FLAGS_servers > 0) cluster->set_servers(FLAGS_servers);
  if (FLAGS_shards_per_server > 0) cluster->set_shards_per_server(FLAGS_shards_per_server);
  if (FLAGS_lanes > 0) cluster->set_lanes(FLAGS_lanes);
  if (FLAGS_device == "cuda") {
    cluster->set_device(spec::Cluster::CUDA);
  } else if (FLAGS_device == "cpu") {
    cluster->set_device(spec::Cluster::CPU);
  } else if (!FLAGS_device.empty()) {
    return "--device is \"" + FLAGS_device + "\"; it takes cpu or cuda";
  }
  return "";
}

void Print(const std::vector<Complaint>& complaints) {
  for (const Complaint& complaint : complaints) {
    std::fprintf(stderr, "%s\n", complaint.ToString().c_str());
  }
}

// Whether the data files are there and have the columns that the job reads.
std::vector<Complaint> CheckData(const JobContext& context) {
  std::vector<Complaint> all;
  const spec::Data& data = context.job.data();
  const auto check = [&](DataRole role, const spec::TextSource& source, const char* field) {
    Result<worker::SourceColumns> found = worker::ReadSourceColumns(source, context.data_dir);
    if (!found.ok()) {
      all.push_back({context.job_path, 0, field, found.status().message(),
                     "name files that are there, or give their directory by --data"});
      return;
    }
    if (found->columns.empty()) return;
    for (Complaint& c : CheckColumns(context.job, role, found->file, found->columns)) {
      all.push_back(std::move(c));
    }
  };
  check(DataRole::kEvents, data.events(), "data.events.file");
  if (data.has_items()) check(DataRole::kItems, data.items(), "data.items.file");
  return all;
}

}  // namespace

int LoadJob(const std::string& path, bool with_data, JobContext* context) {
  std::vector<Complaint> complaints;
  Result<spec::Job> job = LoadJobFile(path, &complaints);
  if (!job.ok()) {
    Print(complaints);
    return complaints.empty() ? Fail(kExitUsage, job.status().message()) : kExitUsage;
  }
  context->job = *job;
  context->job_path = path;
  if (const std::string error = ApplyFlags(&context->job); !error.empty()) {
    return Fail(kExitUsage, error);
  }
  if (job->cluster().portable_bits()) {
    if (Status capped = CapInstructionSet(); !capped.ok()) {
      return Fail(kExitFailed, capped.message());
    }
  }
  Result<std::string> text = runtime::ReadFile(path);
  if (!text.ok()) return Fail(kExitUsage, text.status().message());
  context->job_text = *text;

  const fs::path directory = fs::absolute(path).parent_path();
  context->data_dir = FLAGS_data.empty() ? directory.string() : fs::absolute(FLAGS_data).string();
  const std::string given = job->has_work_dir() ? job->work_dir() : job->name() + ".emporium";
  context->work_dir = FLAGS_work_dir.empty() ? (directory / given).lexically_normal().string()
                                             : fs::absolute(FLAGS_work_dir).string();

  Result<std::unique_ptr<models::Model>> model = models::CreateModel(context->job);
  if (!model.ok()) return Fail(kExitUsage, path + ": " + model.status().message());
  if (Status completed = models::CompleteJob(**model, &context->job); !completed.ok()) {
    return Fail(kExitUsage, path + ": " + completed.message());
  }
  context->fingerprint = runtime::JobFingerprint(context->job);
  if (with_data) {
    complaints = CheckData(*context);
    if (!complaints.empty()) {
      if (Status located = LocateComplaints(path, &complaints); !located.ok()) {
        return Fail(kExitUsage, located.message());
      }
      Print(complaints);
      return kExitUsage;
    }
  }
  return kExitOk;
}

}  // namespace emporium::cluster
