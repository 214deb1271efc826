// What a worker does in EVALUATE, EXPORT and COMBINE, as the worker's core sees it. Chunks are
// fixed lists of users, items or rows (worker/batch_source.h); any worker may compute any chunk,
// and its result is opaque bytes that one worker merges in the order of chunks. So the outcome does
// not depend on who computed what.
//
// One thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "proto/control_types.h"
#include "proto/ids.h"
#include "proto/status.h"
#include "worker/row_source.h"

namespace emporium::worker {

// Gives the result of a chunk; called with 0, 1, 2, ... to the last.
using ChunkSource = std::function<Result<std::string>(int64_t chunk)>;

class StageBodies {
 public:
  virtual ~StageBodies() = default;

  // Chunks of an evaluate stage, of a train stage's validation, or of an export stage.
  virtual Result<int64_t> Chunks(StageId stage, bool validation) const = 0;

  // The weights may have changed: forgets what was derived from them (item vectors). To be called
  // when an EVALUATE, EXPORT or COMBINE command arrives, before its first chunk.
  virtual void Begin() = 0;

  virtual Result<std::string> EvaluateChunk(StageId stage, bool validation, int64_t chunk,
                                            RowSource& rows) = 0;
  virtual Result<std::vector<control::Metric>> CombineEvaluation(StageId stage, bool validation,
                                                                 const ChunkSource& chunks) = 0;

  virtual Result<std::string> ExportChunk(StageId stage, int64_t chunk, RowSource& rows) = 0;
  // Writes the export; the metrics describe it (items, users, recall of its index).
  virtual Result<std::vector<control::Metric>> CombineExport(StageId stage,
                                                             const ChunkSource& chunks) = 0;
};

}  // namespace emporium::worker
