// A cluster without sockets, threads or time: shards and workers that follow the protocol of
// docs/architecture.md around a JobMachine, driven by a seed. It checks what the machine promises:
// checkpoints are taken where every shard stands, with nothing staged; every micro-batch is applied
// once; metrics are what the weights give.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "runtime/manifest.h"
#include "scheduler/job_machine.h"
#include "tests/scheduler/memory_store.h"

namespace emporium::scheduler::testing {

// The weights: how many steps each train stage has had, and where the shards stand.
struct SimShards {
  int stage = -1;
  int64_t route = 0;                                               // what is not of it is refused
  std::vector<uint64_t> version;                                   // by shard
  std::vector<std::map<uint64_t, std::set<uint32_t>>> staged;      // shard -> step -> micro-batches
  std::map<std::pair<int, uint64_t>, std::set<uint32_t>> applied;  // (stage, step) -> micro-batches

  explicit SimShards(size_t shards) : version(shards), staged(shards) {}
  uint64_t lowest() const { return *std::min_element(version.begin(), version.end()); }
  bool AllAt(uint64_t v) const {
    return std::all_of(version.begin(), version.end(), [v](uint64_t x) { return x == v; });
  }
};

struct SimNode {
  bool server = false;
  bool alive = true;
  bool stopped = false;
  control::Registered registered;
  std::optional<control::Command> mail;  // newest command
  control::Command command;              // newest taken
  int64_t done_sequence = 0;
  std::string error;
  StatusCode error_code = StatusCode::kOk;
  // A server's checkpoint: the one whose files it writes, and the one that it tells of.
  int64_t writing = 0, written = 0;
  std::string write_error;
  std::optional<control::MicroBatchName> failed;
  std::vector<control::ShardFile> files;
  std::vector<control::MicroBatchLoss> losses;
  int64_t reported_ms = 0;
  // A worker's span.
  bool in_span = false;
  uint64_t step = 0, micro_batch = 0, limit = 0;
  size_t pushed = 0;  // shards that have the push of the micro-batch in work
  std::optional<uint64_t> begun;
  int64_t chunk = 0;
  std::vector<std::string> fetched;
};

inline JobMachine::Evaluation EvaluationOf(const SimNode& node) {
  return {node.command.stage, node.command.validation, node.command.from_step};
}

class Sim {
 public:
  struct Options {
    spec::Job job;
    size_t servers = 1, shards_per_server = 2, workers = 2;
    std::vector<int64_t> samples, chunks, validation_chunks;  // by stage
    uint64_t seed = 1;
    std::function<double(uint32_t stage, uint64_t step)> metric;  // of a validation or evaluation
  };

  explicit Sim(Options options) : options_(std::move(options)), random_(options_.seed) {}

  // A new scheduler and new nodes, which go on from what the old ones have left.
  Status Boot() {
    nodes.clear();
    if (Status started = StartScheduler(false); !started.ok()) return started;
    if (over.has_value()) return Status::Ok();
    for (size_t i = 0; i < options_.servers; ++i) AddNode(true);
    for (size_t i = 0; i < options_.workers; ++i) AddNode(false);
    return Status::Ok();
  }

  // A new scheduler, which finds the nodes that the old one has left.
  Status StartScheduler(bool rejoin) {
    JobMachine::Config config;
    config.rejoin = rejoin;
    config.job = options_.job;
    config.fingerprint = "f";
    config.checkpoint_root = "/c";
    config.servers = static_cast<uint32_t>(options_.servers);
    config.workers = static_cast<uint32_t>(options_.workers);
    config.incarnation_base = 1000 * ++boots_;
    config.lease_ms = 3000;
    config.heartbeat_ms = 500;
    std::optional<runtime::CheckpointInfo> newest;
    if (!checkpoints.empty()) newest = checkpoints.rbegin()->second;
    auto made = JobMachine::Make(config, store.Load().value(), newest, next_number_);
    if (!made.ok()) return made.status();
    machine = std::move(made).value();
    writing_.reset();
    over.reset();
    Do([&](Actions* out) { machine->Start(now_ms, out); });
    return Status::Ok();
  }

