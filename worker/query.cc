#include "worker/query.h"

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <unordered_set>

#include "runtime/file.h"
#include "runtime/manifest.h"
#include "worker/exporter.h"
#include "worker/ranking.h"

namespace emporium::worker {

namespace {

Status CheckK(int32_t k) {
  if (k > 0) return Status::Ok();
  return InvalidArgument("--k must be at least 1, not " + std::to_string(k));
}

// Items are not looked at when their vectors are zero.
void Normalise(std::span<float> vector) {
  double sum = 0;
  for (const float v : vector) sum += static_cast<double>(v) * v;
  if (sum == 0) return;
  const auto factor = static_cast<float>(1 / std::sqrt(sum));
  for (float& v : vector) v *= factor;
}

Result<IdMap> ReadIdMap(const std::string& path) {
  EMPORIUM_ASSIGN_OR_RETURN(const std::string text, runtime::ReadFile(path));
  return ParseIdMap(path, text);
}

Status VerifyExportFiles(const std::string& dir, const spec::ExportManifest& manifest) {
  for (const spec::ManifestFile& file : manifest.file()) {
    const std::string path = dir + "/" + file.path();
    EMPORIUM_ASSIGN_OR_RETURN(const std::string digest, runtime::Sha256OfFile(path));
    if (digest != file.sha256()) {
      return DataLoss(path +
                      ": its SHA-256 is not the manifest's: the file was changed or damaged; "
                      "run the export stage again");
    }
  }
  return Status::Ok();
}

}  // namespace

Result<spec::ExportManifest> ReadExportManifest(const std::string& export_dir) {
  const std::string path = export_dir + "/" + runtime::kManifestName;
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return NotFound(export_dir +
                    ": no finished export here (no MANIFEST); name the directory that an export "
                    "stage has written, <work_dir>/exports/<stage>");
  }
  EMPORIUM_ASSIGN_OR_RETURN(const std::string text, runtime::ReadSealed(path));
  spec::ExportManifest manifest;
  if (!google::protobuf::TextFormat::ParseFromString(text, &manifest)) {
    return DataLoss(path + ": cannot be read; run the export stage again");
  }
  if (manifest.format() > kExportFormat) {
    return DataLoss(path + ": written by a newer Emporium (format " +
                    std::to_string(manifest.format()) + ")");
  }
  return manifest;
}

Result<std::unique_ptr<ExportQuery>> ExportQuery::Open(const std::string& export_dir) {
  EMPORIUM_ASSIGN_OR_RETURN(spec::ExportManifest manifest, ReadExportManifest(export_dir));
  EMPORIUM_RETURN_IF_ERROR(VerifyExportFiles(export_dir, manifest));
  ExportQuery query;
  query.dir_ = export_dir;
  query.manifest_ = std::move(manifest);
  EMPORIUM_ASSIGN_OR_RETURN(query.item_vectors_,
                            NpyReader::Open(export_dir + "/" + kItemVectorsName));
  EMPORIUM_ASSIGN_OR_RETURN(query.user_vectors_,
                            NpyReader::Open(export_dir + "/" + kUserVectorsName));
  EMPORIUM_ASSIGN_OR_RETURN(query.items_, ReadIdMap(export_dir + "/" + kItemIdsName));
  EMPORIUM_ASSIGN_OR_RETURN(query.users_, ReadIdMap(export_dir + "/" + kUserIdsName));
  EMPORIUM_RETURN_IF_ERROR(query.CheckShapes());
  const spec::ExportManifest& m = query.manifest_;
  EMPORIUM_ASSIGN_OR_RETURN(
      query.index_, OpenIndex(m.index_kind(), export_dir + "/" + IndexFileName(m.index_kind()),
                              static_cast<int32_t>(m.width()), m.search_effort()));
  return std::make_unique<ExportQuery>(std::move(query));
}

