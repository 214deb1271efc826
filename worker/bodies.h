// The bodies of evaluate and export stages over the job's data and model: what a worker runs when
// the scheduler says EVALUATE, EXPORT or COMBINE. One thread at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/model.h"
#include "proto/job.pb.h"
#include "worker/batch_source.h"
#include "worker/evaluator.h"
#include "worker/exporter.h"
#include "worker/stage_bodies.h"

namespace emporium::worker {

class Bodies : public StageBodies {
 public:
  // Exports go to <export_root>/<stage>/. Job and source must outlive the object.
  Bodies(const spec::Job& job, const BatchSource& source, std::unique_ptr<models::Model> model,
         std::string export_root);

  Result<int64_t> Chunks(StageId stage, bool validation) const override;
  void Begin() override;
  Result<std::string> EvaluateChunk(StageId stage, bool validation, int64_t chunk,
                                    RowSource& rows) override;
  Result<std::vector<control::Metric>> CombineEvaluation(StageId stage, bool validation,
                                                         const ChunkSource& chunks) override;
  Result<std::string> ExportChunk(StageId stage, int64_t chunk, RowSource& rows) override;
  Result<std::vector<control::Metric>> CombineExport(StageId stage,
                                                     const ChunkSource& chunks) override;

 private:
  const spec::Job& job_;
  const BatchSource& source_;
  std::unique_ptr<models::Model> model_;
  Evaluator evaluator_;
  Exporter exporter_;
};

}  // namespace emporium::worker
