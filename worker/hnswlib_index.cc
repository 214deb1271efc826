// Without this, hnswlib's prefetches read four bytes beyond the link lists that it has allocated.
// The distances that building spends its time on are ours and vectorised by the compiler.
#define NO_MANUAL_VECTORIZATION
#include <hnswlib/hnswlib.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "proto/check.h"
#include "worker/vector_index.h"

namespace emporium::worker {

namespace {

struct EvenLength {
  size_t width;
  float longest;  // squared
};

// Half the squared distance of the two vectors, each with the number appended that makes its
// squared length `longest`: longest - <a, b> - sqrt((longest - |a|^2) (longest - |b|^2)).
float EvenDistance(const void* left, const void* right, const void* parameters) {
  const auto* a = static_cast<const float*>(left);
  const auto* b = static_cast<const float*>(right);
  const auto& even = *static_cast<const EvenLength*>(parameters);
  constexpr size_t kLanes = 8;  // independent sums, so that they are vectorised
  float ab[kLanes] = {}, aa[kLanes] = {}, bb[kLanes] = {};
  size_t d = 0;
  for (; d + kLanes <= even.width; d += kLanes) {
    for (size_t l = 0; l < kLanes; ++l) {
      ab[l] += a[d + l] * b[d + l];
      aa[l] += a[d + l] * a[d + l];
      bb[l] += b[d + l] * b[d + l];
    }
  }
  for (; d < even.width; ++d) {
    ab[0] += a[d] * b[d];
    aa[0] += a[d] * a[d];
    bb[0] += b[d] * b[d];
  }
  for (size_t l = 1; l < kLanes; ++l) {
    ab[0] += ab[l];
    aa[0] += aa[l];
    bb[0] += bb[l];
  }
  const float rest_a = std::max(even.longest - aa[0], 0.0f);
  const float rest_b = std::max(even.longest - bb[0], 0.0f);
  return even.longest - ab[0] - std::sqrt(rest_a * rest_b);
}

// Stores plain vectors, so that the file is that of an inner-product index.
class EvenSpace : public hnswlib::SpaceInterface<float> {
 public:
  EvenSpace(size_t width, float longest) : even_{width, longest} {}
  size_t get_data_size() override { return even_.width * sizeof(float); }
  hnswlib::DISTFUNC<float> get_dist_func() override { return EvenDistance; }
  void* get_dist_func_param() override { return &even_; }

 private:
  EvenLength even_;
};

class HnswlibIndex : public VectorIndex {
 public:
  HnswlibIndex(const std::string& path, int32_t width, uint32_t ef)
      : width_(width), space_(width), index_(&space_, path) {
    index_.setEf(ef);
  }
  bool has_width() const { return index_.label_offset_ == index_.offsetData_ + 4 * width_; }

  Result<std::vector<Neighbour>> Search(std::span<const float> query, int32_t k) const override {
    EMPORIUM_CHECK(query.size() == width_, "a query has the index's width");
    const size_t count = std::min<size_t>(std::max(k, 0), index_.cur_element_count);
    std::vector<Neighbour> found;
    if (count == 0) return found;
    auto queue = index_.searchKnn(query.data(), count);  // worst first; distance = 1 - product
    for (; !queue.empty(); queue.pop()) {
      found.push_back({static_cast<int32_t>(queue.top().second), 1 - queue.top().first});
    }
    std::reverse(found.begin(), found.end());
    return found;
  }

 private:
  size_t width_;
  hnswlib::InnerProductSpace space_;
  hnswlib::HierarchicalNSW<float> index_;
};

}  // namespace

Status BuildHnswlibIndex(const spec::Export& settings, std::span<const float> vectors,
                         int32_t width, const std::string& path) {
  const size_t count = vectors.size() / width;
  EvenSpace space(width, static_cast<float>(MaxSquaredLength(vectors, width)));
  try {
    hnswlib::HierarchicalNSW<float> index(&space, count, settings.hnsw_m(),
                                          settings.hnsw_ef_construction());
    for (size_t row = 0; row < count; ++row) index.addPoint(&vectors[row * width], row);
    index.saveIndex(path);
  } catch (const std::exception& e) {
    return Unavailable(path + ": hnswlib cannot build the index: " + e.what());
  }
  std::error_code error;  // saveIndex does not say when the disk is full
  const auto bytes = std::filesystem::file_size(path, error);
  if (error || bytes < vectors.size_bytes()) {
    return ResourceExhausted(path + ": hnswlib could not write the whole index; free space");
  }
  return Status::Ok();
}

Result<std::unique_ptr<VectorIndex>> OpenHnswlibIndex(const std::string& path, int32_t width,
                                                      uint32_t ef) {
  try {
    auto index = std::make_unique<HnswlibIndex>(path, width, ef);
    if (!index->has_width()) {
      return DataLoss(path + ": not an index of width " + std::to_string(width));
    }
    return std::unique_ptr<VectorIndex>(std::move(index));
  } catch (const std::exception& e) {
    return DataLoss(path + ": hnswlib cannot read the index: " + e.what());
  }
}

}  // namespace emporium::worker