Status ExportQuery::CheckShapes() const {
  const auto width = static_cast<int32_t>(manifest_.width());
  const bool fits = item_vectors_.width() == width && user_vectors_.width() == width &&
                    item_vectors_.rows() == static_cast<int64_t>(items_.id.size()) &&
                    user_vectors_.rows() == static_cast<int64_t>(users_.id.size()) &&
                    manifest_.popularity_width() < manifest_.width();
  if (fits) return Status::Ok();
  return DataLoss(dir_ +
                  ": vectors, id maps and manifest have different sizes; run the export "
                  "stage again");
}

Result<std::vector<Recommendation>> ExportQuery::ForUser(const std::string& user_id, int32_t k,
                                                         const Dataset* seen) const {
  EMPORIUM_RETURN_IF_ERROR(CheckK(k));
  const auto user = users_.row.find(user_id);
  if (user == users_.row.end()) {
    return NotFound("user \"" + user_id + "\" is not among the " +
                    std::to_string(users_.id.size()) + " users of " + dir_ + "; " + kUserIdsName +
                    " lists them");
  }
  std::unordered_set<int32_t> had;
  if (seen != nullptr && seen->FindUser(user_id) >= 0) {
    for (const int32_t event : seen->events_of_user(seen->FindUser(user_id))) {
      const int32_t item = seen->event_item()[event];
      if (item < 0) continue;
      const auto row = items_.row.find(std::string(seen->item_id(item)));
      if (row != items_.row.end()) had.insert(row->second);
    }
  }
  EMPORIUM_ASSIGN_OR_RETURN(const auto vector, user_vectors_.Read(user->second, 1));
  const int64_t wanted = std::min<int64_t>(
      static_cast<int64_t>(k) + static_cast<int64_t>(had.size()), item_vectors_.rows());
  EMPORIUM_ASSIGN_OR_RETURN(const auto found, index_->Search(vector, static_cast<int32_t>(wanted)));
  std::vector<Recommendation> out;
  for (const Neighbour& n : found) {
    if (out.size() == static_cast<size_t>(k)) break;
    if (n.item >= item_vectors_.rows()) {
      return DataLoss(dir_ + ": the index names a row that items.npy has not");
    }
    if (had.count(n.item) > 0) continue;
    out.push_back({items_.id[n.item], items_.title[n.item], n.score});
  }
  return out;
}

Result<std::vector<Recommendation>> ExportQuery::ForItem(const std::string& item_id,
                                                         int32_t k) const {
  EMPORIUM_RETURN_IF_ERROR(CheckK(k));
  const auto item = items_.row.find(item_id);
  if (item == items_.row.end()) {
    return NotFound("item \"" + item_id + "\" is not among the " +
                    std::to_string(items_.id.size()) + " items of " + dir_ + "; " + kItemIdsName +
                    " lists them");
  }
  EMPORIUM_ASSIGN_OR_RETURN(std::vector<float> vectors,
                            item_vectors_.Read(0, item_vectors_.rows()));
  const size_t width = manifest_.width();
  for (size_t row = 0; row < items_.id.size(); ++row) {
    const std::span<float> vector = std::span(vectors).subspan(row * width, width);
    std::fill(vector.end() - manifest_.popularity_width(), vector.end(), 0.0f);
    Normalise(vector);
  }
  ItemMatrix matrix(static_cast<int32_t>(items_.id.size()), static_cast<int32_t>(width));
  matrix.Set(0, vectors);
  std::vector<float> scores(items_.id.size());
  EMPORIUM_RETURN_IF_ERROR(
      matrix.Score(std::span(vectors).subspan(item->second * width, width), scores));
  std::vector<Recommendation> out;
  const std::vector<int32_t> itself = {item->second};
  for (const int32_t row : TopItems(scores, itself, k)) {
    out.push_back({items_.id[row], items_.title[row], scores[row]});
  }
  return out;
}

}  // namespace emporium::worker
