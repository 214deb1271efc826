// By reflection: options of the same name mean the same in every model (proto/job.proto).
#include "proto/model_options.h"

#include <google/protobuf/message.h>

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <string_view>
#include <system_error>
#include <utility>

namespace emporium {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// The field of the model that is set; null: none.
const FieldDescriptor* KindOf(const spec::Model& model) {
  const auto* kinds = spec::Model::descriptor()->FindOneofByName("kind");
  return model.GetReflection()->GetOneofFieldDescriptor(model, kinds);
}

// The model's options and the one of this name, or null.
const FieldDescriptor* OptionOf(const spec::Model& model, const char* name,
                                const Message** options) {
  const FieldDescriptor* kind = KindOf(model);
  if (kind == nullptr) return nullptr;
  *options = &model.GetReflection()->GetMessage(model, kind);
  return (*options)->GetDescriptor()->FindFieldByName(name);
}

// The names that a repeated option lists; none where the model has no such option.
std::vector<std::string> NamesOf(const spec::Job& job, const char* option) {
  std::vector<std::string> names;
  const Message* options = nullptr;
  if (const FieldDescriptor* listed = OptionOf(job.model(), option, &options)) {
    for (int i = 0; i < options->GetReflection()->FieldSize(*options, listed); ++i) {
      names.push_back(options->GetReflection()->GetRepeatedString(*options, listed, i));
    }
  }
  return names;
}

// The table of the first pair's target.
const spec::Table* PairTable(const spec::Job& job) {
  const std::vector<spec::TargetHistory> pairs = SequencePairs(job);
  if (pairs.empty()) return nullptr;
  const auto feature =
      std::find_if(job.feature().begin(), job.feature().end(),
                   [&pairs](const auto& each) { return each.name() == pairs[0].target(); });
  if (feature == job.feature().end()) return nullptr;
  const auto table =
      std::find_if(job.table().begin(), job.table().end(),
                   [&feature](const auto& each) { return each.name() == feature->table(); });
  return table == job.table().end() ? nullptr : &*table;
}

// The first of these options that the model has.
FeatureOption FeatureOptionOf(const spec::Job& job, std::initializer_list<const char*> names) {
  FeatureOption option;
  for (const char* name : names) {
    const Message* options = nullptr;
    const FieldDescriptor* field = OptionOf(job.model(), name, &options);
    if (field == nullptr) continue;
    option.path = "model." + ModelName(job) + "." + name;
    option.set = options->GetReflection()->HasField(*options, field);
    option.feature = options->GetReflection()->GetString(*options, field);
    break;
  }
  return option;
}

}  // namespace

std::string ModelName(const spec::Job& job) {
  const FieldDescriptor* kind = KindOf(job.model());
  return kind == nullptr ? "" : kind->name();
}

bool IsRetrieval(const spec::Job& job) {
  const Message* options = nullptr;
  return OptionOf(job.model(), "similarity", &options) != nullptr;
}

bool TellsScenarios(const spec::Job& job) {
  switch (job.model().kind_case()) {
    case spec::Model::kScenarioBottom:
    case spec::Model::kScenarioMmoe:
    case spec::Model::kScenarioPle:
    case spec::Model::kHmoe:
    case spec::Model::kStar:
    case spec::Model::kPepnet:
    case spec::Model::kSfpnet:
      return true;
    default:
      return false;
  }
}

bool ParseWhole(const std::string& text, int64_t* number) {
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, *number);
  return error == std::errc() && rest == end && !text.empty();
}

FeatureOption ItemOption(const spec::Job& job) { return FeatureOptionOf(job, {"item_feature"}); }

FeatureOption ItemWordsOption(const spec::Job& job) {
  return FeatureOptionOf(job, {"title_feature", "attribute_feature"});
}

bool IsImplicit(const spec::Job& job) {
  return !ModelName(job).empty() && !IsRetrieval(job) && !job.data().has_label_column() &&
         job.task_size() == 0;
}

std::string SampledPrefix(uint32_t negatives) {
  return "sampled" + std::to_string(negatives) + "_";
}

