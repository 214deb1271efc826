// Bounds of the scheduler, beside those of proto/limits.h. Nothing it keeps grows without one.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emporium::scheduler::limits {

// A job whose last worker went away waits so long for another one.
inline constexpr int64_t kNoWorkerWaitMs = 30'000;
// A job that lost a server waits so long for another one.
inline constexpr int64_t kNoServerWaitMs = 300'000;
// So often a job goes back to the same checkpoint; then what kills its servers is in the job.
inline constexpr uint32_t kMaxReturns = 20;
// A worker's work that failed is given to others; when so many have failed, it is the work.
inline constexpr size_t kMaxFailedWorkers = 3;
// Failures of micro-batches in a span, until one of them has failed on enough workers. With more it
// is not the data.
inline constexpr uint32_t kMaxSuspicions = 64;
// Of the error of a micro-batch that is left out: it names files and lines (worker/origin.h bounds
// how many) before it says what is wrong with them.
inline constexpr size_t kMaxLeftOutText = 1'024;
// Work that shards could not be reached for is done again so often, before it counts as failed.
inline constexpr uint32_t kMaxRetries = 3;
// Nodes have so long to leave after STOP; then the job is over without them.
inline constexpr int64_t kStopWaitMs = 10'000;
// A tick that comes so late means that this process did not run: every lease starts anew.
inline constexpr int64_t kLateTickMs = 1'000;

// Results of the chunks of one evaluation or export, held in memory until they are combined.
inline constexpr uint64_t kMaxChunkBytes = 4ull << 30;
inline constexpr int64_t kMaxChunks = 1 << 20;
// One answer of getChunks: at most this, but at least one chunk. Half of a control message, and a
// chunk is smaller than a control message.
inline constexpr uint64_t kChunkAnswerBytes = 32u << 20;

// Losses of steps that are not complete yet, and points of a stage's curve (between half of it and
// all of it, once there are as many steps).
inline constexpr uint64_t kMaxOpenSteps = 1'024;
inline constexpr size_t kMaxCurvePoints = 1'024;
inline constexpr size_t kMaxLossTerms = 64;
// Names in one report: tables, parts of the time, metrics.
inline constexpr size_t kMaxReportNames = 1'024;
inline constexpr size_t kMaxMetrics = 65'536;
inline constexpr size_t kMaxErrorText = 4'096;

// Events and checkpoints that the status shows and the state store keeps.
inline constexpr size_t kMaxEvents = 1'000;
inline constexpr size_t kMaxCheckpointRecords = 1'000;
// Changes that wait for a state store that cannot be written, before old events are let go.
inline constexpr size_t kMaxUnsavedChanges = 4'096;

// The samples-per-second that people see is a mean over so long.
inline constexpr int64_t kRateWindowMs = 10'000;

}  // namespace emporium::scheduler::limits
