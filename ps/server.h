// A server: some shards with a thread each, and one thread that keeps the way to the scheduler
// open, takes its commands and reports. The commands are carried out by a third kind of thread, so
// that the heartbeat goes on while a large checkpoint is read. Files of a checkpoint are written by
// a fourth kind, one a shard, while shards serve on (ps/checkpoint_job.h).
//
// When the scheduler cannot be reached the server asks again with growing pauses until it is told
// to stop. Its shards serve until the lease is over, and again when the scheduler has been reached:
// it may have given their rows to another server by then. A scheduler that does not know the server
// any more is registered with again, and then says what to restore.
//
// The object may be used by any thread. Start, RequestStop, Join.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "proto/Scheduler.h"
#include "proto/job.pb.h"
#include "proto/status.h"
#include "ps/checkpoint_job.h"
#include "ps/page_ahead.h"
#include "ps/shard_thread.h"
#include "runtime/queue.h"
#include "runtime/route.h"
#include "runtime/thread_annotations.h"
#include "runtime/transport.h"

namespace emporium::ps {

struct ServerConfig {
  spec::Job job;
  std::string job_fingerprint;
  std::string host_name;               // for people
  std::string name;                    // of the process, see control::Registration
  int64_t started_ms = 0;              // likewise
  std::vector<std::string> endpoints;  // to bind, one per shard (runtime/transport.h)
  // Both outlive the server.
  runtime::Context* context = nullptr;
  control::SchedulerIf* scheduler = nullptr;
};

class Server {
 public:
  // Binds every endpoint; an error names the one that could not be.
  static Result<std::unique_ptr<Server>> Start(ServerConfig config);
  // Stops and joins.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // The shards' endpoints with the ports that were bound.
  std::vector<std::string> endpoints() const;
  // Leave in good order, as if the scheduler had said STOP. Does not wait.
  void RequestStop() EMPORIUM_EXCLUDES(mutex_);
  // Waits until the server has left: Ok after STOP or RequestStop, else why it could not go on.
  Status Join() EMPORIUM_EXCLUDES(mutex_);

  explicit Server(ServerConfig config);  // for Start

 private:
  // What carrying out a command gave.
  struct Outcome {
    int64_t sequence = 0;
    Status status;
  };
  // What came of the newest checkpoint whose cut was taken.
  struct Written {
    int64_t checkpoint = 0;
    Status status;
    std::vector<control::ShardFile> files;
  };
  using Work =
      std::function<Status(size_t i, std::unique_ptr<Shard>& shard, std::vector<Send>* out)>;

  // The control thread.
  void Control() EMPORIUM_EXCLUDES(mutex_);
  Status Register() EMPORIUM_EXCLUDES(mutex_);
  Status RegisterUntilKnown() EMPORIUM_EXCLUDES(mutex_);
  Status Serve() EMPORIUM_EXCLUDES(mutex_);
  // Whether the lease allows to serve; tells the shards when that has changed.
  void SetServing(bool serving);
  Result<control::Command> Await() EMPORIUM_EXCLUDES(mutex_);
  void Take(const control::Command& command) EMPORIUM_EXCLUDES(mutex_);
  control::Report MakeReport() EMPORIUM_EXCLUDES(mutex_);
  void SayFarewell() EMPORIUM_EXCLUDES(mutex_);
  bool stop_requested() const EMPORIUM_EXCLUDES(mutex_);
  // Until there is something to report that was not, or nothing is in work, or so much time has
  // passed, or stop was requested.
  void WaitForOutcome(int64_t milliseconds) EMPORIUM_EXCLUDES(mutex_);
  // A pause that grows from try to try; ends early when stop was requested.
  void Pause(int* tries) EMPORIUM_EXCLUDES(mutex_);

  // The executor's thread.
  void Execute() EMPORIUM_EXCLUDES(mutex_);
  Status Restore(const control::Command& command);
  // Takes the cut of every shard, and has the files written.
  Status Checkpoint(const control::Command& command);
  // On a thread of the job that has written them, or could not.
  void TakeWritten(int64_t number, Result<std::vector<control::ShardFile>> files, double seconds)
      EMPORIUM_EXCLUDES(mutex_);
  // Runs `work` on every shard's thread, side by side; the first error. `feeds`: of the cuts that
  // the work takes, or empty.
  Status OnEveryShard(const Work& work, const CheckpointJob::Feeds& feeds = {});

  const ServerConfig config_;
  PageAhead page_ahead_;  // of all shards
  std::vector<std::unique_ptr<ShardThread>> shards_;

  // Control thread only, but for the first two, which the executor reads while it has a command
  // (the control thread writes them only while there is none).
  int32_t first_shard_ = 0;
  int64_t incarnation_ = 0;
  int64_t node_ = 0;
  int64_t heartbeat_ms_ = 0;
  int64_t lease_ms_ = 0;
  bool serving_ = true;

  std::unique_ptr<CheckpointJob> checkpoint_job_;  // executor's; after it has ended, control's

  runtime::Queue<control::Command> commands_;
  mutable runtime::Mutex mutex_;
  runtime::CondVar changed_;
  bool stop_ EMPORIUM_GUARDED_BY(mutex_) = false;
  bool left_ EMPORIUM_GUARDED_BY(mutex_) = false;
  Status left_why_ EMPORIUM_GUARDED_BY(mutex_);
  int64_t seen_ EMPORIUM_GUARDED_BY(mutex_) = 0;  // newest command taken
  Outcome outcome_ EMPORIUM_GUARDED_BY(mutex_);   // of the newest command done
  Written written_ EMPORIUM_GUARDED_BY(mutex_);
  int64_t writing_ EMPORIUM_GUARDED_BY(mutex_) = 0;        // checkpoint in work; 0: none
  int64_t told_sequence_ EMPORIUM_GUARDED_BY(mutex_) = 0;  // outcomes that the scheduler knows
  int64_t told_checkpoint_ EMPORIUM_GUARDED_BY(mutex_) = 0;
  std::map<std::string, double> seconds_ EMPORIUM_GUARDED_BY(mutex_);  // by kind of command

  std::thread executor_;
  std::thread control_;
};

}  // namespace emporium::ps
