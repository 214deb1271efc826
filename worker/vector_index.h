// Approximate search of the items with the largest inner product: Faiss (Flat, IVF, HNSW) and
// hnswlib behind one interface. The files are ordinary ones of those libraries with the inner
// product as metric, the row of items.npy as id: Python's faiss and hnswlib search them with the
// plain user vector.
//
// How they are built is not ordinary, because vectors with a popularity number differ much in
// length, and graphs (or clusters) made by the inner product itself then miss a quarter (or nearly
// all) of the best items. With M the longest vector's length, x' = [x, sqrt(M^2 - |x|^2)] has
// length M for every item, so the order by distance to [q, 0] is the order by <q, x>. The HNSW
// graphs are built on the distances of the x' and then put over the x; IVF lists are formed by
// distance, and probed by the inner product with their centres.
//
// Building runs on one thread and is a function of the vectors and the settings. An index may be
// searched by one thread at a time. Faiss's OpenMP is held to one thread here: its idle threads
// spin and would starve the rest of the process.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "proto/job.pb.h"
#include "proto/status.h"

namespace emporium::worker {

struct Neighbour {
  int32_t item = 0;  // row
  float score = 0;   // inner product
};

class VectorIndex {
 public:
  virtual ~VectorIndex() = default;
  // The k best that the index finds, best first; fewer when it finds fewer.
  virtual Result<std::vector<Neighbour>> Search(std::span<const float> query, int32_t k) const = 0;
};

// Builds the index of row-major `vectors` (at least one) and writes it to `path`, synced.
Status BuildIndex(const spec::Export& settings, std::span<const float> vectors, int32_t width,
                  const std::string& path);
// ef of an HNSW search or probes of an IVF one, as the settings say; 0 for a flat index.
uint32_t SearchEffort(const spec::Export& settings);

// Opens an index file with its kind ("FLAT", "IVF", "HNSW", "HNSWLIB"). DataLoss when it cannot be
// read as that or has another width.
Result<std::unique_ptr<VectorIndex>> OpenIndex(const std::string& kind, const std::string& path,
                                               int32_t width, uint32_t search_effort);

// The two libraries, for vector_index.cc.
Status BuildFaissIndex(const spec::Export& settings, std::span<const float> vectors, int32_t width,
                       const std::string& path);
Status BuildHnswlibIndex(const spec::Export& settings, std::span<const float> vectors,
                         int32_t width, const std::string& path);
Result<std::unique_ptr<VectorIndex>> OpenFaissIndex(const std::string& path, int32_t width);
Result<std::unique_ptr<VectorIndex>> OpenHnswlibIndex(const std::string& path, int32_t width,
                                                      uint32_t ef);
// The largest squared length of a row.
double MaxSquaredLength(std::span<const float> vectors, int32_t width);

}  // namespace emporium::worker
