// The models that there are. Adding one touches its file, this registry, the options in
// proto/job.proto and its reference test.
#pragma once

#include <memory>
#include <span>

#include "models/device.h"
#include "models/model.h"
#include "proto/job.pb.h"
#include "proto/status.h"

namespace emporium::models {

struct ModelEntry {
  spec::Model::KindCase kind;
  // Where the equations are from: [PAPER], [CODE], [THIRD-PARTY], or [OURS] for our own
  // formulation.
  const char* tag;
  const char* summary;
  const char* hooks;  // what the job must provide beside features and a label
  Result<std::unique_ptr<Model>> (*make)(const spec::Job& job, Device& device);
};

// In the order of the schema.
std::span<const ModelEntry> Registry();

// The makers, each in the file of its model. All complaints at once, as CreateModel says.
Result<std::unique_ptr<Model>> MakeTwoTower(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakeDeepFm(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakeLr(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakeFm(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakeDnn(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakeWdl(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakeDcn(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakeDcnV2(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakeDcnMix(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakeSharedBottom(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakeMmoe(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakePle(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakeEsmm(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakeDin(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakeBst(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakeBstDin(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakeSasRec(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakeScenarioBottom(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakeScenarioMmoe(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakeScenarioPle(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakeHmoe(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakeStar(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakePepNet(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakeSfpNet(const spec::Job& job, Device& device);
Result<std::unique_ptr<Model>> MakeNam(const spec::Job& job, Device& device);

}  // namespace emporium::models
