// `emporium convert` and `generate`: data before it is trained on.
#include <cstdio>

#include "cluster/dataset_step.h"
#include "cluster/flags.h"
#include "cluster/job_context.h"
#include "cluster/verb.h"
#include "runtime/file.h"
#include "worker/synthetic.h"

namespace emporium::cluster {
namespace {

int RunConvert(const std::vector<std::string>& arguments) {
  JobContext context;
  if (const int code = LoadJob(arguments[0], true, &context); code != 0) return code;
  if (Status prepared = PrepareData(context, arguments[1]); !prepared.ok()) {
    return Fail(kExitFailed, prepared.ToString());
  }
  std::printf("a job may now name %s as data.events.file and data.items.file\n",
              arguments[1].c_str());
  return kExitOk;
}

int RunGenerate(const std::vector<std::string>& arguments) {
  if (FLAGS_users < 1 || FLAGS_items < 1 || FLAGS_days <= 0) {
    return Fail(kExitUsage, "--users, --items and --days take positive numbers");
  }
  worker::SyntheticShopOptions options;
  options.seed = static_cast<uint64_t>(FLAGS_seed);
  options.users = FLAGS_users;
  options.items = FLAGS_items;
  options.days = FLAGS_days;
  Status done = runtime::MakeDirs(arguments[0]);
  if (done.ok()) done = worker::WriteSyntheticShop(arguments[0], options);
  if (!done.ok()) return Fail(kExitFailed, done.ToString());
  std::printf("%s: events.csv and items.csv of a made-up shop, %d users, %d items\n",
              arguments[0].c_str(), options.users, options.items);
  return kExitOk;
}

}  // namespace

std::vector<Verb> DataVerbs() {
  return {
      {"convert",
       "JOB OUT_DIR [--data=DIR]",
       "turn a job's text into column files, which are read several times faster",
       {"data", "work_dir"},
       2,
       2,
       RunConvert},
      {"generate",
       "OUT_DIR [--users=2000] [--items=1000]",
       "write the events of a made-up shop with planted structure",
       {"users", "items", "days", "seed"},
       1,
       1,
       RunGenerate},
  };
}

}  // namespace emporium::cluster