  control::DatasetFacts facts() const {
    control::DatasetFacts facts;
    facts.digest = "data";
    facts.train_samples_of_stage = options_.samples;
    facts.chunks_of_stage = options_.chunks;
    facts.validation_chunks_of_stage = options_.validation_chunks;
    return facts;
  }

  control::Registration MakeRegistration(bool server) const {
    control::Registration r;
    r.kind = server ? control::NodeKind::SERVER : control::NodeKind::WORKER;
    r.host_name = "h";
    r.job_fingerprint = "f";
    if (server) r.shard_endpoints.assign(options_.shards_per_server, "inproc://x");
    if (!server) r.facts = facts();
    return r;
  }

  size_t AddNode(bool server) {
    SimNode node;
    node.server = server;
    node.reported_ms = now_ms;
    Do([&](Actions* out) {
      auto registered = machine->Register(now_ms, MakeRegistration(server), out);
      EXPECT_TRUE(registered.ok()) << registered.status().ToString();
      node.registered = *registered;
      nodes.push_back(node);  // before its first command is delivered
    });
    return nodes.size() - 1;
  }

  // One small thing happens; false when the job is over.
  bool Step() {
    if (over.has_value()) return false;
    if (writing_.has_value() && Chance(3)) {
      FinishManifest();
    } else if (Chance(8)) {
      Pass(100);
    } else {
      SimNode& node = nodes[random_() % nodes.size()];
      if (node.alive) Act(&node);
    }
    return !over.has_value();
  }
  // Steps until `stop` holds; whether it did before the job was over.
  bool RunUntil(const std::function<bool()>& stop) {
    for (int i = 0; i < 2'000'000; ++i) {
      if (stop()) return true;
      if (!Step()) return stop();
    }
    ADD_FAILURE() << "no end in sight in phase " << PhaseName(machine->phase());
    return false;
  }
  Status Run() {
    RunUntil([] { return false; });
    return over.value_or(Internal("not over"));
  }

  void Pass(int64_t milliseconds) {
    now_ms += milliseconds;
    for (SimNode& node : nodes) {
      if (node.alive && now_ms - node.reported_ms >= 500) Report(&node);
      if (over.has_value()) return;
    }
    const auto deadline = machine->next_deadline_ms();
    if (deadline.has_value() && *deadline <= now_ms) {
      Do([&](Actions* out) { machine->Tick(now_ms, out); });
    }
  }

  void Kill(size_t i) { nodes[i].alive = false; }
  std::vector<size_t> Living(bool server) const {
    std::vector<size_t> living;
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (nodes[i].alive && nodes[i].server == server) living.push_back(i);
    }
    return living;
  }
  void Do(const std::function<void(Actions*)>& event) {
    Actions actions;
    event(&actions);
    for (Action& action : actions) Perform(&action);
  }
  void RequestStop() {
    Do([&](Actions* out) { machine->RequestStop(now_ms, "test", out); });
  }
  void Report(SimNode* node) { Report(node, false); }

  const Options& options() const { return options_; }
  uint64_t Random() { return random_(); }
  uint64_t StepsOf(int stage) const {
    uint64_t steps = 0;
    while (shards.has_value() && shards->applied.contains({stage, steps})) ++steps;
    return steps;
  }

  int64_t now_ms = 0;
  MemoryStore store;
  std::unique_ptr<JobMachine> machine;
  std::vector<SimNode> nodes;
  std::optional<SimShards> shards;
  std::map<uint64_t, runtime::CheckpointInfo> checkpoints;  // whole ones
  std::map<uint64_t, SimShards> saved_shards;               // what their files hold
  std::optional<Status> over;
  std::vector<std::string> notes;
  std::vector<control::Command> log;  // every command sent, with `message` naming the node's kind
  std::set<std::tuple<int, uint64_t, uint32_t>> poison;  // (stage, step, micro-batch) that fail
  Status next_server_error, next_write_error, next_manifest_error;

 private:
  bool Chance(uint64_t one_in) { return random_() % one_in == 0; }

  const spec::Train& TrainOf(int stage) const { return options_.job.stage(stage).train(); }
  TrainPlan PlanOf(int stage) const {
    return TrainPlan::Make(options_.job.stage(stage), options_.samples[stage], 0).value();
  }

