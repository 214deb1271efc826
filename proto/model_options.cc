// By reflection: options of the same name mean the same in every model (proto/job.proto).
#include "proto/model_options.h"

#include <google/protobuf/message.h>

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

}  // namespace

std::string ModelName(const spec::Job& job) {
  const FieldDescriptor* kind = KindOf(job.model());
  return kind == nullptr ? "" : kind->name();
}

bool IsRetrieval(const spec::Job& job) { return job.model().has_two_tower(); }

std::vector<std::string> InputFeatures(const spec::Job& job) {
  std::vector<std::string> names;
  const Message* options = nullptr;
  if (const FieldDescriptor* listed = OptionOf(job.model(), "feature", &options)) {
    for (int i = 0; i < options->GetReflection()->FieldSize(*options, listed); ++i) {
      names.push_back(options->GetReflection()->GetRepeatedString(*options, listed, i));
    }
  }
  if (!names.empty()) return names;
  for (const spec::Feature& feature : job.feature()) {
    if (feature.source() == spec::ROW) names.push_back(feature.name());
  }
  return names;
}

std::string LinearTable(const spec::Job& job) {
  const Message* options = nullptr;
  const FieldDescriptor* table = OptionOf(job.model(), "linear_table", &options);
  return table == nullptr ? "" : options->GetReflection()->GetString(*options, table);
}

}  // namespace emporium
