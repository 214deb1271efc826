#include "worker/exporter.h"

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "proto/check.h"
#include "runtime/file.h"
#include "runtime/fingerprint.h"
#include "runtime/manifest.h"
#include "worker/dataset.h"
#include "worker/id_map.h"
#include "worker/npy.h"
#include "worker/ranking.h"
#include "worker/vector_index.h"

namespace emporium::worker {

namespace {

namespace fs = std::filesystem;

Status CheckFinite(std::span<const float> vectors) {
  for (const float value : vectors) {
    if (!std::isfinite(value)) {
      return InvalidArgument(
          "export: a vector has a number that is not finite: the weights have overflowed; lower "
          "the learning rate or raise the regularisation");
    }
  }
  return Status::Ok();
}

struct Recall {
  double value = 0;
  int64_t users = 0;
  int32_t k = 0;
};

// Of the index file against exact search, for `wanted` users at even distances.
Result<Recall> MeasureRecall(const VectorIndex& index, std::span<const float> items,
                             const NpyReader& users, int32_t k, int64_t wanted) {
  const auto count = static_cast<int32_t>(items.size() / users.width());
  ItemMatrix matrix(count, users.width());
  matrix.Set(0, items);
  Recall recall;
  recall.k = std::min(k, count);
  recall.users = std::min(wanted, users.rows());
  std::vector<float> scores(count);
  int64_t found = 0;
  for (int64_t s = 0; s < recall.users; ++s) {
    EMPORIUM_ASSIGN_OR_RETURN(const auto user, users.Read(s * users.rows() / recall.users, 1));
    EMPORIUM_RETURN_IF_ERROR(matrix.Score(user, scores));
    std::vector<int32_t> exact = TopItems(scores, {}, recall.k);
    std::sort(exact.begin(), exact.end());
    EMPORIUM_ASSIGN_OR_RETURN(const auto neighbours, index.Search(user, recall.k));
    for (const Neighbour& n : neighbours) {
      found += std::binary_search(exact.begin(), exact.end(), n.item) ? 1 : 0;
    }
  }
  if (recall.users > 0) {
    recall.value = static_cast<double>(found) / static_cast<double>(recall.users * recall.k);
  }
  return recall;
}

Status AddFile(const std::string& dir, const std::string& name, spec::ExportManifest* manifest) {
  EMPORIUM_ASSIGN_OR_RETURN(const std::string digest, runtime::Sha256OfFile(dir + "/" + name));
  spec::ManifestFile* file = manifest->add_file();
  file->set_path(name);
  file->set_bytes(fs::file_size(dir + "/" + name));
  file->set_sha256(digest);
  return Status::Ok();
}

control::Metric MetricOf(const std::string& name, double value) {
  control::Metric metric;
  metric.name = name;
  metric.value = value;
  return metric;
}

}  // namespace

std::string IndexFileName(const std::string& kind) {
  return kind == spec::Export::Index_Name(spec::Export::HNSWLIB) ? "index.hnswlib" : "index.faiss";
}

Exporter::Exporter(const spec::Job& job, const BatchSource& source, models::Model& model,
                   std::string export_root)
    : job_(job), source_(source), scorer_(model), export_root_(std::move(export_root)) {}

Result<spec::Export> Exporter::SettingsOf(StageId stage) const {
  if (stage.value() >= static_cast<uint32_t>(job_.stage_size()) ||
      !job_.stage(static_cast<int>(stage.value())).has_export_()) {
    return InvalidArgument("stage " + std::to_string(stage.value()) + " is no export stage");
  }
  const spec::Stage& spec = job_.stage(static_cast<int>(stage.value()));
  if (scorer_.width() == 0) {
    return InvalidArgument("stage \"" + spec.name() +
                           "\": a model that scores samples has no vectors to export");
  }
  const bool safe = !spec.name().empty() && spec.name().front() != '.' &&
                    spec.name().find('/') == std::string::npos;
  if (!safe) {
    return InvalidArgument("stage \"" + spec.name() +
                           "\": the name of an export stage names a directory; use letters, "
                           "digits, '-' and '_'");
  }
  return spec.export_();
}

Result<std::string> Exporter::Chunk(StageId stage, int64_t chunk, RowSource& rows) {
  EMPORIUM_RETURN_IF_ERROR(SettingsOf(stage).status());
  VectorChunk out;
  out.width = scorer_.width();
  if (chunk < source_.ItemChunks()) {
    EMPORIUM_ASSIGN_OR_RETURN(const ItemBatch batch, source_.Items(chunk, AsOf::kNow));
    for (int32_t i = 0; i < batch.planned.batch.items.count; ++i) {
      out.numbers.push_back(batch.first_item + i);
    }
    EMPORIUM_ASSIGN_OR_RETURN(out.values, scorer_.ItemVectors(batch, rows));
  } else {
    out.kind = VectorKind::kUsers;
    EMPORIUM_ASSIGN_OR_RETURN(const PlannedBatch batch, source_.Users(chunk - source_.ItemChunks(),
                                                                      AsOf::kNow, &out.numbers));
    EMPORIUM_CHECK(out.numbers.size() == static_cast<size_t>(batch.batch.samples),
                   "a batch of users names each of them");
    if (out.numbers.empty()) return Encode(out);  // nobody in this range has a history
    EMPORIUM_ASSIGN_OR_RETURN(out.values, scorer_.UserVectors(batch, rows));
  }
  EMPORIUM_RETURN_IF_ERROR(CheckFinite(out.values));
  return Encode(out);
}

Result<std::vector<float>> Exporter::WriteItems(const std::string& dir,
                                                const ChunkSource& chunks) const {
  const Dataset& data = source_.dataset();
  EMPORIUM_ASSIGN_OR_RETURN(NpyWriter matrix,
                            NpyWriter::Create(dir + "/" + kItemVectorsName, scorer_.width()));
  IdMapWriter ids(true);
  std::vector<float> vectors;
  for (int64_t c = 0; c < source_.ItemChunks(); ++c) {
    EMPORIUM_ASSIGN_OR_RETURN(const std::string bytes, chunks(c));
    EMPORIUM_ASSIGN_OR_RETURN(const VectorChunk chunk,
                              DecodeVectors(bytes, VectorKind::kItems, scorer_.width()));
    for (const int32_t item : chunk.numbers) {
      if (item != ids.rows() || item >= data.items()) {
        return DataLoss("export chunk " + std::to_string(c) + " holds other items than the data");
      }
      ids.Add(data.item_id(item), data.item_title(item));
    }
    EMPORIUM_RETURN_IF_ERROR(matrix.Append(chunk.values));
    vectors.insert(vectors.end(), chunk.values.begin(), chunk.values.end());
  }
  if (ids.rows() != data.items() || ids.rows() == 0) {
    return DataLoss("export: the chunks hold " + std::to_string(ids.rows()) +
                    " items, the data has " + std::to_string(data.items()));
  }
  EMPORIUM_RETURN_IF_ERROR(matrix.Finish());
  EMPORIUM_RETURN_IF_ERROR(runtime::WriteFileDurably(dir + "/" + kItemIdsName, ids.text()));
  return vectors;
}

Status Exporter::WriteUsers(const std::string& dir, const ChunkSource& chunks) const {
  const Dataset& data = source_.dataset();
  EMPORIUM_ASSIGN_OR_RETURN(NpyWriter matrix,
                            NpyWriter::Create(dir + "/" + kUserVectorsName, scorer_.width()));
  IdMapWriter ids(false);
  int32_t last = -1;
  for (int64_t c = source_.ItemChunks(); c < Chunks(); ++c) {
    EMPORIUM_ASSIGN_OR_RETURN(const std::string bytes, chunks(c));
    EMPORIUM_ASSIGN_OR_RETURN(const VectorChunk chunk,
                              DecodeVectors(bytes, VectorKind::kUsers, scorer_.width()));
    for (const int32_t user : chunk.numbers) {
      if (user <= last || user >= data.users()) {
        return DataLoss("export chunk " + std::to_string(c) + " holds other users than the data");
      }
      last = user;
      ids.Add(data.user_id(user), "");
    }
    EMPORIUM_RETURN_IF_ERROR(matrix.Append(chunk.values));
  }
  EMPORIUM_RETURN_IF_ERROR(matrix.Finish());
  return runtime::WriteFileDurably(dir + "/" + kUserIdsName, ids.text());
}

Result<std::vector<control::Metric>> Exporter::Combine(StageId stage,
                                                       const ChunkSource& chunks) const {
  EMPORIUM_ASSIGN_OR_RETURN(const spec::Export settings, SettingsOf(stage));
  const std::string final_dir =
      export_root_ + "/" + job_.stage(static_cast<int>(stage.value())).name();
  const std::string dir = final_dir + ".tmp";
  EMPORIUM_RETURN_IF_ERROR(runtime::RemoveDir(dir));
  EMPORIUM_RETURN_IF_ERROR(runtime::MakeDirs(dir));

  EMPORIUM_ASSIGN_OR_RETURN(const std::vector<float> items, WriteItems(dir, chunks));
  EMPORIUM_RETURN_IF_ERROR(WriteUsers(dir, chunks));
  const std::string kind = spec::Export::Index_Name(settings.index());
  const std::string index_path = dir + "/" + IndexFileName(kind);
  EMPORIUM_RETURN_IF_ERROR(BuildIndex(settings, items, scorer_.width(), index_path));
  // Measured on what was written, as a reader will see it.
  const uint32_t effort = SearchEffort(settings);
  EMPORIUM_ASSIGN_OR_RETURN(const auto index, OpenIndex(kind, index_path, scorer_.width(), effort));
  EMPORIUM_ASSIGN_OR_RETURN(const NpyReader users, NpyReader::Open(dir + "/" + kUserVectorsName));
  EMPORIUM_ASSIGN_OR_RETURN(
      const Recall recall,
      MeasureRecall(*index, items, users, static_cast<int32_t>(settings.recall_k()),
                    settings.recall_sample()));

  spec::ExportManifest manifest;
  manifest.set_format(kExportFormat);
  manifest.set_job_name(job_.name());
  manifest.set_job_fingerprint(runtime::JobFingerprint(job_));
  manifest.set_index_kind(kind);
  manifest.set_items(items.size() / scorer_.width());
  manifest.set_users(users.rows());
  manifest.set_width(scorer_.width());
  manifest.set_popularity_width(job_.model().two_tower().has_popularity() ? 1 : 0);
  manifest.set_search_effort(effort);
  manifest.set_recall_k(recall.k);
  manifest.set_recall_sample(recall.users);
  if (recall.users > 0) manifest.set_recall(recall.value);
  for (const std::string& name :
       {std::string(kItemVectorsName), std::string(kUserVectorsName), std::string(kItemIdsName),
        std::string(kUserIdsName), IndexFileName(kind)}) {
    EMPORIUM_RETURN_IF_ERROR(AddFile(dir, name, &manifest));
  }
  std::string text;
  google::protobuf::TextFormat::PrintToString(manifest, &text);
  EMPORIUM_RETURN_IF_ERROR(runtime::WriteSealed(dir + "/" + runtime::kManifestName, text));
  EMPORIUM_RETURN_IF_ERROR(runtime::ReplaceDirDurably(dir, final_dir));

  std::vector<control::Metric> metrics;
  metrics.push_back(MetricOf("items", static_cast<double>(manifest.items())));
  metrics.push_back(MetricOf("users", static_cast<double>(manifest.users())));
  if (recall.users > 0) {
    metrics.push_back(MetricOf("recall@" + std::to_string(recall.k), recall.value));
  }
  return metrics;
}

}  // namespace emporium::worker