  void Perform(Action* action) {
    if (auto* send = std::get_if<SendCommand>(action)) {
      EXPECT_FALSE(over.has_value()) << "a command after the end";
      for (SimNode& node : nodes) {
        if (node.registered.node != send->node) continue;
        EXPECT_GT(send->command.sequence, node.mail ? node.mail->sequence : 0);
        node.mail = send->command;
      }
      log.push_back(send->command);
    } else if (auto* save = std::get_if<SaveState>(action)) {
      EXPECT_TRUE(store.Apply(save->change).ok());
    } else if (auto* write = std::get_if<WriteManifest>(action)) {
      EXPECT_FALSE(writing_.has_value());
      writing_ = *write;
    } else if (auto* note = std::get_if<Note>(action)) {
      notes.push_back(note->text);
    } else if (auto* prune = std::get_if<PruneCheckpoints>(action)) {
      EXPECT_GE(prune->keep, 2u);
      const size_t older = checkpoints.size() - std::min<size_t>(checkpoints.size(), prune->keep);
      for (size_t i = 0, n = 0; n < older; ++n) {
        const auto oldest = std::next(checkpoints.begin(), static_cast<std::ptrdiff_t>(i));
        if (oldest->first == prune->also) {
          ++i;
        } else {
          checkpoints.erase(oldest);
        }
      }
    } else if (auto* end = std::get_if<JobOver>(action)) {
      EXPECT_FALSE(over.has_value());
      over = end->result;
    }
  }

  void FinishManifest() {
    const WriteManifest write = *writing_;
    writing_.reset();
    const Status status = std::exchange(next_manifest_error, Status::Ok());
    if (status.ok()) {
      checkpoints[write.number] = {write.number, write.dir, Status::Ok(), write.manifest};
      next_number_ = write.number + 1;
    }
    Do([&](Actions* out) { machine->CheckpointWritten(now_ms, write.number, status, out); });
  }

  void Report(SimNode* node, bool leaving) {
    control::Report report;
    report.node = node->registered.node;
    report.incarnation = node->registered.incarnation;
    report.seen_sequence = node->command.sequence;
    report.done_sequence = node->done_sequence;
    report.error = node->error;
    report.error_code = static_cast<int32_t>(node->error_code);
    if (!node->error.empty() && node->failed) report.__set_failed(*node->failed);
    report.highest_step = node->begun ? static_cast<int64_t>(*node->begun) : -1;
    report.losses = std::exchange(node->losses, {});
    report.checkpoint = node->written;
    report.checkpoint_error = node->write_error;
    if (node->write_error.empty() && node->written > 0) report.shard_files = node->files;
    report.leaving = leaving;
    node->reported_ms = now_ms;
    if (leaving) node->alive = false;
    Do([&](Actions* out) {
      const Status status = machine->Report(now_ms, report, out);
      if (!status.ok()) {
        EXPECT_EQ(status.code(), StatusCode::kStale);
        node->alive = false;
      }
    });
  }

  void Act(SimNode* node) {
    if (node->mail.has_value() && node->mail->sequence > node->command.sequence) {
      Take(node);
    } else if (Chance(3)) {
      Report(node);
    } else if (node->command.sequence > node->done_sequence && node->error.empty()) {
      node->server ? Serve(node) : Work(node);
    } else if (node->writing > 0 && Chance(4)) {
      node->written = std::exchange(node->writing, 0);
      node->write_error = std::exchange(next_write_error, Status::Ok()).message();
    }
  }

  void Take(SimNode* node) {
    using control::CommandKind;
    node->command = *node->mail;
    node->error.clear();
    node->failed.reset();
    switch (node->command.kind) {
      case CommandKind::STOP:
        Report(node, true);
        break;
      case CommandKind::TRAIN:
        node->in_span = true;
        node->pushed = 0;
        node->begun.reset();
        node->limit = static_cast<uint64_t>(node->command.until_step);
        node->step = std::max(static_cast<uint64_t>(node->command.from_step),
                              StageOfShards(node->command.stage) ? shards->lowest() : 0);
        node->micro_batch = static_cast<uint64_t>(node->command.rank);
        break;
      case CommandKind::PAUSE:
        node->limit = std::min(node->limit, node->begun ? *node->begun + 1 : node->step);
        break;
      case CommandKind::EVALUATE:
      case CommandKind::EXPORT:
        node->chunk = node->command.rank;
        break;
      case CommandKind::COMBINE:
        node->fetched.clear();
        break;
      default:
        break;
    }
  }

