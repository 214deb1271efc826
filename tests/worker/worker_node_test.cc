#include "worker/worker_node.h"

#include <gtest/gtest.h>
#include <thrift/transport/TTransportException.h>

#include <atomic>
#include <deque>
#include <limits>

#include "runtime/control_client.h"
#include "tests/worker/train_fakes.h"
#include "worker/device.h"

namespace emporium::worker {
namespace {

using control::Command;
using control::CommandKind;
using runtime::MutexLock;

// A scheduler that says what the test tells it to, node by node.
class FakeScheduler final : public control::SchedulerNull {
 public:
  void registerNode(control::Registered& result, const control::Registration& r) override {
    MutexLock lock(mutex_);
    if (r.job_fingerprint != "job") {
      throw runtime::RefusedFrom(FailedPrecondition("another job runs here"));
    }
    result.node = static_cast<int64_t>(nodes_.size());
    result.incarnation = 100 + result.node;
    nodes_.emplace_back();
    facts = r.facts;
    changed_.NotifyAll();
  }

  void await(Command& result, const control::Report& report) override {
    MutexLock lock(mutex_);
    if (outages > 0) {
      --outages;
      throw apache::thrift::transport::TTransportException("the line is cut");
    }
    Node& node = nodes_.at(static_cast<size_t>(report.node));
    if (node.refused) throw runtime::RefusedFrom(Stale("no such node"));
    node.report = report;
    if (report.leaving) node.left = true;
    for (const auto& loss : report.losses) {
      ++losses_[{report.seen_sequence, loss.step, loss.micro_batch}];
    }
    changed_.NotifyAll();
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
    while (node.command.sequence <= report.seen_sequence && changed_.WaitUntil(mutex_, until)) {
    }
    if (node.command.sequence > report.seen_sequence) result = node.command;
  }

  void putChunk(int64_t, int64_t, int32_t stage, bool validation, int64_t, int64_t chunk,
                const std::string& bytes) override {
    MutexLock lock(mutex_);
    if (chunk_outages > 0) {
      --chunk_outages;
      throw apache::thrift::transport::TTransportException("the line is cut");
    }
    chunks_[{stage, validation}][chunk] = bytes;
  }
  void getChunks(std::vector<std::string>& result, int64_t, int64_t, int32_t stage, bool validation,
                 int64_t, int64_t from) override {
    MutexLock lock(mutex_);
    const auto& chunks = chunks_[{stage, validation}];
    for (int64_t c = from; c < from + 2 && chunks.count(c) > 0; ++c) {
      result.push_back(chunks.at(c));
    }
  }
  void putMetrics(int64_t, int64_t, int32_t, bool, int64_t,
                  const std::vector<control::Metric>& metrics) override {
    MutexLock lock(mutex_);
    metrics_ = metrics;
  }

  // -- The test's side ----------------------------------------------------------------------------

  void WaitForNodes(size_t n) {
    MutexLock lock(mutex_);
    while (nodes_.size() < n) changed_.Wait(mutex_);
  }
  void Give(size_t node, Command command) {
    MutexLock lock(mutex_);
    command.sequence = nodes_[node].command.sequence + 1;
    nodes_[node].command = std::move(command);
    changed_.NotifyAll();
  }
  // The first report in which the newest command is done or failed.
  control::Report WaitSettled(size_t node) {
    MutexLock lock(mutex_);
    while (true) {
      const Node& n = nodes_[node];
      const bool failed = !n.report.error.empty() && n.report.seen_sequence == n.command.sequence;
      if (n.report.done_sequence == n.command.sequence || failed) return n.report;
      changed_.Wait(mutex_);
    }
  }
  control::Report WaitBegun(size_t node, int64_t step) {
    MutexLock lock(mutex_);
    while (nodes_[node].report.highest_step < step) changed_.Wait(mutex_);
    return nodes_[node].report;
  }
  void Refuse(size_t node) {
    MutexLock lock(mutex_);
    nodes_[node].refused = true;
  }
  bool left(size_t node) {
    MutexLock lock(mutex_);
    return nodes_[node].left;
  }
  void Cut(int calls) {
    MutexLock lock(mutex_);
    outages = calls;
    chunk_outages = calls;
  }
  std::map<std::tuple<int64_t, int64_t, int32_t>, int> losses() {
    MutexLock lock(mutex_);
    return losses_;
  }
  std::map<int64_t, std::string> chunks(int32_t stage, bool validation) {
    MutexLock lock(mutex_);
    return chunks_[{stage, validation}];
  }
  std::vector<control::Metric> metrics() {
    MutexLock lock(mutex_);
    return metrics_;
  }

