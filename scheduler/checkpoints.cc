#include "scheduler/checkpoints.h"

#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "proto/planted_bug.h"
#include "runtime/manifest.h"

namespace emporium::scheduler {

using nlohmann::json;

std::string EncodeState(const CheckpointState& state) {
  json j = {{"format", 1},
            {"data_digest", state.data_digest},
            {"step", state.cursor.step},
            {"without_improvement", state.cursor.without_improvement},
            {"plateaus", state.cursor.plateaus},
            {"stopped_early", state.cursor.stopped_early}};
  if (state.cursor.validated_step) j["validated_step"] = *state.cursor.validated_step;
  if (state.cursor.best) j["best"] = *state.cursor.best;  // written so that it reads back the same
  if (state.cursor.best_step) j["best_step"] = *state.cursor.best_step;
  if (state.cursor.best_checkpoint) j["best_checkpoint"] = *state.cursor.best_checkpoint;
  for (const LeftOut& one : state.cursor.left_out) {
    j["left_out"].push_back({{"stage", one.stage},
                             {"step", one.step},
                             {"micro_batch", one.micro_batch},
                             {"why", one.why}});
  }
  return j.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<CheckpointState> DecodeState(const std::string& bytes) {
  try {
    const json j = json::parse(bytes);
    if (j.at("format").get<int>() != 1) return DataLoss("state of another version of Emporium");
    CheckpointState state;
    state.data_digest = j.at("data_digest").get<std::string>();
    state.cursor.step = j.at("step").get<uint64_t>();
    state.cursor.without_improvement = j.at("without_improvement").get<uint32_t>();
    state.cursor.stopped_early = j.at("stopped_early").get<bool>();
    state.cursor.plateaus = j.value("plateaus", 0u);
    if (j.contains("validated_step")) state.cursor.validated_step = j["validated_step"];
    if (j.contains("best")) state.cursor.best = j["best"].get<double>();
    if (j.contains("best_step")) state.cursor.best_step = j["best_step"];
    if (j.contains("best_checkpoint")) state.cursor.best_checkpoint = j["best_checkpoint"];
    for (const json& one : j.value("left_out", json::array())) {
      state.cursor.left_out.push_back(
          {one.at("stage").get<uint32_t>(), one.at("step").get<uint64_t>(),
           one.at("micro_batch").get<uint32_t>(), one.at("why").get<std::string>()});
    }
    return state;
  } catch (const json::exception& error) {
    return DataLoss(std::string("the scheduler's state cannot be read: ") + error.what());
  }
}

uint32_t SavedFiles::deltas() const {
  std::map<uint32_t, uint32_t> deltas;  // by shard
  uint32_t most = 0;
  for (const spec::ManifestFile& file : files) {
    if (file.has_checkpoint()) most = std::max(most, ++deltas[file.shard()]);
  }
  return most;
}

uint64_t CheckpointRun::bytes() const {
  uint64_t bytes = 0;
  for (const auto& [shard, file] : files_) bytes += static_cast<uint64_t>(file.bytes);
  return bytes;
}

Status CheckpointRun::AddFiles(int32_t first_shard, size_t shards,
                               const std::vector<control::ShardFile>& files) {
  if (files_.contains(first_shard)) return Status::Ok();
  std::set<int32_t> missing;
  for (size_t i = 0; i < shards; ++i) missing.insert(first_shard + static_cast<int32_t>(i));
  for (const control::ShardFile& file : files) {
    if (missing.erase(file.shard) == 0 || file.bytes < 0) {
      return InvalidArgument("a server reports a file of shard " + std::to_string(file.shard) +
                             ", which it does not have or has reported already");
    }
  }
  if (!missing.empty()) {
    return InvalidArgument("a server reports no file of shard " + std::to_string(*missing.begin()));
  }
  for (const control::ShardFile& file : files) files_[file.shard] = file;
  return Status::Ok();
}

void CheckpointRun::Fail(const std::string& why) {
  if (failure_.empty()) failure_ = why;
}

// What the changes of a shard are changes to, under names that tell where they come from.
Status CheckpointRun::AddParents(int32_t shard, spec::CheckpointManifest* manifest,
                                 std::map<std::string, std::string>* links) const {
  const size_t before = links->size();
  for (const spec::ManifestFile& file : saved_.files) {
    if (!file.has_shard() || static_cast<int32_t>(file.shard()) != shard) continue;
    spec::ManifestFile* const entry = manifest->add_file();
    *entry = file;
    if (!file.has_checkpoint()) entry->set_checkpoint(saved_.number);
    entry->set_path("shard-" + std::to_string(shard) + "." + std::to_string(entry->checkpoint()) +
                    ".h5");
    (*links)[entry->path()] = file.path();
  }
  if (links->size() > before) return Status::Ok();
  return InvalidArgument("shard " + std::to_string(shard) + " wrote changes since checkpoint " +
                         std::to_string(saved_.number) + ", which has no file of it");
}

Status CheckpointRun::FillManifest(uint32_t partitions, spec::CheckpointManifest* manifest,
                                   std::map<std::string, std::string>* links) const {
  if (!complete() && !Planted(PlantedBug::kMissesFiles)) {
    return InvalidArgument("files of " + std::to_string(files_.size()) + " of " +
                           std::to_string(shards_) + " shards");
  }
  manifest->set_format(runtime::kCheckpointFormat);
  manifest->set_number(number_);
  manifest->set_stage(position_.stage);
  manifest->set_step(position_.step);
  manifest->set_stage_done(position_.done);
  manifest->set_partitions(partitions);
  std::map<PartitionId, std::string> digests;
  for (const auto& [shard, file] : files_) {
    if (file.parent != 0) {
      if (file.parent != static_cast<int64_t>(saved_.number)) {
        return InvalidArgument("shard " + std::to_string(shard) + " wrote changes since " +
                               std::to_string(file.parent) + ", which nobody asked for");
      }
      EMPORIUM_RETURN_IF_ERROR(AddParents(shard, manifest, links));
    }
    spec::ManifestFile* entry = manifest->add_file();
    entry->set_shard(static_cast<uint32_t>(shard));
    // Servers may say the whole path; a manifest names the file in its own directory.
    entry->set_path(file.path.substr(file.path.rfind('/') + 1));
    entry->set_bytes(static_cast<uint64_t>(file.bytes));
    entry->set_xxh3(file.xxh3);
    for (const auto& [partition, digest] : file.partition_digests) {
      if (partition < 0 || static_cast<uint32_t>(partition) >= partitions ||
          !digests.emplace(PartitionId(static_cast<uint16_t>(partition)), digest).second) {
        return InvalidArgument("shard " + std::to_string(shard) + " reports partition " +
                               std::to_string(partition) +
                               ", which another one has or which is none");
      }
    }
  }
  EMPORIUM_ASSIGN_OR_RETURN(const std::string content, runtime::ContentDigest(digests, partitions));
  manifest->set_content_digest(content);
  return Status::Ok();
}

}  // namespace emporium::scheduler
