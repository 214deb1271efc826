// The worker's line to all shards. One thread owns the sockets; everybody else hands it calls. A
// call is one frame to each of some shards, and ends when all of them have answered, or one has
// refused, or time is up.
//
// Retries are made here: a frame without an answer is sent again after limits::kCallTimeoutMs (a
// shard recognises repetitions), one that was answered Busy after limits::kBusyDelayMs; either way
// for as long as kMaxCallAttempts timeouts take together. A first frame that was answered NotFound
// (it speaks of keys that the shard does not know) is repeated at once, as `encode` makes it. Every
// other refusal goes to the caller, Stale among them.
//
// Any thread may use it. Callbacks run on the client's thread and must not block.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "proto/frame.h"
#include "proto/status.h"
#include "runtime/route.h"
#include "runtime/transport.h"

namespace emporium::worker {

struct PsCall {
  uint64_t request_id = 0;                   // NewRequestId(), also in the frames
  FrameType answer = FrameType::kPullReply;  // what success looks like
  std::vector<Bytes> frames;                 // by shard: what is sent first
  // Makes the frame of a shard for a repetition, which takes nothing for known. What it refers to
  // lives until `done`.
  std::function<Bytes(size_t shard)> encode;
  // Called exactly once. `replies` by shard, only when the status is ok.
  std::function<void(const Status& status, std::vector<runtime::Message> replies)> done;
};

struct PsClientCounters {
  int64_t bytes_sent = 0;  // pushes and pulls as first sent
  int64_t bytes_received = 0;
  int64_t repetitions = 0;
  int64_t refused_frames = 0;  // answers that were no frames
};

class PsClient {
 public:
  static std::unique_ptr<PsClient> Start(runtime::Context& context);
  virtual ~PsClient() = default;

  // Connects to the shards of a route. Calls in progress end with Cancelled.
  virtual Status SetRoute(std::shared_ptr<const runtime::Route> route) = 0;
  // The route of the last SetRoute; null before. Shared, because calls under way hold it.
  virtual std::shared_ptr<const runtime::Route> route() const = 0;

  virtual uint64_t NewRequestId() = 0;
  virtual void Call(PsCall call) = 0;
  // Ends every call that was made before with Cancelled; when it returns none of their callbacks is
  // running or will run.
  virtual void CancelAll() = 0;
  // As CancelAll, and so end all calls until Resume.
  virtual void Interrupt() = 0;
  virtual void Resume() = 0;
  virtual PsClientCounters counters() const = 0;
};

// As PsClient::Call, waiting for the answers. Not from a callback.
Result<std::vector<runtime::Message>> CallAndWait(PsClient& client, PsCall call);

// The header of a pull that every shard answers at once, whatever its version.
FrameHeader AnyVersionPull(PsClient& client, const runtime::Route& route, StageId stage,
                           Generation generation);

// Where a shard stands.
struct ShardPosition {
  StageId stage;
  Step version;
  uint32_t lowest_missing = 0;  // micro-batch of the step `version`
};
// Asks all shards at once.
Result<std::vector<ShardPosition>> ProbeShards(PsClient& client, StageId stage,
                                               Generation generation);

}  // namespace emporium::worker
