// What training needs, as small as the interfaces allow: a model whose gradients are written by
// hand, a batch source that makes its samples up, and a shard that speaks frames over a socket. And
// the same training once more, as one plain loop, for comparison.
#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "models/model.h"
#include "proto/frame.h"
#include "proto/job.pb.h"
#include "runtime/route.h"
#include "runtime/thread_annotations.h"
#include "runtime/transport.h"
#include "tests/worker/eval_fakes.h"
#include "worker/lane.h"
#include "worker/span_plan.h"
#include "worker/work.h"

namespace emporium::worker {

// Two tables (the first counts sightings), dense group of 8 floats a row, two train stages.
spec::Job TinyJob();

// logit = sum over the sample's rows of (row . weight) + bias; loss = (logit - label)^2 / 2, plus a
// little of the random seed so that a wrong one shows.
class TinyModel final : public models::Model {
 public:
  TinyModel();
  const std::vector<models::DenseParameter>& parameters() const override { return parameters_; }
  const models::Needs& needs() const override { return needs_; }
  void Initialize(uint64_t seed, std::span<float> values) const override;
  Result<std::vector<models::LossTerm>> Train(const models::Batch& batch,
                                              const models::RowSet& rows,
                                              const models::DenseSet& dense,
                                              const spec::Train& train,
                                              uint64_t random_seed) override;
  Status Score(const models::Batch&, const models::RowSet&, const models::DenseSet&,
               std::span<float>) override {
    return Unimplemented("not here");
  }
  Status ItemVectors(const models::Batch&, const models::RowSet&, const models::DenseSet&,
                     std::span<const float>, std::span<float>) override {
    return Unimplemented("not here");
  }
  Status UserVectors(const models::Batch&, const models::RowSet&, const models::DenseSet&,
                     std::span<float>) override {
    return Unimplemented("not here");
  }
  Status PopularityLogits(const models::DenseSet&, std::span<const float>,
                          std::span<float>) override {
    return Unimplemented("not here");
  }

 private:
  std::vector<models::DenseParameter> parameters_;
  models::Needs needs_;
};

// Samples made up from (stage, step, micro-batch). `on_train` is called at the start of each Train.
class TinySource final : public BatchSource {
 public:
  explicit TinySource(uint64_t samples = 50);
  const Dataset& dataset() const override { return dataset_; }
  StagePlan plan(StageId stage) const override;
  Result<PlannedBatch> Train(StageId stage, Step step, MicroBatch m) const override;
  std::string OriginOf(StageId stage, Step step, MicroBatch m) const override {
    return "tiny.csv line " +
           std::to_string(stage.value() * 10'000 + step.value() * 100 + m.value());
  }
  int64_t EvalChunks(StageId, EvalSplit) const override { return 5; }
  Result<EvalBatch> Eval(StageId, EvalSplit, int64_t) const override {
    return Unimplemented("not here");
  }
  int64_t ItemChunks() const override { return 2; }
  Result<ItemBatch> Items(int64_t, AsOf) const override { return Unimplemented("not here"); }
  std::unique_ptr<CounterCursor> Counters() const override { return nullptr; }
  int64_t UserChunks() const override { return 1; }
  Result<PlannedBatch> Users(int64_t, AsOf, std::vector<int32_t>*) const override {
    return Unimplemented("not here");
  }

  std::function<Status(Step, MicroBatch)> on_train;

 private:
  const uint64_t samples_;
  FakeDataset dataset_;
};

using TableValues = std::map<uint64_t, std::vector<float>>;  // by key

// The value of a row that nobody has updated yet.
std::vector<float> InitialRow(size_t table, uint64_t key, uint32_t dim);
// w -= rate * factor * gradient, on one row.
void TinyUpdate(const float* gradient, float factor, std::vector<float>* row);

// A shard behind a socket, with the protocol of docs/architecture.md: parks, stages, applies in
// order, answers the version before, tells squares and applies when it is told. Of the keys that it
// was asked for it forgets every third micro-batch's. Its own thread.
class StubShard {
 public:
  StubShard(runtime::Context& context, std::string endpoint, std::vector<uint32_t> dims);
  ~StubShard();

