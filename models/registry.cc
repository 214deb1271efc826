#include "models/registry.h"

#include <algorithm>

namespace emporium::models {

namespace {

constexpr ModelEntry kModels[] = {
    {spec::Model::kTwoTower, "[CODE; context tower OURS]",
     "retrieval: user tower over the history, item tower, learned popularity",
     "history, user, item and time columns; popularity of the items for in-batch negatives",
     MakeTwoTower},
    {spec::Model::kDeepfm, "[CODE]", "linear + factorisation machine + MLP", "-", MakeDeepFm},
    {spec::Model::kLr, "[CODE]", "logistic regression", "-", MakeLr},
    {spec::Model::kFm, "[CODE]", "factorisation machine + linear", "-", MakeFm},
    {spec::Model::kDnn, "[CODE]", "MLP", "-", MakeDnn},
    {spec::Model::kWdl, "[CODE]", "wide and deep: linear + MLP", "-", MakeWdl},
    {spec::Model::kDcn, "[CODE]", "cross network, vector form, with MLP", "-", MakeDcn},
    {spec::Model::kDcnV2, "[CODE]", "cross network, matrix form, with MLP", "-", MakeDcnV2},
    {spec::Model::kDcnMix, "[CODE]", "cross network, low-rank experts, with MLP", "-", MakeDcnMix},
    {spec::Model::kSharedBottom, "[CODE]", "several tasks: one MLP, a tower each",
     "task, two or more", MakeSharedBottom},
    {spec::Model::kMmoe, "[CODE; with session length as a task OURS]",
     "several tasks: shared experts, a gate and a tower each", "task, two or more", MakeMmoe},
    {spec::Model::kPle, "[CODE]", "several tasks: experts of their own and shared ones, in layers",
     "task, two or more", MakePle},
    {spec::Model::kEsmm, "[PAPER]", "conversion over all impressions: a tower each, products",
     "task, two or more, all but the first entire_space", MakeEsmm},
    {spec::Model::kDin, "[CODE]", "target attention over the user's earlier events",
     "pairs of a target and its history", MakeDin},
    {spec::Model::kBst, "[CODE]", "transformer over earlier events and target",
     "pairs of a target and its history", MakeBst},
    {spec::Model::kBstDin, "[OURS]", "transformer over earlier events, target attention over it",
     "pairs of a target and its history", MakeBstDin},
    {spec::Model::kSasrec, "[CODE; attributes, similarity and relative bias OURS]",
     "retrieval: causal transformer over the history",
     "history, user, item and time columns; popularity of the items for in-batch negatives",
     MakeSasRec},
    {spec::Model::kScenarioBottom, "[CODE]", "several scenarios: one MLP, a tower each",
     "data.scenario", MakeScenarioBottom},
    {spec::Model::kScenarioMmoe, "[CODE]",
     "several scenarios: shared experts, a gate and a tower each", "data.scenario",
     MakeScenarioMmoe},
    {spec::Model::kScenarioPle, "[CODE]",
     "several scenarios: experts of their own and shared ones, in layers", "data.scenario",
     MakeScenarioPle},
    {spec::Model::kHmoe, "[CODE]", "several scenarios: shared experts, towers that help each other",
     "data.scenario", MakeHmoe},
    {spec::Model::kStar, "[THIRD-PARTY]",
     "several scenarios: shared weights times weights of their own", "data.scenario", MakeStar},
    {spec::Model::kPepnet, "[THIRD-PARTY]",
     "several scenarios: gates of scenario and person on an MLP", "data.scenario", MakePepNet},
    {spec::Model::kSfpnet, "[OURS]",
     "several scenarios: every earlier event fitted to the scenario",
     "data.scenario, pairs of a target and its history", MakeSfpNet},
    {spec::Model::kNam, "[OURS]",
     "search: attention normalised over all items, gated by the target's rarity",
     "pairs of a target and its history; popularity and fed slots of their table", MakeNam},
};

}  // namespace

std::span<const ModelEntry> Registry() { return kModels; }

Result<std::unique_ptr<Model>> CreateModel(const spec::Job& job, Device& device) {
  const spec::Model::KindCase kind = job.model().kind_case();
  const auto entry = std::find_if(std::begin(kModels), std::end(kModels),
                                  [kind](const ModelEntry& e) { return e.kind == kind; });
  if (entry == std::end(kModels)) {
    return InvalidArgument("model: there is none; set one that `emporium models` lists");
  }
  return entry->make(job, device);
}

Result<std::unique_ptr<Model>> CreateModel(const spec::Job& job) { return CreateModel(job, Cpu()); }

Status CompleteJob(const Model& model, spec::Job* job) {
  constexpr const char* kName = "statistics";
  const std::vector<DenseParameter>& parameters = model.parameters();
  const auto is_statistic = [](const DenseParameter& p) { return p.statistic; };
  const auto keeps = [](const spec::DenseGroup& group) { return group.statistics(); };
  if (std::none_of(parameters.begin(), parameters.end(), is_statistic) ||
      std::any_of(job->dense().begin(), job->dense().end(), keeps)) {
    return Status::Ok();
  }
  const auto taken = [](const auto& table) { return table.name() == kName; };
  if (std::any_of(job->table().begin(), job->table().end(), taken) ||
      std::any_of(job->dense().begin(), job->dense().end(), taken)) {
    return InvalidArgument(
        "dense: the model keeps statistics, in a table of the name 'statistics', which is taken; "
        "rename that table, or add a dense group with statistics: true");
  }
  if (job->dense().empty()) {  // what an empty list stands for
    spec::DenseGroup* rest = job->add_dense();
    rest->set_name("dense");
    rest->mutable_optimizer()->mutable_adamw();
  }
  spec::DenseGroup* group = job->add_dense();
  group->set_name(kName);
  group->set_statistics(true);
  group->mutable_optimizer()->mutable_sgd()->set_learning_rate(0.1f);
  return Status::Ok();
}

}  // namespace emporium::models
