// `emporium query`: what an export recommends. `emporium export`: the export stages of a job again,
// from its newest checkpoint.
#include <cstdio>
#include <filesystem>

#include "cluster/flags.h"
#include "cluster/job_context.h"
#include "cluster/local.h"
#include "cluster/verb.h"
#include "worker/dataset.h"
#include "worker/query.h"

namespace emporium::cluster {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLikedShown = 10;

void PrintItem(size_t place, const std::string& id, const std::string& title, const char* score) {
  std::printf("%4zu  %-10s %s  %s\n", place, id.c_str(), score, title.c_str());
}

// The newest items of a user, so that a reader can compare them with what is recommended.
void PrintPast(const worker::Dataset& dataset, int32_t user) {
  const std::span<const int32_t> events = dataset.events_of_user(user);
  std::printf("the newest of %zu items in this user's past:\n", events.size());
  for (size_t i = 0; i < std::min(kLikedShown, events.size()); ++i) {
    const int32_t item = dataset.event_item()[events[events.size() - 1 - i]];
    if (item < 0) continue;
    PrintItem(i + 1, std::string(dataset.item_id(item)), std::string(dataset.item_title(item)),
              "      ");
  }
}

// The data set of the run that made the export, when it is still there: <work>/exports/<stage>.
std::unique_ptr<worker::Dataset> DatasetOf(const std::string& export_dir) {
  const fs::path work = fs::absolute(export_dir).lexically_normal().parent_path().parent_path();
  Result<std::unique_ptr<worker::Dataset>> dataset =
      worker::Dataset::Open((work / "dataset").string());
  return dataset.ok() ? std::move(dataset).value() : nullptr;
}

int RunQuery(const std::vector<std::string>& arguments) {
  if (FLAGS_user.empty() == FLAGS_item.empty()) {
    return Fail(kExitUsage, "give one of --user=ID and --item=ID");
  }
  if (FLAGS_k < 1)
    return Fail(kExitUsage, "--k is " + std::to_string(FLAGS_k) + "; it starts at 1");
  std::string dir = arguments[0];
  while (dir.size() > 1 && dir.back() == '/') dir.pop_back();
  Result<std::unique_ptr<worker::ExportQuery>> query = worker::ExportQuery::Open(dir);
  if (!query.ok()) return Fail(kExitFailed, query.status().ToString());

  const std::unique_ptr<worker::Dataset> dataset = DatasetOf(dir);
  const int32_t user =
      dataset == nullptr || FLAGS_user.empty() ? -1 : dataset->FindUser(FLAGS_user);
  Result<std::vector<worker::Recommendation>> found =
      FLAGS_user.empty() ? (*query)->ForItem(FLAGS_item, FLAGS_k)
                         : (*query)->ForUser(FLAGS_user, FLAGS_k, dataset.get());
  if (!found.ok()) return Fail(kExitFailed, found.status().message());
  if (user >= 0) PrintPast(*dataset, user);
  std::printf("%s:\n", FLAGS_user.empty() ? "most alike" : "recommended");
  for (size_t i = 0; i < found->size(); ++i) {
    const worker::Recommendation& r = (*found)[i];
    char score[24];
    std::snprintf(score, sizeof(score), "%6.3f", r.score);
    PrintItem(i + 1, r.id, r.title, score);
  }
  return kExitOk;
}

int RunExport(const std::vector<std::string>& arguments) {
  SignalWatch signals;
  JobContext context;
  if (const int code = LoadJob(arguments[0], true, &context); code != 0) return code;
  return RunLocal(context, LocalWork::kExportOnly, &signals);
}

}  // namespace

std::vector<Verb> ServeVerbs() {
  return {
      {"export",
       "JOB [--data=DIR]",
       "run the job's export stages again, from its newest checkpoint",
       {"data", "work_dir", "lanes", "device"},
       1,
       1,
       RunExport},
      {"query",
       "EXPORT_DIR --user=ID | --item=ID [--k=10]",
       "print what an export recommends to a user, or the items most like an item",
       {"user", "item", "k"},
       1,
       1,
       RunQuery},
  };
}

}  // namespace emporium::cluster