  // -- Servers ------------------------------------------------------------------------------------

  // A worker is answered by every shard: they have its route, and their servers are there.
  bool Reachable(const SimNode& worker) const {
    size_t served = 0;
    for (const SimNode& node : nodes) {
      if (node.server && node.alive) served += options_.shards_per_server;
    }
    return served == shards->version.size() && shards->route == worker.command.route.version;
  }

  void Serve(SimNode* node) {
    if (!next_server_error.ok()) {
      node->error_code = next_server_error.code();
      node->error = std::exchange(next_server_error, Status::Ok()).message();
      return;
    }
    if (node->command.kind == control::CommandKind::RESTORE) {
      const size_t all = options_.servers * options_.shards_per_server;
      if (node->command.checkpoint_dir.empty()) {
        shards.emplace(all);
      } else {
        const auto number = static_cast<uint64_t>(node->command.checkpoint);
        EXPECT_EQ(node->command.checkpoint_dir, runtime::CheckpointDir("/c", number));
        EXPECT_TRUE(checkpoints.contains(number)) << "it was removed";
        shards = saved_shards.at(number);
      }
      shards->route = node->command.route.version;
    } else if (node->command.kind == control::CommandKind::CHECKPOINT) {
      WriteFiles(node);
      if (!node->error.empty()) return;
    }
    node->done_sequence = node->command.sequence;
  }

  void WriteFiles(SimNode* node) {
    const bool ready = shards->stage == node->command.stage &&
                       shards->AllAt(static_cast<uint64_t>(node->command.until_step)) &&
                       std::all_of(shards->staged.begin(), shards->staged.end(),
                                   [](const auto& staged) { return staged.empty(); });
    if (!ready) {
      // Ordered by a scheduler that died, whose successor has gone on.
      EXPECT_LT(node->command.generation, machine->generation()) << "a step half staged";
      node->error_code = StatusCode::kFailedPrecondition;
      node->error = "the shards do not stand there";
      return;
    }
    saved_shards.insert_or_assign(static_cast<uint64_t>(node->command.checkpoint), *shards);
    node->writing = node->command.checkpoint;
    node->written = 0;
    node->files.clear();
    const auto& owners = node->command.route.shard_of_partition;
    for (size_t i = 0; i < options_.shards_per_server; ++i) {
      control::ShardFile file;
      file.shard = node->registered.first_shard + static_cast<int32_t>(i);
      file.path = "shard-" + std::to_string(file.shard);
      file.bytes = 10;
      for (size_t p = 0; p < owners.size(); ++p) {
        if (owners[p] == file.shard) {
          file.partition_digests[static_cast<int32_t>(p)] = std::string(32, 'd');
        }
      }
      node->files.push_back(file);
    }
  }

  // -- Workers ------------------------------------------------------------------------------------

  bool StageOfShards(int stage) const { return shards->stage == stage; }

  void Work(SimNode* node) {
    using control::CommandKind;
    const CommandKind::type kind = node->command.kind;
    if (kind == CommandKind::TRAIN || kind == CommandKind::PAUSE) return Train(node);
    if (kind == CommandKind::EVALUATE || kind == CommandKind::EXPORT) return Compute(node);
    if (kind == CommandKind::COMBINE) Combine(node);
  }

