#include "runtime/manifest.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

#include "proto/planted_bug.h"
#include "runtime/failpoint.h"
#include "runtime/file.h"

namespace emporium::runtime {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSeal = "sha256 ";
constexpr size_t kSealBytes = 7 + 64 + 1;
constexpr std::string_view kDirPrefix = "checkpoint-";

// The number of a checkpoint's directory, if the name is one.
std::optional<uint64_t> NumberOf(const std::string& name) {
  if (!name.starts_with(kDirPrefix)) return std::nullopt;
  uint64_t number = 0;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + kDirPrefix.size(), end, number);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

// A name inside the directory, and nothing that leads out of it.
bool IsPlainName(const std::string& path) {
  return !path.empty() && path != "." && path != ".." && path.find('/') == std::string::npos;
}

// Keeps what protobuf would print. The text has the right digest, so it was written by a program
// that knows other fields than this one.
class FirstComplaint : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, google::protobuf::io::ColumnNumber, const std::string& what) override {
    if (text_.empty()) text_ = "line " + std::to_string(line + 1) + ": " + what;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// The checkpoint that the oldest file of this one was written for.
uint64_t BaseOf(const CheckpointInfo& info) {
  uint64_t base = info.number;
  for (const spec::ManifestFile& file : info.manifest.file()) {
    if (file.has_checkpoint()) base = std::min(base, file.checkpoint());
  }
  return base;
}

Status SyncOwnName(const std::string& dir) {
  if (Planted(PlantedBug::kForgetsDirName)) return Status::Ok();
  const fs::path root = fs::path(dir).parent_path();
  return FsyncDir(root.empty() ? "." : root.string());
}

Status SystemError(const std::string& path, const std::error_code& error) {
  return Unavailable(path + ": " + error.message());
}

}  // namespace

Status WriteSealed(const std::string& path, std::string_view text) {
  std::string bytes(kSeal);
  bytes += Sha256(text);
  bytes += '\n';
  bytes += text;
  return WriteFileDurably(path, bytes);
}

Result<std::string> ReadSealed(const std::string& path) {
  EMPORIUM_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  if (bytes.size() < kSealBytes || !bytes.starts_with(kSeal) || bytes[kSealBytes - 1] != '\n') {
    return DataLoss(path + ": does not begin with its digest");
  }
  std::string text = bytes.substr(kSealBytes);
  const bool sealed = bytes.compare(kSeal.size(), 64, Sha256(text)) == 0;
  if (!sealed && !Planted(PlantedBug::kIgnoresSeal)) {
    return DataLoss(path + ": does not have the digest that its first line says");
  }
  return text;
}

std::string CheckpointDir(const std::string& root, uint64_t number) {
  std::string digits = std::to_string(number);
  if (digits.size() < 6) digits.insert(0, 6 - digits.size(), '0');
  return (fs::path(root) / (std::string(kDirPrefix) + digits)).string();
}

Status WriteManifest(const std::string& dir, const spec::CheckpointManifest& manifest) {
  std::string text;
  if (!google::protobuf::TextFormat::PrintToString(manifest, &text)) {
    return Internal(dir + ": the manifest cannot be written as text");
  }
  EMPORIUM_RETURN_IF_ERROR(WriteSealed((fs::path(dir) / kManifestName).string(), text));
  return SyncOwnName(dir);
}

Status SyncNames(const std::string& dir) {
  EMPORIUM_RETURN_IF_ERROR(FsyncDir(dir));
  return SyncOwnName(dir);
}

Result<spec::CheckpointManifest> ReadManifest(const std::string& dir) {
  const std::string path = (fs::path(dir) / kManifestName).string();
  EMPORIUM_ASSIGN_OR_RETURN(const std::string text, ReadSealed(path));
  spec::CheckpointManifest manifest;
  FirstComplaint complaint;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&complaint);
  if (!parser.ParseFromString(text, &manifest)) {
    return DataLoss(path + ": is no checkpoint manifest of this version of Emporium (" +
                    complaint.text() + ")");
  }
  if (manifest.format() > kCheckpointFormat) {
    return InvalidArgument(path + ": format " + std::to_string(manifest.format()) +
                           ", this build reads up to " + std::to_string(kCheckpointFormat));
  }
  for (const spec::ManifestFile& file : manifest.file()) {
    if (!IsPlainName(file.path())) {
      return InvalidArgument(path + ": file '" + file.path() + "' lies outside the checkpoint");
    }
  }
  return manifest;
}

Status LinkFiles(const std::string& from, const std::map<std::string, std::string>& links,
                 const std::string& dir) {
  for (const auto& [name, there] : links) {
    EMPORIUM_RETURN_IF_ERROR(
        LinkFile((fs::path(from) / there).string(), (fs::path(dir) / name).string()));
  }
  return Status::Ok();
}

Status VerifySizes(const std::string& dir, const spec::CheckpointManifest& manifest) {
  for (const spec::ManifestFile& file : manifest.file()) {
    const fs::path path = fs::path(dir) / file.path();
    std::error_code error;
    const uint64_t bytes = fs::file_size(path, error);
    if (error) return DataLoss(path.string() + ": missing (" + error.message() + ")");
    if (bytes == file.bytes()) continue;
    return DataLoss(path.string() + ": has " + std::to_string(bytes) +
                    " bytes, the manifest says " + std::to_string(file.bytes()));
  }
  return Status::Ok();
}