SampledMetric SampledMetricOf(const std::string& metric) {
  constexpr std::string_view kPrefix = "sampled";
  SampledMetric sampled;
  if (!metric.starts_with(kPrefix)) return sampled;
  const char* const end = metric.data() + metric.size();
  const auto [rest, error] =
      std::from_chars(metric.data() + kPrefix.size(), end, sampled.negatives);
  if (error != std::errc() || rest == end || *rest != '_') return {};
  sampled.name = std::string(rest + 1, end);
  return sampled;
}

std::vector<spec::TargetHistory> SequencePairs(const spec::Job& job) {
  std::vector<spec::TargetHistory> pairs;
  const Message* options = nullptr;
  if (const FieldDescriptor* listed = OptionOf(job.model(), "pair", &options)) {
    for (int i = 0; i < options->GetReflection()->FieldSize(*options, listed); ++i) {
      pairs.emplace_back().CopyFrom(
          options->GetReflection()->GetRepeatedMessage(*options, listed, i));
    }
  }
  return pairs;
}

std::vector<std::string> PositionFeatures(const spec::Job& job) {
  const auto& with = job.model().position().with();
  return {with.begin(), with.end()};
}

std::vector<std::string> QueryFeatures(const spec::Job& job) { return NamesOf(job, "query"); }

std::string KindFeature(const spec::Job& job) {
  const Message* options = nullptr;
  const FieldDescriptor* kind = OptionOf(job.model(), "action_feature", &options);
  return kind == nullptr ? "" : options->GetReflection()->GetString(*options, kind);
}

namespace {

// The features that options other than `feature` name, in the order of a batch's fields.
std::vector<std::string> FeaturesApart(const spec::Job& job) {
  const std::vector<spec::TargetHistory> pairs = SequencePairs(job);
  std::vector<std::string> names;
  names.reserve(2 * pairs.size());
  for (const spec::TargetHistory& pair : pairs) names.push_back(pair.target());
  for (const spec::TargetHistory& pair : pairs) names.push_back(pair.history());
  for (std::string& name : QueryFeatures(job)) names.push_back(std::move(name));
  if (std::string kind = KindFeature(job); !kind.empty()) names.push_back(std::move(kind));
  for (std::string& name : PositionFeatures(job)) names.push_back(std::move(name));
  return names;
}

}  // namespace

std::vector<std::string> PlainFeatures(const spec::Job& job) {
  std::vector<std::string> names = NamesOf(job, "feature");
  if (!names.empty()) return names;
  const std::vector<std::string> apart = FeaturesApart(job);
  for (const spec::Feature& feature : job.feature()) {
    const bool plain = std::find(apart.begin(), apart.end(), feature.name()) == apart.end();
    if (plain) names.push_back(feature.name());
  }
  return names;
}

std::vector<std::string> InputFeatures(const spec::Job& job) {
  std::vector<std::string> names = PlainFeatures(job);
  for (std::string& name : FeaturesApart(job)) names.push_back(std::move(name));
  return names;
}

bool ReadsEventAges(const spec::Job& job) {
  const Message* options = nullptr;
  const FieldDescriptor* edges = OptionOf(job.model(), "gap_edges_days", &options);
  return edges != nullptr && options->GetReflection()->FieldSize(*options, edges) > 0;
}

std::string PopularityTable(const spec::Job& job) {
  const Message* options = nullptr;
  if (OptionOf(job.model(), "normalise", &options) == nullptr) return "";
  const spec::Table* table = PairTable(job);
  return table != nullptr && table->has_popularity() ? table->name() : "";
}

FedSlots FedSlotsOf(const spec::Job& job) {
  FedSlots slots;
  const spec::Table* table = PairTable(job);
  if (table != nullptr) slots.table = table->name();
  slots.target = NamesOf(job, "target_slot");
  slots.event = NamesOf(job, "event_slot");
  return slots;
}

std::string LinearTable(const spec::Job& job) {
  const Message* options = nullptr;
  const FieldDescriptor* table = OptionOf(job.model(), "linear_table", &options);
  return table == nullptr ? "" : options->GetReflection()->GetString(*options, table);
}

}  // namespace emporium
