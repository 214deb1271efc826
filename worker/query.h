// Asks an export (worker/exporter.h) for recommendations: `emporium query`.
//
// Open checks the manifest and the digest of every file. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proto/manifest.pb.h"
#include "proto/status.h"
#include "worker/dataset.h"
#include "worker/id_map.h"
#include "worker/npy.h"
#include "worker/vector_index.h"

namespace emporium::worker {

// The manifest of an export. NotFound: none there. DataLoss: damaged, or of a newer format.
Result<spec::ExportManifest> ReadExportManifest(const std::string& export_dir);

struct Recommendation {
  std::string id;
  std::string title;  // empty where the data has none
  double score = 0;
};

class ExportQuery {
 public:
  static Result<std::unique_ptr<ExportQuery>> Open(const std::string& export_dir);

  const spec::ExportManifest& manifest() const { return manifest_; }
  // The k items with the largest inner product with the user's vector, as the index finds them.
  // Items that the user has in `seen` (may be null) are left out. NotFound for an unknown user.
  Result<std::vector<Recommendation>> ForUser(const std::string& user_id, int32_t k,
                                              const Dataset* seen) const;
  // The k items most like this one: cosine of the vectors without their popularity part, exact.
  // NotFound for an unknown item.
  Result<std::vector<Recommendation>> ForItem(const std::string& item_id, int32_t k) const;

 private:
  ExportQuery() = default;
  Status CheckShapes() const;

  std::string dir_;
  spec::ExportManifest manifest_;
  NpyReader item_vectors_;
  NpyReader user_vectors_;
  IdMap items_;
  IdMap users_;
  std::unique_ptr<VectorIndex> index_;
};

}  // namespace emporium::worker
