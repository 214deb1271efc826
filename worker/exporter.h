// Export of a retrieval model: vectors of the whole catalogue and of every user with a history, as
// of now, and an index of the items. Chunks [0, ItemChunks) are items, those after them users; one
// worker writes what all have computed:
//
//   <export root>/<stage>/
//     items.npy      [items, width] float32, row = item number      item_ids.tsv  row, id, title
//     users.npy      [users, width] float32                         user_ids.tsv  row, id
//     index.faiss or index.hnswlib    inner product over the rows of items.npy
//     MANIFEST       spec::ExportManifest (sealed text), written last, with the size and SHA-256 of
//                    every file and recall@k of the index against exact search
//
// The directory appears whole: it is written as <stage>.tmp and renamed. A later export of the
// stage takes the place of an older one. The files are a function of the vectors and the settings.
//
// One thread at a time. Job, source and model must outlive it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proto/control_types.h"
#include "proto/ids.h"
#include "proto/job.pb.h"
#include "proto/manifest.pb.h"
#include "proto/status.h"
#include "worker/batch_source.h"
#include "worker/row_source.h"
#include "worker/scorer.h"
#include "worker/stage_bodies.h"
#include "worker/vector_blob.h"

namespace emporium::worker {

inline constexpr uint32_t kExportFormat = 1;
inline constexpr const char* kItemVectorsName = "items.npy";
inline constexpr const char* kUserVectorsName = "users.npy";
inline constexpr const char* kItemIdsName = "item_ids.tsv";
inline constexpr const char* kUserIdsName = "user_ids.tsv";
// Of the index file, by kind (spec::Export::Index_Name).
std::string IndexFileName(const std::string& kind);

class Exporter {
 public:
  Exporter(const spec::Job& job, const BatchSource& source, models::Model& model,
           std::string export_root);

  int64_t Chunks() const { return source_.ItemChunks() + source_.UserChunks(); }
  // The weights may have changed.
  void Begin() { scorer_.Begin(); }
  // InvalidArgument for a pointwise model: it has no vectors.
  Result<std::string> Chunk(StageId stage, int64_t chunk, RowSource& rows);
  // Writes the directory. Metrics: items, users, recall@k.
  Result<std::vector<control::Metric>> Combine(StageId stage, const ChunkSource& chunks) const;

 private:
  Result<spec::Export> SettingsOf(StageId stage) const;
  Result<std::vector<float>> WriteItems(const std::string& dir, const ChunkSource& chunks) const;
  Status WriteUsers(const std::string& dir, const ChunkSource& chunks) const;

  const spec::Job& job_;
  const BatchSource& source_;
  Scorer scorer_;
  std::string export_root_;
};

}  // namespace emporium::worker
