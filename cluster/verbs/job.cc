// `emporium run`, `launch`, `check` and `models`.
#include <google/protobuf/descriptor.h>

#include <cinttypes>
#include <cstdio>
#include <filesystem>

#include "cluster/dataset_step.h"
#include "cluster/flags.h"
#include "cluster/job_context.h"
#include "cluster/launch.h"
#include "cluster/local.h"
#include "cluster/verb.h"
#include "models/model.h"
#include "models/registry.h"

namespace emporium::cluster {
namespace {

namespace fs = std::filesystem;

// Everything that an earlier run left, but for the converted data.
Status ForgetEarlierRun(const JobContext& context) {
  for (const std::string& path :
       {context.checkpoint_dir(), context.work_dir + "/exports", context.state_path(),
        context.state_path() + "-wal", context.state_path() + "-shm", context.status_path()}) {
    std::error_code error;
    fs::remove_all(path, error);
    if (error) return Unavailable(path + ": cannot be removed: " + error.message());
  }
  return Status::Ok();
}

int LoadForRun(const std::string& path, JobContext* context) {
  if (const int code = LoadJob(path, true, context); code != 0) return code;
  if (FLAGS_fresh) {
    if (Status forgotten = ForgetEarlierRun(*context); !forgotten.ok()) {
      return Fail(kExitFailed, forgotten.message());
    }
  }
  return kExitOk;
}

int RunJob(const std::vector<std::string>& arguments) {
  SignalWatch signals;
  JobContext context;
  if (const int code = LoadForRun(arguments[0], &context); code != 0) return code;
  return RunLocal(context, LocalWork::kWholeJob, &signals);
}

int RunLaunch(const std::vector<std::string>& arguments) {
  SignalWatch signals;
  JobContext context;
  if (const int code = LoadForRun(arguments[0], &context); code != 0) return code;
  if (Status prepared = PrepareData(context, context.dataset_dir()); !prepared.ok()) {
    return Fail(kExitFailed, prepared.ToString());
  }
  return Launch(context, &signals);
}

int RunCheck(const std::vector<std::string>& arguments) {
  JobContext context;
  if (const int code = LoadJob(arguments[0], true, &context); code != 0) return code;
  std::printf("%s: ok: %d table(s), %d feature(s), %d stage(s)\n", arguments[0].c_str(),
              context.job.table_size(), context.job.feature_size(), context.job.stage_size());
  if (FLAGS_parameters) {
    Result<std::unique_ptr<models::Model>> model = models::CreateModel(context.job);
    if (!model.ok()) return Fail(kExitUsage, model.status().message());
    for (const models::DenseParameter& p : (*model)->parameters()) {
      std::printf("  %-48s %10" PRId64 "%s\n", p.name.c_str(), p.size,
                  p.train_only  ? "  (training only)"
                  : p.statistic ? "  (statistic)"
                                : "");
    }
  }
  return kExitOk;
}

// "name: type = default" of every option of a model, sub-messages by their type.
void PrintOptions(const google::protobuf::Descriptor& options) {
  using google::protobuf::FieldDescriptor;
  for (int i = 0; i < options.field_count(); ++i) {
    const FieldDescriptor& field = *options.field(i);
    std::string type = field.type_name();
    std::string start;
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        type = field.message_type()->name() + " {}";
        break;
      case FieldDescriptor::CPPTYPE_ENUM:
        type = field.enum_type()->name();
        start = field.default_value_enum()->name();
        break;
      case FieldDescriptor::CPPTYPE_UINT32:
        start = std::to_string(field.default_value_uint32());
        break;
      case FieldDescriptor::CPPTYPE_FLOAT:
        start = std::to_string(field.default_value_float());
        break;
      case FieldDescriptor::CPPTYPE_BOOL:
        start = field.default_value_bool() ? "true" : "false";
        break;
      default:
        break;
    }
    const bool told = field.has_default_value() && !start.empty();
    std::printf("    %-20s %s%s%s\n", field.name().c_str(),
                (field.is_repeated() ? "list of " + type : type).c_str(), told ? ", default " : "",
                told ? start.c_str() : "");
  }
}

int RunModels(const std::vector<std::string>& /*arguments*/) {
  for (const models::ModelEntry& entry : models::Registry()) {
    const auto& kind = *spec::Model::descriptor()->FindFieldByNumber(entry.kind);
    std::printf("%s  %s\n  %s\n  needs: %s\n  options:\n", kind.name().c_str(), entry.tag,
                entry.summary, entry.hooks);
    PrintOptions(*kind.message_type());
  }
  return kExitOk;
}

}  // namespace

std::vector<Verb> JobVerbs() {
  const std::vector<std::string> shape = {
      "data", "work_dir", "workers", "servers", "shards_per_server", "lanes", "device", "fresh"};
  std::vector<std::string> launch = shape;
  launch.insert(launch.end(), {"port", "http_port", "failpoint"});
  return {
      {"run", "JOB [--data=DIR]", "run a job in this process, or go on where it stopped", shape, 1,
       1, RunJob},
      {"launch", "JOB [--data=DIR] [--workers=W] [--servers=S]",
       "run a job as processes of this host, or go on where it stopped", launch, 1, 1, RunLaunch},
      {"check",
       "JOB [--data=DIR]",
       "say everything that is wrong with a job file, before anything starts",
       {"data", "work_dir", "parameters"},
       1,
       1,
       RunCheck},
      {"models", "", "list the models, where each is from, and its options", {}, 0, 0, RunModels},
  };
}

}  // namespace emporium::cluster