  const std::string& endpoint() const { return endpoint_; }
  // Called for each frame in the shard's thread; an error is sent as the answer, kInternal with an
  // empty message swallows the frame.
  void set_intercept(std::function<Status(const FrameHeader&)> intercept);

  struct State {
    StageId stage;
    Step version;
    std::vector<TableValues> tables;
    std::vector<double> totals;  // sum of the pushed totals
    int64_t frames = 0;
    int64_t duplicates = 0;
    int64_t scaled = 0;  // steps applied with a scale below 1
  };
  State state() const;
  void set_version(StageId stage, Step version);

 private:
  struct Parked {
    std::string peer;
    Bytes bytes;
  };
  void Run();
  void Handle(const std::string& peer, const Bytes& bytes);
  void HandlePull(const std::string& peer, const FrameView& frame, const Bytes& bytes)
      EMPORIUM_REQUIRES(mutex_);
  Status HandlePush(const FrameView& frame, const Bytes& bytes) EMPORIUM_REQUIRES(mutex_);
  // The keys of a push's section; none when it leaves them out and they are not known.
  std::vector<uint64_t> KeysOf(uint32_t m, const SectionView& section) EMPORIUM_REQUIRES(mutex_);
  bool StepComplete() const EMPORIUM_REQUIRES(mutex_);
  void Answer(const std::string& peer, const FrameView& frame) EMPORIUM_REQUIRES(mutex_);
  // Gradients of the complete step by table and key, in the order of micro-batches.
  std::vector<TableValues> Sums() EMPORIUM_REQUIRES(mutex_);
  void Apply(float scale) EMPORIUM_REQUIRES(mutex_);
  // Answers what asks for squares and can be answered.
  void TellSquares() EMPORIUM_REQUIRES(mutex_);
  // Applies what is complete and awaits no scale, and tells the squares of what does.
  void Advance() EMPORIUM_REQUIRES(mutex_);
  bool AwaitsScale() const EMPORIUM_REQUIRES(mutex_);
  const std::vector<float>& Row(size_t table, uint64_t key, bool previous)
      EMPORIUM_REQUIRES(mutex_);

  const std::vector<uint32_t> dims_;
  std::string endpoint_;
  std::unique_ptr<runtime::ServerSocket> socket_;
  runtime::Waker waker_;
  mutable runtime::Mutex mutex_;
  State state_ EMPORIUM_GUARDED_BY(mutex_);
  std::vector<TableValues> before_ EMPORIUM_GUARDED_BY(mutex_);  // rows the last step changed
  std::vector<TableValues> initial_ EMPORIUM_GUARDED_BY(mutex_);
  std::map<uint32_t, Bytes> staged_ EMPORIUM_GUARDED_BY(mutex_);
  std::map<uint32_t, Bytes> pulled_ EMPORIUM_GUARDED_BY(mutex_);  // by micro-batch
  std::vector<Parked> parked_ EMPORIUM_GUARDED_BY(mutex_);
  std::vector<Parked> asking_ EMPORIUM_GUARDED_BY(mutex_);  // for squares
  ExactSum squares_ EMPORIUM_GUARDED_BY(mutex_);            // of the step before
  std::function<Status(const FrameHeader&)> intercept_ EMPORIUM_GUARDED_BY(mutex_);
  bool stop_ EMPORIUM_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

// Shards with a route over them.
class StubCluster {
 public:
  StubCluster(runtime::Context& context, const spec::Job& job, uint32_t shards);
  std::shared_ptr<const runtime::Route> route() const { return route_; }
  StubShard& shard(size_t i) { return *shards_[i]; }
  size_t size() const { return shards_.size(); }
  // All rows of all shards, by table.
  std::vector<TableValues> Rows() const;

 private:
  std::vector<std::unique_ptr<StubShard>> shards_;
  std::shared_ptr<const runtime::Route> route_;
};

// Steps [0, until) of a stage on top of `rows`, as one loop. Gradients are clipped by their norm as
// the stage says.
void TrainPlainly(const spec::Job& job, const TinySource& source, StageId stage, Step until,
                  std::vector<TableValues>* rows);

}  // namespace emporium::worker
