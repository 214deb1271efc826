// Every bound of the system in one place; nothing in Emporium grows without one of these. Derived
// bounds are computed here, with the reasoning beside them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emporium::limits {

// -- The job -------------------------------------------------------------------------------------
inline constexpr uint32_t kMaxTables = 256;
inline constexpr uint32_t kMaxFeatures = 1024;
inline constexpr uint32_t kMaxDim = 4096;                // floats of one row's weights
inline constexpr uint32_t kMaxSlots = 32;                // non-trained slots of one row
inline constexpr uint32_t kMaxAdmissionSightings = 255;  // a sketch's cell is a byte
inline constexpr uint32_t kMaxSketchMib = 64u << 10;
inline constexpr uint32_t kMaxHistoryLength = 1024;  // models.md H8
inline constexpr uint32_t kMaxScenarios = 256;       // an event's number of its scenario is a byte
inline constexpr uint64_t kMaxJobFileBytes = 4u << 20;

// -- The key space -------------------------------------------------------------------------------
inline constexpr uint32_t kDefaultPartitions = 1024;
inline constexpr uint32_t kMaxPartitions = 65536;
inline constexpr uint32_t kMaxShards = 4096;

// -- The popularity of a table, as servers tell and the scheduler adds up (control.thrift) --------
inline constexpr uint32_t kPopularKeys = 16;  // most popular keys that are told
inline constexpr uint32_t kPopularityBucketsPerOctave = 4;

// -- The data plane ------------------------------------------------------------------------------
inline constexpr uint32_t kMaxKeysPerSection = 4u << 20;  // keys of one table in one message
inline constexpr uint64_t kMaxFrameBytes = 1ull << 30;    // a peer that sends more is refused
inline constexpr uint32_t kMaxMicroBatchesPerStep = 4096;
// Sightings that one push may count, of a key or all together. 2^32 steps of
// kMaxMicroBatchesPerStep such pushes are 2e25: whatever is pushed, a popularity stays a finite
// float.
inline constexpr double kMaxSightings = 1e12;
// Of a slot's total in one push: the largest floats of kMaxKeysPerSection keys are 1e45, and their
// sums over all steps stay finite doubles.
inline constexpr double kMaxSlotTotal = 1e50;
// Gradients that one shard may hold for steps that are not complete yet. Reaching it answers Busy.
inline constexpr uint64_t kMaxStagedBytesPerShard = 4ull << 30;
// Rows that one shard has copied aside because they changed before the checkpoint that is being
// written had them. Beyond it requests wait for the disk.
inline constexpr uint64_t kMaxCutBytes = 64u << 20;
// Pulls that one shard may hold until the step that they wait for is applied: each lane of each
// worker has at most kMaxPullsInFlight of them.
inline constexpr uint32_t kMaxParkedPullsPerShard = 65536;
inline constexpr uint32_t kMaxPullsInFlight = 8;
inline constexpr int64_t kCallTimeoutMs = 30'000;
// A call that a shard has not answered is sent again this often before its worker gives up; a shard
// that is Busy is asked again after the delay, for as long as all attempts together may take.
inline constexpr uint32_t kMaxCallAttempts = 4;
inline constexpr int64_t kBusyDelayMs = 20;
inline constexpr uint32_t kMaxPendingCalls = 4096;  // of one worker

// -- The control plane ---------------------------------------------------------------------------
inline constexpr int64_t kHeartbeatMs = 500;
inline constexpr int64_t kLeaseMs = 3'000;
// How long a node goes on trying to reach a scheduler that does not answer.
inline constexpr int64_t kSchedulerPatienceMs = 60'000;
inline constexpr uint32_t kMaxNodes = 8192;
inline constexpr uint32_t kMaxControlMessageBytes = 64u << 20;

// -- Evaluation ----------------------------------------------------------------------------------
inline constexpr uint32_t kMaxSliceValues = 1000;  // of one slice column; a metric list each
// Each node holds its await open and now and then a second call; people look at the status.
inline constexpr uint32_t kMaxControlConnections = 2 * kMaxNodes + 64;

}  // namespace emporium::limits
