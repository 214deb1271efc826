#include "worker/vector_index.h"

#include <algorithm>

#include "proto/check.h"
#include "runtime/file.h"

namespace emporium::worker {

double MaxSquaredLength(std::span<const float> vectors, int32_t width) {
  double longest = 0;
  for (size_t begin = 0; begin < vectors.size(); begin += width) {
    double sum = 0;
    for (int32_t d = 0; d < width; ++d) {
      sum += static_cast<double>(vectors[begin + d]) * vectors[begin + d];
    }
    longest = std::max(longest, sum);
  }
  return longest;
}

uint32_t SearchEffort(const spec::Export& settings) {
  switch (settings.index()) {
    case spec::Export::FLAT:
      return 0;
    case spec::Export::IVF:
      return settings.ivf_probes();
    case spec::Export::HNSW:
    case spec::Export::HNSWLIB:
      return settings.hnsw_ef_search();
  }
  return 0;
}

Status BuildIndex(const spec::Export& settings, std::span<const float> vectors, int32_t width,
                  const std::string& path) {
  EMPORIUM_CHECK(width > 0 && !vectors.empty() && vectors.size() % width == 0,
                 "an index has whole vectors");
  const Status built = settings.index() == spec::Export::HNSWLIB
                           ? BuildHnswlibIndex(settings, vectors, width, path)
                           : BuildFaissIndex(settings, vectors, width, path);
  EMPORIUM_RETURN_IF_ERROR(built);
  return runtime::FsyncFile(path);
}

Result<std::unique_ptr<VectorIndex>> OpenIndex(const std::string& kind, const std::string& path,
                                               int32_t width, uint32_t search_effort) {
  spec::Export::Index index;
  if (!spec::Export::Index_Parse(kind, &index)) {
    return DataLoss(path + ": an index of the unknown kind \"" + kind +
                    "\"; it may come from a newer Emporium");
  }
  if (index == spec::Export::HNSWLIB) return OpenHnswlibIndex(path, width, search_effort);
  return OpenFaissIndex(path, width);
}

}  // namespace emporium::worker
