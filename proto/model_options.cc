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

std::vector<std::string> PlainFeatures(const spec::Job& job) {
  std::vector<std::string> names;
  const Message* options = nullptr;
  if (const FieldDescriptor* listed = OptionOf(job.model(), "feature", &options)) {
    for (int i = 0; i < options->GetReflection()->FieldSize(*options, listed); ++i) {
      names.push_back(options->GetReflection()->GetRepeatedString(*options, listed, i));
    }
  }
  if (!names.empty()) return names;
  std::vector<std::string> taken = PositionFeatures(job);
  for (const spec::TargetHistory& pair : SequencePairs(job)) {
    taken.push_back(pair.target());
    taken.push_back(pair.history());
  }
  for (const spec::Feature& feature : job.feature()) {
    if (std::find(taken.begin(), taken.end(), feature.name()) == taken.end()) {
      names.push_back(feature.name());
    }
  }
  return names;
}

std::vector<std::string> PositionFeatures(const spec::Job& job) {
  const auto& with = job.model().position().with();
  return {with.begin(), with.end()};
}

std::vector<std::string> InputFeatures(const spec::Job& job) {
  std::vector<std::string> names = PlainFeatures(job);
  const std::vector<spec::TargetHistory> pairs = SequencePairs(job);
  for (const spec::TargetHistory& pair : pairs) names.push_back(pair.target());
  for (const spec::TargetHistory& pair : pairs) names.push_back(pair.history());
  for (std::string& name : PositionFeatures(job)) names.push_back(std::move(name));
  return names;
}

std::string LinearTable(const spec::Job& job) {
  const Message* options = nullptr;
  const FieldDescriptor* table = OptionOf(job.model(), "linear_table", &options);
  return table == nullptr ? "" : options->GetReflection()->GetString(*options, table);
}

}  // namespace emporium