Status VerifyDigest(const std::string& path, const spec::ManifestFile& file) {
  const bool sha256 = !file.has_xxh3();
  const std::string& wanted = sha256 ? file.sha256() : file.xxh3();
  EMPORIUM_ASSIGN_OR_RETURN(const std::string digest,
                            sha256 ? Sha256OfFile(path) : Xxh3OfFile(path));
  if (digest == wanted || Planted(PlantedBug::kIgnoresDigests)) return Status::Ok();
  return DataLoss(path + ": bytes were changed (" + (sha256 ? "SHA-256 " : "XXH3 ") + digest +
                  ", the manifest says " + wanted + ")");
}

Status VerifyFiles(const std::string& dir, const spec::CheckpointManifest& manifest, bool earlier) {
  EMPORIUM_RETURN_IF_ERROR(VerifySizes(dir, manifest));
  for (const spec::ManifestFile& file : manifest.file()) {
    if (file.has_checkpoint() && !earlier) continue;
    const std::string path = (fs::path(dir) / file.path()).string();
    EMPORIUM_RETURN_IF_ERROR(VerifyDigest(path, file));
  }
  return Status::Ok();
}

Result<std::vector<CheckpointInfo>> ListCheckpoints(const std::string& root) {
  std::vector<CheckpointInfo> checkpoints;
  std::error_code error;
  if (!fs::exists(root, error)) return checkpoints;
  fs::directory_iterator entries(root, error);
  if (error) return SystemError(root, error);
  for (const fs::directory_entry& entry : entries) {
    const std::optional<uint64_t> number = NumberOf(entry.path().filename().string());
    if (!number.has_value()) continue;
    CheckpointInfo info;
    info.number = *number;
    info.dir = entry.path().string();
    Result<spec::CheckpointManifest> manifest = ReadManifest(info.dir);
    info.status = manifest.status();
    if (manifest.ok()) info.manifest = std::move(manifest).value();
    checkpoints.push_back(std::move(info));
  }
  std::sort(checkpoints.begin(), checkpoints.end(),
            [](const CheckpointInfo& a, const CheckpointInfo& b) { return a.number < b.number; });
  return checkpoints;
}

Result<std::optional<CheckpointInfo>> NewestCheckpoint(const std::string& root,
                                                       const std::string& job_fingerprint,
                                                       std::vector<std::string>* passed_over) {
  EMPORIUM_ASSIGN_OR_RETURN(std::vector<CheckpointInfo> all, ListCheckpoints(root));
  for (auto info = all.rbegin(); info != all.rend(); ++info) {
    Status status = info->status;
    const bool verify = !Planted(PlantedBug::kBelievesNewest);
    if (status.ok() && verify) status = VerifyFiles(info->dir, info->manifest);
    if (status.code() == StatusCode::kDataLoss || status.code() == StatusCode::kNotFound) {
      passed_over->push_back(info->dir + ": " + status.ToString());
      continue;
    }
    // It may be whole: that it cannot be read now is no reason to go on from an older one.
    if (!status.ok()) return status.WithContext(info->dir);
    if (info->manifest.job_fingerprint() != job_fingerprint) {
      return InvalidArgument(info->dir + ": is a checkpoint of another job ('" +
                             info->manifest.job_name() +
                             "'), or the job's tables, model or seed were changed; choose another "
                             "work_dir or remove it");
    }
    return std::optional<CheckpointInfo>(std::move(*info));
  }
  return std::optional<CheckpointInfo>();
}

Status RemoveCheckpoint(const std::string& dir) {
  std::error_code error;
  fs::remove(fs::path(dir) / kManifestName, error);
  EMPORIUM_FAILPOINT("scheduler.prune_manifest_removed");
  if (error) return SystemError(dir, error);
  return RemoveDir(dir);
}

Status PruneCheckpoints(const std::string& root, uint32_t keep, std::optional<uint64_t> also) {
  EMPORIUM_FAILPOINT("scheduler.prune_begun");
  EMPORIUM_ASSIGN_OR_RETURN(const std::vector<CheckpointInfo> all, ListCheckpoints(root));
  uint32_t whole = 0;
  std::set<uint64_t> bases;  // of those that are kept
  for (auto info = all.rbegin(); info != all.rend(); ++info) {
    const bool fits = info->status.ok() && VerifySizes(info->dir, info->manifest).ok();
    const bool other = fits && bases.size() < 2 && !bases.contains(BaseOf(*info));
    if (whole < keep || other) {
      if (fits) {
        ++whole;
        bases.insert(BaseOf(*info));
      }
    } else if (info->number != also) {
      EMPORIUM_RETURN_IF_ERROR(RemoveCheckpoint(info->dir));
    }
  }
  return Status::Ok();
}

Result<std::string> ContentDigest(const std::map<PartitionId, std::string>& partition_digests,
                                  uint32_t partitions) {
  std::string all;
  uint32_t expected = 0;
  for (const auto& [partition, digest] : partition_digests) {
    if (partition.value() != expected++ || digest.size() != 32) {
      return InvalidArgument("partition " + std::to_string(expected - 1) + " has no digest");
    }
    all += digest;
  }
  if (expected != partitions) {
    return InvalidArgument("digests of " + std::to_string(expected) + " of " +
                           std::to_string(partitions) + " partitions");
  }
  return Sha256(all);
}

}  // namespace emporium::runtime