  // One push to one shard, or the look at whether a step may begin.
  void Train(SimNode* node) {
    const int stage = node->command.stage;
    if (!node->in_span || node->step >= node->limit) {
      node->done_sequence = node->command.sequence;
      return;
    }
    const uint32_t of = PlanOf(stage).MicroBatches(node->step);
    if (node->micro_batch >= of) {
      ++node->step;
      node->micro_batch = static_cast<uint64_t>(node->command.rank);
      return;
    }
    if (!Reachable(*node)) return;
    if (!StageOfShards(stage)) {  // the first pull of a stage begins it, and is answered then
      EXPECT_LT(shards->stage, stage);
      for (const auto& staged : shards->staged) EXPECT_TRUE(staged.empty());
      shards->stage = stage;
      std::fill(shards->version.begin(), shards->version.end(), 0);
      return;
    }
    if (shards->lowest() < node->step) return;  // the pull waits
    node->begun = std::max(node->begun.value_or(0), node->step);
    const auto m = static_cast<uint32_t>(node->micro_batch);
    control::MicroBatchName name;
    name.step = static_cast<int64_t>(node->step);
    name.micro_batch = static_cast<int32_t>(m);
    const auto& left_out = node->command.left_out;
    const bool left = std::find(left_out.begin(), left_out.end(), name) != left_out.end();
    if (!left && poison.contains({stage, node->step, m})) {
      node->error = "sample " + std::to_string(m) + " cannot be read";
      node->error_code = StatusCode::kDataLoss;
      node->failed = name;
      return;
    }
    EXPECT_TRUE(!left || poison.contains({stage, node->step, m})) << "nothing is wrong with it";
    const size_t shard = node->pushed++;
    Push(stage, shard, node->step, m, of);
    if (node->pushed < shards->version.size()) return;
    control::MicroBatchLoss loss;
    loss.step = static_cast<int64_t>(node->step);
    loss.micro_batch = static_cast<int32_t>(m);
    loss.samples = left ? 0 : TrainOf(stage).micro_batch_size();
    if (!left) loss.terms["loss"] = 1.0 / static_cast<double>(1 + node->step) + m;
    node->losses.push_back(loss);
    node->pushed = 0;
    node->micro_batch += static_cast<uint64_t>(node->command.workers);
  }

  void Push(int stage, size_t shard, uint64_t step, uint32_t m, uint32_t of) {
    uint64_t& version = shards->version[shard];
    if (step < version) return;  // applied: acknowledged and dropped
    EXPECT_EQ(step, version) << "pushed before every shard stood there";
    auto& staged = shards->staged[shard];
    staged[step].insert(m);
    if (staged[step].size() < of) return;
    if (shard == 0) {
      auto& applied = shards->applied[{stage, step}];
      EXPECT_TRUE(applied.empty()) << "step " << step << " is applied twice";
      applied = staged[step];
    }
    staged.erase(step);
    ++version;
  }

  std::string ChunkText(const SimNode& node, int64_t chunk) const {
    return std::to_string(node.command.stage) + "/" + std::to_string(chunk);
  }

  void Compute(SimNode* node) {
    if (node->chunk >= node->command.chunks) {
      node->done_sequence = node->command.sequence;
      return;
    }
    const Status put =
        machine->PutChunk(now_ms, node->registered.node, node->registered.incarnation,
                          EvaluationOf(*node), node->chunk, ChunkText(*node, node->chunk));
    if (!put.ok()) {
      EXPECT_EQ(put.code(), StatusCode::kStale) << put.ToString();
      return;  // a newer command is on its way, or the node is not counted on any more
    }
    node->chunk += node->command.workers;
  }

  void Combine(SimNode* node) {
    const auto stage = static_cast<uint32_t>(node->command.stage);
    const int64_t id = node->registered.node, incarnation = node->registered.incarnation;
    auto more = machine->GetChunks(now_ms, id, incarnation, EvaluationOf(*node),
                                   static_cast<int64_t>(node->fetched.size()));
    if (!more.ok()) {
      EXPECT_EQ(more.status().code(), StatusCode::kStale) << more.status().ToString();
      return;
    }
    node->fetched.insert(node->fetched.end(), more->begin(), more->end());
    if (static_cast<int64_t>(node->fetched.size()) < node->command.chunks) return;
    for (size_t c = 0; c < node->fetched.size(); ++c) {
      EXPECT_EQ(node->fetched[c], ChunkText(*node, static_cast<int64_t>(c)));
    }
    std::vector<control::Metric> metrics(1);
    metrics[0].name = "m";
    metrics[0].value = options_.metric ? options_.metric(stage, shards->lowest()) : 0.5;
    const Status put = machine->PutMetrics(now_ms, id, incarnation, EvaluationOf(*node), metrics);
    if (put.ok()) node->done_sequence = node->command.sequence;
  }

  Options options_;
  std::mt19937_64 random_;
  int64_t boots_ = 0;
  uint64_t next_number_ = 1;
  std::optional<WriteManifest> writing_;
};

}  // namespace emporium::scheduler::testing