  control::DatasetFacts facts;

 private:
  struct Node {
    Command command;
    control::Report report;
    bool refused = false;
    bool left = false;
  };
  runtime::Mutex mutex_;
  runtime::CondVar changed_;
  std::deque<Node> nodes_ EMPORIUM_GUARDED_BY(mutex_);
  int outages EMPORIUM_GUARDED_BY(mutex_) = 0;
  int chunk_outages EMPORIUM_GUARDED_BY(mutex_) = 0;
  std::map<std::tuple<int64_t, int64_t, int32_t>, int> losses_ EMPORIUM_GUARDED_BY(mutex_);
  std::map<std::pair<int32_t, bool>, std::map<int64_t, std::string>> chunks_
      EMPORIUM_GUARDED_BY(mutex_);
  std::vector<control::Metric> metrics_ EMPORIUM_GUARDED_BY(mutex_);
};

// A chunk's result is its number and the sum of all dense parameters; combined, a list of them.
class FakeBodies final : public StageBodies {
 public:
  explicit FakeBodies(std::atomic<int>* begun) : begun_(*begun) {}
  Result<int64_t> Chunks(StageId, bool) const override { return 5; }
  void Begin() override { ++begun_; }
  Result<std::string> EvaluateChunk(StageId, bool validation, int64_t chunk,
                                    RowSource& rows) override {
    std::vector<float> dense(26);
    EMPORIUM_RETURN_IF_ERROR(rows.FetchDense(dense));
    double sum = 0;
    for (const float value : dense) sum += value;
    return (validation ? "v" : "t") + std::to_string(chunk) + ":" + std::to_string(sum);
  }
  Result<std::vector<control::Metric>> CombineEvaluation(StageId, bool,
                                                         const ChunkSource& chunks) override {
    return Combine("evaluation ", chunks);
  }
  Result<std::string> ExportChunk(StageId, int64_t chunk, RowSource&) override {
    if (chunk == 4) return ResourceExhausted("disk full");
    return "x" + std::to_string(chunk);
  }
  Result<std::vector<control::Metric>> CombineExport(StageId, const ChunkSource& chunks) override {
    return Combine("export ", chunks);
  }

 private:
  Result<std::vector<control::Metric>> Combine(std::string name, const ChunkSource& chunks) {
    for (int64_t c = 0; c < 4; ++c) {
      EMPORIUM_ASSIGN_OR_RETURN(const std::string chunk, chunks(c));
      name += chunk.substr(0, 2);
    }
    control::Metric metric;
    metric.name = name;
    return std::vector<control::Metric>{metric};
  }
  std::atomic<int>& begun_;
};

class WorkerNodeTest : public testing::Test {
 protected:
  void SetUp() override { cluster_ = std::make_unique<StubCluster>(context_, job_, 2); }

