#include "worker/bodies.h"

#include <utility>

namespace emporium::worker {

Bodies::Bodies(const spec::Job& job, const BatchSource& source,
               std::unique_ptr<models::Model> model, std::string export_root)
    : job_(job),
      source_(source),
      model_(std::move(model)),
      evaluator_(job, source, *model_),
      exporter_(job, source, *model_, std::move(export_root)) {}

Result<int64_t> Bodies::Chunks(StageId stage, bool validation) const {
  const bool exports = stage.value() < static_cast<uint32_t>(job_.stage_size()) &&
                       job_.stage(static_cast<int>(stage.value())).has_export_();
  if (exports && !validation) return exporter_.Chunks();
  EMPORIUM_ASSIGN_OR_RETURN(const EvalSettings settings, EvalSettingsOf(job_, stage, validation));
  return source_.EvalChunks(stage, settings.split);
}

void Bodies::Begin() {
  evaluator_.Begin();
  exporter_.Begin();
}

Result<std::string> Bodies::EvaluateChunk(StageId stage, bool validation, int64_t chunk,
                                          RowSource& rows) {
  return evaluator_.Chunk(stage, validation, chunk, rows);
}

Result<std::vector<control::Metric>> Bodies::CombineEvaluation(StageId stage, bool validation,
                                                               const ChunkSource& chunks) {
  return evaluator_.Combine(stage, validation, chunks);
}

Result<std::string> Bodies::ExportChunk(StageId stage, int64_t chunk, RowSource& rows) {
  return exporter_.Chunk(stage, chunk, rows);
}

Result<std::vector<control::Metric>> Bodies::CombineExport(StageId stage,
                                                           const ChunkSource& chunks) {
  return exporter_.Combine(stage, chunks);
}

}  // namespace emporium::worker
