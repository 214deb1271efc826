#include "models/zoo/two_tower_options.h"

#include <cmath>
#include <optional>
#include <string>

#include "models/job_view.h"
#include "models/zoo/retrieval.h"

namespace emporium::models {

namespace {

const std::string kField = "model.two_tower";
constexpr spec::FeatureSource kItemSources[] = {spec::ITEM, spec::ROW};
constexpr spec::FeatureSource kTitleSources[] = {spec::ITEM};
constexpr spec::FeatureSource kEventSources[] = {spec::HISTORY};
constexpr spec::FeatureSource kContextSources[] = {spec::ROW};

void ParseFeatures(const spec::Job& job, TwoTowerOptions& options, Complaints& complaints) {
  const spec::TwoTower& model = options.spec;
  auto item = FindTableFeature(job, kField + ".item_feature", model.item_feature(), kItemSources,
                               complaints);
  if (item) options.dim = item->dim();
  std::optional<TableFeature> title;
  if (model.has_title_feature()) {
    title = FindAddedFeature(job, kField + ".title_feature", model.title_feature(), kTitleSources,
                             options.dim, complaints);
    options.title = true;
    if (title) options.title_pool = PoolKindOf(title->feature->pooling());
  }
  if (model.has_action_feature()) {
    FindAddedFeature(job, kField + ".action_feature", model.action_feature(), kEventSources,
                     options.dim, complaints);
    options.action = true;
  }
  if (model.has_query_feature()) {
    auto query = FindAddedFeature(job, kField + ".query_feature", model.query_feature(),
                                  kEventSources, options.dim, complaints);
    options.query = true;
    if (query) options.query_pool = PoolKindOf(query->feature->pooling());
    if (query && title && query->table_id != title->table_id) {
      complaints.Add(kField + ".query_feature", "its words lie in table '" + query->table->name() +
                                                    "', those of the titles in '" +
                                                    title->table->name() +
                                                    "'; name the same table in both");
    }
  }
  for (int i = 0; i < model.context().feature_size(); ++i) {
    auto found = FindTableFeature(job, kField + ".context.feature", model.context().feature(i),
                                  kContextSources, complaints);
    if (!found) continue;
    options.context.push_back(
        {found->feature->name(), found->dim(), PoolKindOf(found->feature->pooling())});
  }
  if (model.has_context() && model.context().feature_size() == 0) {
    complaints.Add(kField + ".context.feature", "a context tower needs features; name some");
  }
  if (model.has_context() && model.context().hidden() == 0) {
    complaints.Add(kField + ".context.hidden", "the width is 0; give at least 1");
  }
}

void ParseTransformer(TwoTowerOptions& options, Complaints& complaints) {
  const std::string field = kField + ".user_tower.transformer";
  const spec::Transformer& t = options.spec.user_tower().transformer();
  options.width = static_cast<int32_t>(t.width());
  if (t.layers() == 0) complaints.Add(field + ".layers", "there is none; give at least 1");
  if (t.feed_forward() == 0) complaints.Add(field + ".feed_forward", "it is 0; give at least 1");
  if (t.width() == 0 || t.heads() == 0 || t.width() % t.heads() != 0) {
    complaints.Add(field + ".heads", std::to_string(t.heads()) + " heads do not divide width " +
                                         std::to_string(t.width()) + "; give a divisor");
  }
  if (!options.residual() && options.dim != 0 && options.width != options.dim) {
    complaints.Add(field + ".width", std::to_string(options.width) +
                                         ", but a plain item tower gives the table's dim " +
                                         std::to_string(options.dim) +
                                         "; make them equal, or use item_tower { residual {} }");
  }
  CheckRate(field + ".dropout", t.dropout(), complaints);
  CheckEdges(field + ".gap_edges_days",
             {t.gap_edges_days().data(), static_cast<size_t>(t.gap_edges_days_size())}, complaints);
}

void ParseTowers(TwoTowerOptions& options, Complaints& complaints) {
  const spec::UserTower& user = options.spec.user_tower();
  const std::string field = kField + ".user_tower";
  if (user.has_age_pooling()) {
    const auto& edges = user.age_pooling().age_edges_days();
    CheckEdges(field + ".age_pooling.age_edges_days",
               {edges.data(), static_cast<size_t>(edges.size())}, complaints);
    options.width = options.dim;
    for (bool used : {options.action, options.query}) {
      if (!used) continue;
      complaints.Add(field + ".age_pooling",
                     "it pools items and cannot use action_feature or query_feature; remove these, "
                     "or use transformer {}");
      break;
    }
  } else if (user.has_transformer()) {
    ParseTransformer(options, complaints);
  } else {
    complaints.Add(field, "there is none; set transformer {} or age_pooling {}");
  }
  CheckRate(field + ".history_dropout", user.history_dropout(), complaints);
  CheckRate(field + ".user_dropout", user.user_dropout(), complaints);
  if (options.residual() && options.spec.item_tower().residual().multiple() == 0) {
    complaints.Add(kField + ".item_tower.residual.multiple", "it is 0; give at least 1");
  }
  CheckScale(kField + ".initial_scale", options.spec.initial_scale(), complaints);
}

void ParsePopularity(TwoTowerOptions& options, Complaints& complaints) {
  if (!options.spec.has_popularity()) return;
  const spec::PopularityLogit& popularity = options.spec.popularity();
  options.counters = popularity.counter_size();
  if (options.counters == 0) {
    complaints.Add(kField + ".popularity.counter", "there is none; add at least one");
    return;
  }
  for (const auto& counter : popularity.counter()) {
    const float days = counter.kind_case() == spec::PopularityLogit::Counter::kWindowDays
                           ? counter.window_days()
                           : counter.half_life_days();
    if (!(days > 0)) {
      complaints.Add(kField + ".popularity.counter",
                     "a counter has no length; set window_days or half_life_days above 0");
    }
  }
  options.initial_beta = popularity.has_initial_beta()
                             ? popularity.initial_beta()
                             : 1.0f / static_cast<float>(options.counters);
}

void ParseStages(const spec::Job& job, TwoTowerOptions& options, Complaints& complaints) {
  for (const spec::Stage& stage : job.stage()) {
    if (!stage.has_train()) continue;
    const spec::Train& train = stage.train();
    const std::string field = "stage '" + stage.name() + "'";
    if (train.has_ranking()) {
      options.ranking = true;
      options.pair_head = options.pair_head || train.ranking().form() == spec::RankingLoss::PAIR;
    } else if (!train.has_sampled_softmax()) {
      complaints.Add(field,
                     "a two-tower model trains with sampled_softmax or ranking; set one of them");
    } else if (train.sampled_softmax().every_position()) {
      complaints.Add(field + ".sampled_softmax.every_position",
                     "a two-tower model has one user vector a sample; remove it");
    }
  }
  FindPopularityTable(job, options.spec.item_feature(), &options.needs, complaints);
}

}  // namespace

Result<TwoTowerOptions> ParseTwoTower(const spec::Job& job) {
  Complaints complaints;
  TwoTowerOptions options;
  options.spec = job.model().two_tower();
  options.cosine = options.spec.similarity() == spec::COSINE;
  options.max_length = static_cast<int32_t>(job.data().history().max_length());
  ParseFeatures(job, options, complaints);
  ParseTowers(options, complaints);
  ParsePopularity(options, complaints);
  ParseStages(job, options, complaints);
  EMPORIUM_RETURN_IF_ERROR(complaints.ToStatus());
  options.needs.history = true;
  options.needs.candidates = true;
  options.needs.counters = options.counters;
  options.needs.vector_width = options.width + (options.counters > 0 ? 1 : 0);
  return options;
}

}  // namespace emporium::models