  std::unique_ptr<Worker> Start(uint32_t lanes, const std::string& fingerprint = "job") {
    WorkerConfig config;
    config.job = &job_;
    config.source = &source_;
    config.scheduler = &scheduler_;
    config.context = &context_;
    config.model_factory = [](models::Device&) -> Result<std::unique_ptr<models::Model>> {
      return std::unique_ptr<models::Model>(std::make_unique<TinyModel>());
    };
    config.bodies_factory = [this]() -> Result<std::unique_ptr<StageBodies>> {
      return std::unique_ptr<StageBodies>(std::make_unique<FakeBodies>(&begun_));
    };
    config.lanes = lanes;
    config.job_fingerprint = fingerprint;
    auto worker = Worker::Start(config);
    EXPECT_TRUE(worker.ok()) << worker.status().ToString();
    return std::move(worker).value();
  }
  Command Train(int64_t from, int64_t until, int32_t rank, int32_t workers) const {
    Command command;
    command.kind = CommandKind::TRAIN;
    command.generation = 1;
    command.stage = 0;
    command.rank = rank;
    command.workers = workers;
    command.from_step = from;
    command.until_step = until;
    command.stage_steps = 10;
    command.route = runtime::RouteToControl(*cluster_->route());
    return command;
  }
  Command Chunks(CommandKind::type kind, int32_t stage, int64_t chunks, int32_t rank,
                 int32_t workers) const {
    Command command = Train(0, 0, rank, workers);
    command.kind = kind;
    command.stage = stage;
    command.chunks = chunks;
    return command;
  }
  static Command Stop(const std::string& why) {
    Command command;
    command.kind = CommandKind::STOP;
    command.message = why;
    return command;
  }
  static Command Pause() {
    Command command;
    command.kind = CommandKind::PAUSE;
    return command;
  }
  std::vector<TableValues> Plainly(uint64_t until) {
    std::vector<TableValues> rows;
    TrainPlainly(job_, source_, StageId(0), Step(until), &rows);
    return rows;
  }

