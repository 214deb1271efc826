// Workers of which one is slow: others compute what is its to do, and it copes with being
// overtaken.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>

#include "runtime/thread_annotations.h"
#include "tests/worker/train_fakes.h"
#include "worker/trainer.h"

namespace emporium::worker {
namespace {

using std::chrono::milliseconds;

// The highest step that a shard was asked for the rows of. Who asks for those of step t + 2 knows
// that all shards have applied step t.
class AskedFor {
 public:
  void Note(Step step) {
    runtime::MutexLock lock(mutex_);
    highest_ = std::max(highest_, step);
    grown_.NotifyAll();
  }
  // False when it takes a minute.
  bool Wait(Step step) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    runtime::MutexLock lock(mutex_);
    while (highest_ < step && grown_.WaitUntil(mutex_, end)) {
    }
    return highest_ >= step;
  }

 private:
  runtime::Mutex mutex_;
  runtime::CondVar grown_;
  Step highest_ EMPORIUM_GUARDED_BY(mutex_);
};

class SlowWorkerTest : public testing::TestWithParam<bool> {
 protected:
  SlowWorkerTest() {
    if (!GetParam()) return;
    for (int stage = 0; stage < 2; ++stage) {
      job_.mutable_stage(stage)->mutable_train()->set_clip_global_norm(0.5);
    }
  }

  struct OneWorker {
    TinySource source{kSamples};
    std::unique_ptr<PsClient> client;
    std::unique_ptr<Trainer> trainer;
  };
  static constexpr uint64_t kSamples = 700;

  std::unique_ptr<OneWorker> MakeWorker(uint32_t lanes) {
    auto worker = std::make_unique<OneWorker>();
    worker->client = PsClient::Start(context_);
    EXPECT_TRUE(worker->client->SetRoute(cluster_->route()).ok());
    TrainerConfig config;
    config.job = &job_;
    config.source = &worker->source;
    config.client = worker->client.get();
    config.model_factory = [](models::Device&) -> Result<std::unique_ptr<models::Model>> {
      return std::unique_ptr<models::Model>(std::make_unique<TinyModel>());
    };
    config.lanes = lanes;
    worker->trainer = Trainer::Make(config).value();
    return worker;
  }

  // All workers train the whole stage side by side.
  void TrainTogether(std::vector<std::unique_ptr<OneWorker>>& workers) {
    std::vector<std::thread> threads;
    for (uint32_t rank = 0; rank < workers.size(); ++rank) {
      threads.emplace_back([&, rank] {
        const Step until(source_.plan(StageId(0)).total_steps);
        const SpanAssignment span{
            Generation(1), StageId(0), rank,         static_cast<uint32_t>(workers.size()),
            Step(0),       until,      until.value()};
        const Status status = workers[rank]->trainer->Train(span);
        EXPECT_TRUE(status.ok()) << status.ToString();
      });
    }
    for (auto& thread : threads) thread.join();
  }

  // Every micro-batch was reported, with the same loss by all who did. How many backups there were.
  int64_t CheckLosses(std::vector<std::unique_ptr<OneWorker>>& workers) {
    std::map<std::pair<uint64_t, uint32_t>, double> losses;
    int64_t backups = 0;
    for (auto& worker : workers) {
      for (const StepLoss& loss : worker->trainer->TakeLosses()) {
        const std::pair id = {loss.step.value(), loss.micro_batch.value()};
        const auto [at, fresh] = losses.emplace(id, loss.terms.at(0).value);
        EXPECT_EQ(at->second, loss.terms.at(0).value);
      }
      backups += worker->trainer->progress().backups;
      EXPECT_LE(worker->trainer->progress().backups_first, worker->trainer->progress().backups);
    }
    const StagePlan plan = source_.plan(StageId(0));
    size_t expected = 0;
    for (uint64_t step = 0; step < plan.total_steps; ++step) {
      expected += plan.MicroBatches(Step(step));
    }
    EXPECT_EQ(losses.size(), expected);
    return backups;
  }

