// Places at which a test can have the process end as if it had been killed there: exactly between
// two things that must not depend on both having happened. `--failpoint=NAME[:N]` arms one of them
// in a process, for the N-th time that it is passed (default: the first). tests/chaos visits all.
// `--failpoint=NAME,NAME...@FILE` ends nothing: it appends a line to FILE for each time that one of
// them is passed, "NAME nanoseconds" of the monotonic clock, to measure what lies between.
//
// Any thread. Armed once, before anything is started; a place that is not armed costs one load.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "proto/status.h"

namespace emporium::runtime {

// The part before the first dot says which process passes it.
inline constexpr std::array kFailpoints = {
    // The scheduler.
    std::string_view("scheduler.before_save"),  // an event has changed its state
    std::string_view("scheduler.saved"),        // and nobody has heard of it
    std::string_view("scheduler.registered"),
    std::string_view("scheduler.report_taken"),
    std::string_view("scheduler.chunk_taken"),
    std::string_view("scheduler.metrics_taken"),
    std::string_view("scheduler.checkpoint_dir_made"),
    std::string_view("scheduler.checkpoint_parents_linked"),
    std::string_view("scheduler.checkpoint_files_verified"),
    std::string_view("scheduler.checkpoint_manifest_written"),
    std::string_view("scheduler.checkpoint_manifest_read"),
    std::string_view("scheduler.checkpoint_noted"),
    std::string_view("scheduler.prune_begun"),
    std::string_view("scheduler.prune_manifest_removed"),
    // Whoever writes a small file durably: the scheduler its manifests.
    std::string_view("any.file_written"),  // beside its place
    std::string_view("any.file_renamed"),
    // A server.
    std::string_view("server.bound"),
    std::string_view("server.registered"),
    std::string_view("server.command_taken"),
    std::string_view("server.restore_begun"),
    std::string_view("server.restore_manifest_read"),
    std::string_view("server.restore_shard_read"),
    std::string_view("server.restore_done"),
    std::string_view("server.checkpoint_begun"),
    std::string_view("server.checkpoint_cut"),
    std::string_view("server.checkpoint_file_opened"),
    std::string_view("server.checkpoint_file_synced"),
    std::string_view("server.checkpoint_file_renamed"),
    std::string_view("server.checkpoint_done"),
    std::string_view("server.frame_received"),
    std::string_view("server.frame_handled"),  // and not answered
    std::string_view("server.frame_answered"),
    std::string_view("server.step_applied"),  // and nobody has been told
    std::string_view("server.report_sent"),
    // A worker.
    std::string_view("worker.registered"),
    std::string_view("worker.command_taken"),
    std::string_view("worker.shards_probed"),
    std::string_view("worker.dense_assigned"),
    std::string_view("worker.batch_read"),
    std::string_view("worker.pull_sent"),
    std::string_view("worker.pull_answered"),
    std::string_view("worker.batch_computed"),
    std::string_view("worker.push_half_sent"),  // to the first shard alone
    std::string_view("worker.push_sent"),
    std::string_view("worker.push_acknowledged"),
    std::string_view("worker.span_done"),
    std::string_view("worker.chunk_computed"),
    std::string_view("worker.chunk_put"),
    std::string_view("worker.combined"),
    std::string_view("worker.metrics_put"),
};

// Arms "NAME", "NAME:N" or "NAME,NAME...@FILE". InvalidArgument for a name that there is not,
// Unavailable when the file cannot be written.
Status ArmFailpoint(const std::string& text);

namespace internal {
consteval int FailpointId(std::string_view name) {
  for (size_t i = 0; i < kFailpoints.size(); ++i) {
    if (kFailpoints[i] == name) return static_cast<int>(i);
  }
  throw "kFailpoints does not have it";  // does not compile
}
void Pass(int id);
}  // namespace internal

}  // namespace emporium::runtime

// Passes a place of kFailpoints; another name does not compile.
#define EMPORIUM_FAILPOINT(name)                                                   \
  do {                                                                             \
    constexpr int failpoint_id = ::emporium::runtime::internal::FailpointId(name); \
    ::emporium::runtime::internal::Pass(failpoint_id);                             \
  } while (false)