  const spec::Job job_ = TinyJob();
  TinySource source_{50};
  runtime::Context context_;
  std::unique_ptr<StubCluster> cluster_;
  FakeScheduler scheduler_;
  std::atomic<int> begun_ = 0;
};

TEST_F(WorkerNodeTest, DoesAWholeJob) {
  auto first = Start(2);
  scheduler_.WaitForNodes(1);
  auto second = Start(1);
  scheduler_.WaitForNodes(2);
  EXPECT_EQ(scheduler_.facts.digest, "fake");
  EXPECT_EQ(scheduler_.facts.train_samples_of_stage, (std::vector<int64_t>{50, 50, 0, 0}));
  for (size_t w = 0; w < 2; ++w) {
    scheduler_.Give(w, Train(0, 10, static_cast<int32_t>(w), 2));
  }
  for (size_t w = 0; w < 2; ++w) EXPECT_EQ(scheduler_.WaitSettled(w).error, "");
  EXPECT_EQ(cluster_->Rows(), Plainly(10));
  EXPECT_EQ(scheduler_.losses().size(), 26u);
  for (const auto& [key, times] : scheduler_.losses()) EXPECT_EQ(times, 1);

  for (size_t w = 0; w < 2; ++w) {
    scheduler_.Give(w, Chunks(CommandKind::EVALUATE, 2, 5, static_cast<int32_t>(w), 2));
  }
  for (size_t w = 0; w < 2; ++w) EXPECT_EQ(scheduler_.WaitSettled(w).error, "");
  const auto chunks = scheduler_.chunks(2, false);
  ASSERT_EQ(chunks.size(), 5u);
  for (const auto& [chunk, bytes] : chunks) {
    EXPECT_EQ(bytes.substr(2), chunks.at(0).substr(2));  // the same rows
  }
  scheduler_.Give(1, Chunks(CommandKind::COMBINE, 2, 5, 0, 1));
  EXPECT_EQ(scheduler_.WaitSettled(1).error, "");
  EXPECT_EQ(scheduler_.metrics().at(0).name, "evaluation t0t1t2t3");
  scheduler_.Give(0, Chunks(CommandKind::EXPORT, 3, 4, 0, 1));
  EXPECT_EQ(scheduler_.WaitSettled(0).error, "");
  scheduler_.Give(0, Chunks(CommandKind::COMBINE, 3, 4, 0, 1));
  EXPECT_EQ(scheduler_.WaitSettled(0).error, "");
  EXPECT_EQ(scheduler_.metrics().at(0).name, "export x0x1x2x3");
  EXPECT_EQ(begun_, 5);

  for (size_t w = 0; w < 2; ++w) scheduler_.Give(w, Stop(""));
  EXPECT_TRUE(first->Join().ok());
  EXPECT_TRUE(second->Join().ok());
  EXPECT_TRUE(scheduler_.left(0) && scheduler_.left(1));
}

TEST_F(WorkerNodeTest, PausesAndFinishesTheHighestStep) {
  std::vector<std::unique_ptr<Worker>> workers;
  for (size_t w = 0; w < 2; ++w) {
    workers.push_back(Start(1));
    scheduler_.WaitForNodes(w + 1);
  }
  std::atomic<bool> paused = false;
  source_.on_train = [&](Step step, MicroBatch) {
    if (step == Step(3) && !paused.exchange(true)) {
      for (size_t w = 0; w < 2; ++w) scheduler_.Give(w, Pause());
    }
    return Status::Ok();
  };
  for (size_t w = 0; w < 2; ++w) {
    scheduler_.Give(w, Train(0, 10, static_cast<int32_t>(w), 2));
  }
  while (!paused) std::this_thread::yield();
  int64_t highest = -1;
  for (size_t w = 0; w < 2; ++w) {
    const control::Report report = scheduler_.WaitSettled(w);
    EXPECT_EQ(report.error, "");
    highest = std::max(highest, report.highest_step);
  }
  for (size_t w = 0; w < 2; ++w) {
    scheduler_.Give(w, Train(0, highest + 1, static_cast<int32_t>(w), 2));
  }
  for (size_t w = 0; w < 2; ++w) EXPECT_EQ(scheduler_.WaitSettled(w).error, "");
  source_.on_train = nullptr;
  EXPECT_EQ(cluster_->Rows(), Plainly(static_cast<uint64_t>(highest) + 1));
  for (size_t w = 0; w < 2; ++w) scheduler_.Give(w, Stop("Ctrl-C"));
  for (auto& worker : workers) {
    const Status status = worker->Join();
    EXPECT_EQ(status.code(), StatusCode::kCancelled);
    EXPECT_EQ(status.message(), "Ctrl-C");
  }
}

TEST_F(WorkerNodeTest, OutagesOfTheSchedulerLoseNothing) {
  auto worker = Start(2);
  scheduler_.WaitForNodes(1);
  source_.on_train = [&](Step step, MicroBatch) {
    if (step.value() % 4 == 1) scheduler_.Cut(2);
    return Status::Ok();
  };
  scheduler_.Give(0, Train(0, 10, 0, 1));
  EXPECT_EQ(scheduler_.WaitSettled(0).error, "");
  EXPECT_EQ(scheduler_.losses().size(), 26u);
  for (const auto& [key, times] : scheduler_.losses()) EXPECT_EQ(times, 1);
  scheduler_.Give(0, Chunks(CommandKind::EVALUATE, 2, 3, 0, 1));
  scheduler_.Cut(2);
  EXPECT_EQ(scheduler_.WaitSettled(0).error, "");
  EXPECT_EQ(scheduler_.chunks(2, false).size(), 3u);
}

TEST_F(WorkerNodeTest, AWorkerTakenForGoneRegistersAgain) {
  auto worker = Start(1);
  scheduler_.WaitForNodes(1);
  source_.on_train = [&](Step step, MicroBatch) {
    if (step == Step(3)) scheduler_.Refuse(0);
    return Status::Ok();
  };
  scheduler_.Give(0, Train(0, 10, 0, 1));
  scheduler_.WaitForNodes(2);
  source_.on_train = nullptr;
  scheduler_.Give(1, Train(0, 10, 0, 1));
  EXPECT_EQ(scheduler_.WaitSettled(1).error, "");
  EXPECT_EQ(cluster_->Rows(), Plainly(10));
}

// One worker of two leaves in the middle: the other is given all of it.
TEST_F(WorkerNodeTest, ANewGenerationTakesOver) {
  auto first = Start(1);
  scheduler_.WaitForNodes(1);
  auto second = Start(2);
  scheduler_.WaitForNodes(2);
  scheduler_.Give(0, Train(0, 10, 0, 2));
  scheduler_.Give(1, Train(0, 10, 1, 2));
  scheduler_.WaitBegun(1, 1);
  second->RequestStop();
  EXPECT_EQ(second->Join().code(), StatusCode::kCancelled);
  EXPECT_TRUE(scheduler_.left(1));
  Command command = Train(0, 10, 0, 1);
  command.generation = 2;
  scheduler_.Give(0, command);
  EXPECT_EQ(scheduler_.WaitSettled(0).error, "");
  EXPECT_EQ(cluster_->Rows(), Plainly(10));
}

TEST_F(WorkerNodeTest, FailuresAreReportedAndTheWorkerStaysReady) {
  auto worker = Start(2);
  scheduler_.WaitForNodes(1);
  source_.on_train = [](Step step, MicroBatch m) {
    return step == Step(2) && m == MicroBatch(1) ? DataLoss("the column ends early") : Status::Ok();
  };
  scheduler_.Give(0, Train(0, 10, 0, 1));
  const control::Report failed = scheduler_.WaitSettled(0);
  EXPECT_EQ(failed.error, "step 2, micro-batch 1 (tiny.csv line 201): the column ends early");
  EXPECT_EQ(failed.error_code, static_cast<int32_t>(StatusCode::kDataLoss));
  source_.on_train = nullptr;
  scheduler_.Give(0, Chunks(CommandKind::EXPORT, 3, 5, 0, 1));
  EXPECT_EQ(scheduler_.WaitSettled(0).error, "chunk 4: disk full");
  for (const auto& change : std::vector<std::function<void(Command*)>>{
           [](Command* c) { c->stage = 9; }, [](Command* c) { c->stage = 2; },
           [](Command* c) { c->rank = 1; }, [](Command* c) { c->until_step = -1; }}) {
    Command command = Train(0, 10, 0, 1);
    change(&command);
    scheduler_.Give(0, command);
    EXPECT_EQ(scheduler_.WaitSettled(0).error_code,
              static_cast<int32_t>(StatusCode::kInvalidArgument));
  }
  scheduler_.Give(0, Train(0, 10, 0, 1));
  EXPECT_EQ(scheduler_.WaitSettled(0).error, "");
  EXPECT_EQ(cluster_->Rows(), Plainly(10));
}

TEST_F(WorkerNodeTest, RefusedRegistrationEndsTheWorker) {
  const Status status = Start(1, "other")->Join();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "another job runs here");
}

TEST_F(WorkerNodeTest, SaysWhyItCannotUseAGpu) {
  const Status status = CheckDevice(spec::Cluster::CUDA);
  if (status.ok()) GTEST_SKIP() << "not run: there is a GPU here";
  EXPECT_NE(status.message().find("set cluster.device to CPU"), std::string::npos);
  spec::Job job = job_;
  job.mutable_cluster()->set_device(spec::Cluster::CUDA);
  WorkerConfig config;
  config.job = &job;
  config.source = &source_;
  config.scheduler = &scheduler_;
  config.context = &context_;
  const auto worker = Worker::Start(config);
  ASSERT_FALSE(worker.ok());
  EXPECT_EQ(worker.status().message(), status.message());
}

TEST_F(WorkerNodeTest, StopsWhileShardsDoNotAnswer) {
  auto worker = Start(1);
  scheduler_.WaitForNodes(1);
  cluster_->shard(0).set_intercept([](const FrameHeader&) { return Internal(""); });
  scheduler_.Give(0, Train(0, 10, 0, 1));
  while (cluster_->shard(0).state().frames == 0) std::this_thread::yield();
  worker.reset();
  EXPECT_TRUE(scheduler_.left(0));
}

}  // namespace
}  // namespace emporium::worker
