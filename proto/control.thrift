// The scheduler's service: what servers, workers and the command line say to it.
//
// Every node registers once per process start and then keeps one `await` call open: it is at once
// the heartbeat, the report and the way in which the scheduler gives its next command. A call with
// an old incarnation is refused with Refused(STALE).
namespace cpp emporium.control

enum NodeKind { SERVER = 0, WORKER = 1 }

// Refusal of a call; `code` is a StatusCode of proto/status.h.
exception Refused { 1: i32 code, 2: string message }

// The partition -> shard -> endpoint map. Immutable; a newer one has a higher version.
struct Route {
  1: i64 version,
  2: list<i32> shard_of_partition,   // index: partition
  3: list<string> endpoint_of_shard  // ZeroMQ endpoints
}

// The sizes of a job's work, a function of job file and data alone.
struct DatasetFacts {
  1: string digest,                    // of the converted data; workers that differ are refused
  2: list<i64> train_samples_of_stage, // index: stage; 0 where the stage is not train
  3: list<i64> chunks_of_stage,        // evaluate and export chunks of the stage; see worker/
  4: list<i64> validation_chunks_of_stage
}

struct Registration {
  1: NodeKind kind,
  2: string host_name,
  3: i32 pid,
  4: list<string> shard_endpoints,   // servers: one a shard
  5: string job_fingerprint,         // of the job file that the node was started with
  6: i32 lanes,                      // workers
  // What the data says, the same on every worker: see worker/dataset.h. Workers only.
  7: DatasetFacts facts,
  // Given by whoever starts the process again when it dies; empty: by nobody. The newest process
  // of a name takes the place of the one before.
  8: string name,
  9: i64 started_ms                  // of the process, in milliseconds since 1970
}

struct Registered {
  1: i64 node,          // id of this node, never used twice
  2: i64 incarnation,
  3: i64 heartbeat_ms,
  4: i64 lease_ms,
  5: i32 first_shard    // servers: id of their first shard
}

enum CommandKind {
  WAIT = 0,        // nothing to do; call await again
  RESTORE = 1,     // servers: read `checkpoint_dir` (empty: start from nothing), then stand ready
  // servers: write shard files into `checkpoint_dir`; all shards stand at `until_step`. Done when
  // the shards may go on; the files follow in a later report.
  CHECKPOINT = 2,
  TRAIN = 3,       // workers: steps [from_step, until_step) of `stage`, micro-batches rank, rank + workers, ...
  EVALUATE = 4,    // workers: chunks rank, rank + workers, ... of `chunks`
  EXPORT = 5,      // workers: the same for export chunks
  COMBINE = 6,     // one worker: merge the results of all chunks into metrics (or an index)
  PAUSE = 7,       // workers: start no further step; report the highest step begun
  STOP = 8,        // leave in good order
  HOLD = 9         // workers: give up what is being done, and wait for the next command
}

// A micro-batch of the train stage in work.
struct MicroBatchName { 1: i64 step, 2: i32 micro_batch }

struct Command {
  1: i64 sequence,       // grows by one with every new command to this node
  2: CommandKind kind,
  3: i64 generation,
  4: i32 stage,
  5: i32 rank,
  6: i32 workers,
  7: i64 from_step,      // EVALUATE, EXPORT, COMBINE: where the stage stands
  8: i64 until_step,
  9: i64 stage_steps,    // total steps of the train stage, for the learning-rate schedule
  10: i64 chunks,
  11: bool validation,   // EVALUATE and COMBINE: of a train stage's validation
  12: string checkpoint_dir,
  13: i64 checkpoint,
  14: Route route,
  15: string message,    // STOP: why; empty when the job is done
  16: double rate_factor = 1, // TRAIN: factor on the learning rate, of validations so far
  17: i64 parent,        // CHECKPOINT: the one whose changes suffice; 0: all rows are wanted
  18: list<MicroBatchName> left_out  // TRAIN: of the stage: pushed without gradients
}

// One shard's file of a checkpoint.
struct ShardFile {
  1: i32 shard, 2: string path, 3: i64 bytes,
  // Digest of the rows by partition: partition -> 32 bytes (ps/checkpoint.h).
  5: map<i32, binary> partition_digests,
  6: i64 parent,           // the checkpoint whose changes it holds; 0: all rows
  7: string xxh3           // of the file: XXH3-128, lower-case hex
}