  std::vector<TableValues> Plainly() {
    std::vector<TableValues> rows;
    TrainPlainly(job_, source_, StageId(0), Step(source_.plan(StageId(0)).total_steps), &rows);
    return rows;
  }

  spec::Job job_ = TinyJob();
  TinySource source_{kSamples};
  runtime::Context context_;
  std::unique_ptr<StubCluster> cluster_;
};

// One worker does not begin what it has of several steps before these are over without it.
TEST_P(SlowWorkerTest, OthersDoNotWaitForIt) {
  const auto expected = Plainly();
  const uint32_t shapes[][3] = {{2, 1, 1}, {2, 2, 2}, {3, 2, 1}};
  for (const auto& [count, shards, lanes] : shapes) {
    cluster_ = std::make_unique<StubCluster>(context_, job_, shards);
    std::vector<std::unique_ptr<OneWorker>> workers;
    for (uint32_t w = 0; w < count; ++w) workers.push_back(MakeWorker(lanes));
    AskedFor asked_for;
    cluster_->shard(0).set_intercept([&](const FrameHeader& header) {
      if (header.type == FrameType::kPull && !header.any_version) asked_for.Note(header.step);
      return Status::Ok();
    });
    std::atomic<int> held = 0;
    std::atomic<int> in_vain = 0;
    workers.back()->source.on_train = [&](Step step, MicroBatch) {
      if (step >= Step(30) && step < Step(50) && ++held < 20) {
        in_vain += asked_for.Wait(step.next().next()) ? 0 : 1;
      }
      return Status::Ok();
    };
    TrainTogether(workers);
    EXPECT_GT(CheckLosses(workers), 0);
    EXPECT_GT(held, 5);
    EXPECT_EQ(in_vain, 0);
    EXPECT_EQ(cluster_->Rows(), expected);
  }
}

// Short pauses at random: whoever is first, the bits are the same.
TEST_P(SlowWorkerTest, TheSameBitsWhoeverIsFirst) {
  const auto expected = Plainly();
  int64_t backups = 0;
  for (uint32_t seed = 0; seed < 3; ++seed) {
    cluster_ = std::make_unique<StubCluster>(context_, job_, 2);
    std::vector<std::unique_ptr<OneWorker>> workers;
    for (uint32_t w = 0; w < 3; ++w) {
      workers.push_back(MakeWorker(1 + w % 2));
      workers.back()->source.on_train = [=](Step step, MicroBatch m) {
        const uint64_t draw =
            runtime::MixKey(seed * 1000 + w * 100 + step.value() * 10 + m.value());
        if (step > Step(25) && draw % 8 == 0) std::this_thread::sleep_for(milliseconds(draw % 60));
        return Status::Ok();
      };
    }
    TrainTogether(workers);
    backups += CheckLosses(workers);
    EXPECT_EQ(cluster_->Rows(), expected);
  }
  EXPECT_GT(backups, 0);
}

TEST_P(SlowWorkerTest, NoBackupsWhereTheJobWantsNone) {
  job_.mutable_cluster()->set_backup_percent(0);
  cluster_ = std::make_unique<StubCluster>(context_, job_, 2);
  std::vector<std::unique_ptr<OneWorker>> workers;
  for (uint32_t w = 0; w < 2; ++w) workers.push_back(MakeWorker(1));
  workers.back()->source.on_train = [&](Step step, MicroBatch m) {
    if (step == Step(40) && m == MicroBatch(1)) std::this_thread::sleep_for(milliseconds(300));
    return Status::Ok();
  };
  TrainTogether(workers);
  EXPECT_EQ(CheckLosses(workers), 0);
  EXPECT_EQ(cluster_->Rows(), Plainly());
}

INSTANTIATE_TEST_SUITE_P(Clipping, SlowWorkerTest, testing::Bool());

}  // namespace
}  // namespace emporium::worker
