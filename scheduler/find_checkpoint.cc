#include "scheduler/find_checkpoint.h"

#include <algorithm>

namespace emporium::scheduler {

Result<FoundCheckpoint> FindCheckpoint(const std::string& root, const std::string& fingerprint,
                                       const StoredState& stored) {
  FoundCheckpoint found;
  for (const CheckpointRecord& record : stored.checkpoints) {
    found.next_number = std::max(found.next_number, record.number + 1);
  }
  EMPORIUM_ASSIGN_OR_RETURN(const std::vector<runtime::CheckpointInfo> all,
                            runtime::ListCheckpoints(root));
  for (const runtime::CheckpointInfo& info : all) {
    found.next_number = std::max(found.next_number, info.number + 1);
    if (info.status.code() != StatusCode::kNotFound) continue;
    EMPORIUM_RETURN_IF_ERROR(runtime::RemoveCheckpoint(info.dir));
    found.notes.push_back({Note::Level::kInfo, info.dir + " was never finished; removed"});
  }
  std::vector<std::string> passed_over;
  EMPORIUM_ASSIGN_OR_RETURN(found.checkpoint,
                            runtime::NewestCheckpoint(root, fingerprint, &passed_over));
  if (found.checkpoint.has_value()) {
    EMPORIUM_RETURN_IF_ERROR(runtime::SyncNames(found.checkpoint->dir));
  }
  std::string damaged;
  for (const std::string& line : passed_over) {
    found.notes.push_back({Note::Level::kWarning, "passed over: " + line});
    damaged += (damaged.empty() ? "" : "; ") + line;
  }
  if (!passed_over.empty() && !found.checkpoint.has_value()) {
    return DataLoss("no checkpoint in " + root + " is whole (" + damaged +
                    "); remove that directory to begin anew");
  }
  return found;
}

}  // namespace emporium::scheduler
