#include <utility>

#include "models/model.h"
#include "models/zoo/deepfm.h"
#include "models/zoo/two_tower.h"

namespace emporium::models {

Result<std::unique_ptr<Model>> CreateModel(const spec::Job& job, Device& device) {
  switch (job.model().kind_case()) {
    case spec::Model::kTwoTower: {
      EMPORIUM_ASSIGN_OR_RETURN(TwoTowerOptions options, ParseTwoTower(job));
      return MakeTwoTower(std::move(options), device);
    }
    case spec::Model::kDeepfm: {
      EMPORIUM_ASSIGN_OR_RETURN(DeepFmOptions options, ParseDeepFm(job));
      return MakeDeepFm(std::move(options), device);
    }
    case spec::Model::KIND_NOT_SET:
      break;
  }
  return InvalidArgument("model: there is none; set two_tower {} or deepfm {}");
}

Result<std::unique_ptr<Model>> CreateModel(const spec::Job& job) { return CreateModel(job, Cpu()); }

}  // namespace emporium::models
