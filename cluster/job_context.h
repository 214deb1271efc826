// A job as every verb and every process of it sees it: the checked job file, where its data and its
// work directory lie, and the shape that it runs in. Values; safe from any thread once made.
#pragma once

#include <string>

#include "proto/job.pb.h"
#include "proto/status.h"

namespace emporium::cluster {

struct JobContext {
  // Flags of the command line have been written into job.cluster, and what the model adds of its
  // own (models::CompleteJob) into the rest.
  spec::Job job;
  std::string job_path;
  std::string job_text;
  std::string fingerprint;
  std::string data_dir;  // where relative data files lie
  std::string work_dir;

  std::string dataset_dir() const { return work_dir + "/dataset"; }
  std::string checkpoint_dir() const { return work_dir + "/checkpoints"; }
  std::string export_dir(const std::string& stage) const { return work_dir + "/exports/" + stage; }
  std::string log_dir() const { return work_dir + "/logs"; }
  std::string state_path() const { return work_dir + "/state.sqlite"; }
  // Addresses of the scheduler that runs this job now, and the last status of one that ended.
  std::string address_path() const { return work_dir + "/scheduler.json"; }
  std::string status_path() const { return work_dir + "/status.json"; }
};

// Reads, checks and completes a job file. On a wrong job, prints every complaint
// ("file:line: field: what is wrong; what to do") to stderr and returns kExitUsage; on success 0.
// `with_data`: also look at the data files: that they exist and have the columns.
int LoadJob(const std::string& path, bool with_data, JobContext* context);

}  // namespace emporium::cluster
