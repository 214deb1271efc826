#include "worker/facts.h"

#include "worker/dataset.h"

namespace emporium::worker {

control::DatasetFacts FactsOf(const BatchSource& source, const spec::Job& job) {
  control::DatasetFacts facts;
  facts.digest = source.dataset().digest();
  for (int s = 0; s < job.stage_size(); ++s) {
    const spec::Stage& stage = job.stage(s);
    const StageId id(static_cast<uint32_t>(s));
    int64_t samples = 0;
    int64_t chunks = 0;
    int64_t validation = 0;
    if (stage.has_train()) {
      samples = static_cast<int64_t>(source.plan(id).samples);
      validation = stage.train().validate_every_epochs() > 0
                       ? source.EvalChunks(id, EvalSplit::kValidation)
                       : 0;
    } else if (stage.has_evaluate()) {
      chunks = source.EvalChunks(id, stage.evaluate().on() == spec::Evaluate::VALIDATION
                                         ? EvalSplit::kValidation
                                         : EvalSplit::kTest);
    } else if (stage.has_export_()) {
      chunks = source.ItemChunks() + source.UserChunks();
    }
    facts.train_samples_of_stage.push_back(samples);
    facts.chunks_of_stage.push_back(chunks);
    facts.validation_chunks_of_stage.push_back(validation);
  }
  return facts;
}

}  // namespace emporium::worker
