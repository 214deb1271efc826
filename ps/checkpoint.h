// A shard's part of a checkpoint: one HDF5 file, and the way back from the files of any number of
// shards. The directory, its manifest and the list of checkpoints are runtime/manifest.h's.
//
//   /                 attributes: format, job_fingerprint, shard, partitions, stage, version,
//                     global_step, parent u64 (of a file of changes: see below)
//   /partition        u16 [P]: the partitions of the file, ascending
//   /tables/<id>      attributes: name, dim, element (spec.ElementType), state, popularity,
//                     total_value f64, total_step u32, total_time u32, extra, sketch_width (0: no
//                     admission)
//     offset          u64 [P + 1]: rows of the file's i-th partition are [offset i, offset i + 1)
//     key             u64 [n], ascending within a partition
//     weights f32 [n, dim], of another element type than FP32: u8 [n, WeightBytes]
//     state f32 [n, s]       popularity f32 [n] (if kept)
//     last_step u32 [n]      updates u32 [n]      extra u32 [n, e] (ps/row_slots.h, if e > 0)
//     sketch u8 [P, 4 w]     sketch_held u32 [P]  (ps/admission.h)
//     slot_totals     f64 [c]: of the table's counters, as of total_step (if c > 0)
//     gone u64 [g], gone_offset u64 [P + 1]: of a file of changes, keys whose rows went
//
// A file of changes (format 3) holds the rows that changed since checkpoint `parent`. The files of
// all checkpoints from the last whole one on make up the content: rows of a later one take the
// place of those before, once those that are gone have been taken out.
//
// Datasets with elements are chunked with Fletcher32 checksums; the file's own structure has
// checksums too (libver latest). Rows stream through blocks of bounded size in both directions.
//
// A file appears under its name when it is whole and synced; a failure leaves nothing behind.
// The functions belong to the shard's thread where they take a shard, else to any thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "proto/ids.h"
#include "proto/manifest.pb.h"
#include "proto/status.h"
#include "ps/cut.h"
#include "ps/shard.h"

namespace emporium::ps {

inline constexpr uint32_t kShardFileFormat = 2;
inline constexpr uint32_t kChangesFileFormat = 3;

// Of rows that are copied at once: a shard answers nobody while it copies them, less than a tenth
// of a millisecond. Larger blocks would be taken from the kernel, page by page, each time.
inline constexpr size_t kCutPieceBytes = 64 << 10;

struct ShardFileInfo {
  uint64_t parent = 0;  // of a file of changes; 0: it holds all rows
  std::string path;     // relative to the checkpoint's directory
  uint64_t bytes = 0;
  std::string xxh3;  // runtime::Xxh3OfFile, of what was read back
  std::map<PartitionId, std::string> partition_digests;  // ps/digest.h
};

// Writes the file of a cut into `dir`, which exists, from the pieces that `source` gives. Cancelled
// when it ends before the cut is complete. `incarnation` keeps temporary names of two processes
// apart.
Result<ShardFileInfo> WriteShardFile(const Cut& cut, const CutSource& source,
                                     const std::string& dir, const std::string& job_fingerprint,
                                     uint64_t incarnation);
// The same for all rows of a shard, which stands at a stage (Shard::ReadyForCheckpoint) and waits
// until the file is written.
Result<ShardFileInfo> WriteShardFile(Shard& shard, const std::string& dir,
                                     const std::string& job_fingerprint, uint64_t incarnation);

// Fills a fresh shard with its partitions' rows out of all files of the manifest, whatever shards
// wrote them, and sets its position. The caller has seen every file's size and digest to be what
// the manifest says (runtime::VerifyFiles) before any is opened here.
Status RestoreShard(const std::string& dir, const spec::CheckpointManifest& manifest,
                    const std::string& job_fingerprint, Shard* shard);

// Reads a checkpoint back whole: manifest, sizes, digests, every row, the content digest. On
// success `report` gets a few lines for people. DataLoss names the first bad byte range as far as
// it can be known: file, dataset, rows, bytes.
Status VerifyCheckpoint(const std::string& dir, std::string* report);

}  // namespace emporium::ps
