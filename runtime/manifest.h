// Checkpoints as directories: <root>/checkpoint-<number>/, with the shards' files and a MANIFEST.
// Without a MANIFEST that is whole, a checkpoint does not exist. What the files hold is not known
// here (ps/checkpoint.h). Any thread; no state.
//
//   MANIFEST := "sha256 " hex64 "\n" text     the text is a message in Protobuf text format, the
//                                             digest is of the text
//
// Order of writing: the shards' files, each under a temporary name, synced, renamed; then the
// MANIFEST in the same way. Order of removing: the MANIFEST first.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/ids.h"
#include "proto/manifest.pb.h"
#include "proto/status.h"

namespace emporium::runtime {

// 2: some files hold changes to earlier ones. 3: the content digest is over XXH3 of rows
// (ps/digest.h), before it was over SHA-256. 4: files have XXH3 digests, before SHA-256.
inline constexpr uint32_t kCheckpointFormat = 4;
inline constexpr const char* kManifestName = "MANIFEST";

// A text file that begins with the digest of the rest of it. DataLoss when the two do not agree.
Status WriteSealed(const std::string& path, std::string_view text);
Result<std::string> ReadSealed(const std::string& path);

std::string CheckpointDir(const std::string& root, uint64_t number);

Status WriteManifest(const std::string& dir, const spec::CheckpointManifest& manifest);
// Syncs what the checkpoint's directory holds by name, and its own name: whoever finds a checkpoint
// that another process has written does so before relying on it.
Status SyncNames(const std::string& dir);
// NotFound: no checkpoint there. DataLoss: damaged. InvalidArgument: of a newer format, or with
// paths that lead out of the directory.
Result<spec::CheckpointManifest> ReadManifest(const std::string& dir);

// Gives files of the checkpoint in `from` second names in `dir`: name there -> name in `from`.
Status LinkFiles(const std::string& from, const std::map<std::string, std::string>& links,
                 const std::string& dir);

// Every file of the manifest is there with its size. DataLoss names the first that is not.
Status VerifySizes(const std::string& dir, const spec::CheckpointManifest& manifest);
// The file at `path` has the digest that a checkpoint's manifest says. DataLoss when not.
Status VerifyDigest(const std::string& path, const spec::ManifestFile& file);
// VerifySizes, then VerifyDigest of every file. `earlier`: also of those that were written, and
// verified, for an earlier checkpoint.
Status VerifyFiles(const std::string& dir, const spec::CheckpointManifest& manifest,
                   bool earlier = true);

struct CheckpointInfo {
  uint64_t number = 0;
  std::string dir;
  Status status;                      // of the MANIFEST; the files are not looked at
  spec::CheckpointManifest manifest;  // where status is Ok
};
// All that lie in `root`, by ascending number; a root that does not exist has none.
Result<std::vector<CheckpointInfo>> ListCheckpoints(const std::string& root);

// The newest one whose manifest and files are whole, if there is one. Every newer one that had to
// be passed over is told in `passed_over`, one line each. InvalidArgument when the newest whole one
// is of another job.
Result<std::optional<CheckpointInfo>> NewestCheckpoint(const std::string& root,
                                                       const std::string& job_fingerprint,
                                                       std::vector<std::string>* passed_over);

// Removes a checkpoint or what is left of one, the manifest first; servers may still write files.
Status RemoveCheckpoint(const std::string& dir);
// Removes what is older than the `keep` newest checkpoints whose MANIFEST is whole and whose files
// have their sizes, finished or not, and not number `also`. What is newer than all of them is left
// alone: it may be in the making. Where those that are kept are all changes to one whole
// checkpoint, the newest that is not is kept too: damage to one file must not cost them all.
Status PruneCheckpoints(const std::string& root, uint32_t keep, std::optional<uint64_t> also);

// Lower-case hex of the SHA-256 over the partitions' digests in order of partition: the same for a
// state however many shards hold it. The digests of all shards together must name each of
// [0, partitions) once; InvalidArgument otherwise.
Result<std::string> ContentDigest(const std::map<PartitionId, std::string>& partition_digests,
                                  uint32_t partitions);

}  // namespace emporium::runtime