struct KeyCount { 1: i64 key, 2: double count }  // the key's 64 bits

// How a count stands over the rows of a table: popularity, or a slot that is a counter.
struct CountStatus {
  1: string name,
  2: double total,        // decayed, of the whole table, the same on all servers
  3: i64 zeros,           // rows without a count
  4: map<i32, i64> rows,  // by bucket, see ps/popularity_stats.h
  5: list<KeyCount> top   // largest first
}

struct TableStatus {
  1: string table, 2: i64 rows, 3: i64 bytes,
  4: i64 keys_refused,              // keys of steps whose gradients were dropped: not admitted
  5: i64 rows_expired,
  6: optional CountStatus popularity,  // where the table keeps it
  7: list<CountStatus> counters,       // in the order of the job
  8: i64 version                       // steps applied, in all stages, when it was told
}

struct Counters {
  1: i64 samples, 2: i64 micro_batches, 3: i64 bytes_pulled, 4: i64 bytes_pushed,
  5: i64 refused_frames, 6: i64 staged_bytes,
  // Workers: when all shards had taken a push of this process for the first time, in milliseconds
  // since 1970 by its own clock; 0: not yet.
  7: i64 first_push_ms,
  8: i64 backup_micro_batches,  // workers: computed for others that were waited for, and ...
  9: i64 backups_first          // ... of those, before the others on every shard
}

struct MicroBatchLoss { 1: i64 step, 2: i32 micro_batch, 3: i64 samples, 4: map<string, double> terms }

// What a node tells with each await.
struct Report {
  1: i64 node,
  2: i64 incarnation,
  3: i64 seen_sequence,    // newest command that the node has taken
  4: i64 done_sequence,    // newest command that it has finished
  5: string error,         // why the newest command failed; empty if it did not
  6: i32 error_code,
  7: i64 highest_step,     // workers: highest step begun (TRAIN, PAUSE)
  8: list<MicroBatchLoss> losses,
  9: list<ShardFile> shard_files,   // servers: of `checkpoint`, when all of them are written
  10: list<TableStatus> tables,
  11: Counters counters,
  12: map<string, double> seconds_by_part, // where the time went, cumulative
  13: bool leaving,        // last report of this node
  14: i64 generation,      // servers: the highest that their shards have been told
  15: i64 checkpoint,      // servers: the newest whose files are written, or could not be
  16: string checkpoint_error, // why not; empty if they are
  17: optional MicroBatchName failed // TRAIN: what could not be read or computed; see `error`
}

struct Metric { 1: string name, 2: double value }

struct JobStatus {
  1: string json           // the same text that GET /status gives
}

service Scheduler {
  Registered registerNode(1: Registration registration) throws (1: Refused refused),
  // Answers at once when there is a newer command than report.seen_sequence, else after the
  // heartbeat time with WAIT.
  Command await(1: Report report) throws (1: Refused refused),
  // Result of one evaluate or export chunk: opaque bytes that COMBINE merges. Idempotent. Stage,
  // validation and step (Command.from_step) say of which weights: the result is refused when other
  // ones are in work.
  void putChunk(1: i64 node, 2: i64 incarnation, 3: i32 stage, 4: bool validation, 5: i64 step,
                6: i64 chunk, 7: binary result) throws (1: Refused refused),
  // The results of chunks [from, from + n) in order of chunk, fewer when they would be too long.
  list<binary> getChunks(1: i64 node, 2: i64 incarnation, 3: i32 stage, 4: bool validation,
                         5: i64 step, 6: i64 from_chunk) throws (1: Refused refused),
  void putMetrics(1: i64 node, 2: i64 incarnation, 3: i32 stage, 4: bool validation,
                  5: i64 step, 6: list<Metric> metrics) throws (1: Refused refused),
  // Command line.
  JobStatus status(),
  void requestCheckpoint() throws (1: Refused refused),
  // Ends the job after the step in work and a checkpoint.
  void requestStop(1: string why) throws (1: Refused refused),
  // So many workers are wanted from now on. Who starts the workers reads it in the status.
  void scale(1: i32 workers) throws (1: Refused refused)
}
