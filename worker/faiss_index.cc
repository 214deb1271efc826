#include <faiss/Clustering.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/impl/FaissException.h>
#include <faiss/index_io.h>
#include <omp.h>

#include <algorithm>
#include <cmath>

#include "proto/check.h"
#include "worker/vector_index.h"

namespace emporium::worker {

namespace {

// Holds the OpenMP regions that this thread opens to one thread.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

// The vectors with the number that gives all of them one length.
std::vector<float> EvenLengths(std::span<const float> vectors, int32_t width) {
  const double longest = MaxSquaredLength(vectors, width);
  std::vector<float> even;
  even.reserve(vectors.size() / width * (width + 1));
  for (size_t begin = 0; begin < vectors.size(); begin += width) {
    const auto row = vectors.subspan(begin, width);
    even.insert(even.end(), row.begin(), row.end());
    even.push_back(static_cast<float>(std::sqrt(longest - MaxSquaredLength(row, width))));
  }
  return even;
}

std::unique_ptr<faiss::Index> BuildHnsw(const spec::Export& settings,
                                        std::span<const float> vectors, int32_t width) {
  const auto count = static_cast<faiss::Index::idx_t>(vectors.size() / width);
  const auto neighbours = static_cast<int>(settings.hnsw_m());
  faiss::IndexHNSWFlat graph(width + 1, neighbours, faiss::METRIC_L2);
  graph.hnsw.efConstruction = static_cast<int>(settings.hnsw_ef_construction());
  graph.add(count, EvenLengths(vectors, width).data());
  auto index =
      std::make_unique<faiss::IndexHNSWFlat>(width, neighbours, faiss::METRIC_INNER_PRODUCT);
  index->storage->add(count, vectors.data());
  index->ntotal = count;
  index->hnsw = graph.hnsw;
  index->hnsw.efSearch = static_cast<int>(settings.hnsw_ef_search());
  return index;
}

std::unique_ptr<faiss::Index> BuildIvf(const spec::Export& settings, std::span<const float> vectors,
                                       int32_t width) {
  const auto count = static_cast<faiss::Index::idx_t>(vectors.size() / width);
  const double wanted = settings.ivf_lists() > 0 ? settings.ivf_lists() : 4 * std::sqrt(count);
  const auto lists = std::clamp<faiss::Index::idx_t>(std::llround(wanted), 1, count);
  faiss::ClusteringParameters parameters;
  parameters.min_points_per_centroid = 1;  // small catalogues: no warning on the console
  faiss::Clustering clustering(width, static_cast<int>(lists), parameters);
  faiss::IndexFlatL2 by_distance(width);
  clustering.train(count, vectors.data(), by_distance);
  std::vector<faiss::Index::idx_t> list(count);
  by_distance.assign(count, vectors.data(), list.data());

  auto centres = std::make_unique<faiss::IndexFlatIP>(width);
  centres->add(lists, clustering.centroids.data());
  auto index = std::make_unique<faiss::IndexIVFFlat>(centres.get(), width, lists,
                                                     faiss::METRIC_INNER_PRODUCT);
  index->quantizer = centres.release();
  index->own_fields = true;
  index->is_trained = true;
  index->add_core(count, vectors.data(), nullptr, list.data());
  index->nprobe = std::min<size_t>(settings.ivf_probes(), lists);
  return index;
}

class FaissIndex : public VectorIndex {
 public:
  explicit FaissIndex(std::unique_ptr<faiss::Index> index) : index_(std::move(index)) {}

  Result<std::vector<Neighbour>> Search(std::span<const float> query, int32_t k) const override {
    EMPORIUM_CHECK(query.size() == static_cast<size_t>(index_->d), "a query has the index's width");
    const auto count = std::min<faiss::Index::idx_t>(k, index_->ntotal);
    std::vector<Neighbour> found;
    if (count <= 0) return found;
    std::vector<float> scores(count);
    std::vector<faiss::Index::idx_t> ids(count);
    const OneThread one_thread;
    try {
      index_->search(1, query.data(), count, scores.data(), ids.data());
    } catch (const faiss::FaissException& e) {
      return Internal(std::string("Faiss search: ") + e.what());
    }
    for (size_t i = 0; i < ids.size() && ids[i] >= 0; ++i) {
      found.push_back({static_cast<int32_t>(ids[i]), scores[i]});
    }
    return found;
  }

 private:
  std::unique_ptr<faiss::Index> index_;
};

}  // namespace

Status BuildFaissIndex(const spec::Export& settings, std::span<const float> vectors, int32_t width,
                       const std::string& path) {
  const OneThread one_thread;
  try {
    std::unique_ptr<faiss::Index> index;
    if (settings.index() == spec::Export::HNSW) {
      index = BuildHnsw(settings, vectors, width);
    } else if (settings.index() == spec::Export::IVF) {
      index = BuildIvf(settings, vectors, width);
    } else {
      index = std::make_unique<faiss::IndexFlatIP>(width);
      index->add(static_cast<faiss::Index::idx_t>(vectors.size() / width), vectors.data());
    }
    faiss::write_index(index.get(), path.c_str());
  } catch (const faiss::FaissException& e) {
    return Unavailable(path + ": Faiss cannot build or write the index: " + e.what());
  }
  return Status::Ok();
}

Result<std::unique_ptr<VectorIndex>> OpenFaissIndex(const std::string& path, int32_t width) {
  const OneThread one_thread;
  std::unique_ptr<faiss::Index> index;
  try {
    index.reset(faiss::read_index(path.c_str()));
  } catch (const std::exception& e) {  // also bad_alloc and length_error of a broken file
    return DataLoss(path + ": Faiss cannot read the index: " + e.what());
  }
  if (index->d != width || index->metric_type != faiss::METRIC_INNER_PRODUCT) {
    return DataLoss(path + ": not an inner-product index of width " + std::to_string(width));
  }
  return std::unique_ptr<VectorIndex>(std::make_unique<FaissIndex>(std::move(index)));
}

}  // namespace emporium::worker
