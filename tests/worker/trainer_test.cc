#include "worker/trainer.h"

#include <gtest/gtest.h>

#include <atomic>

#include "runtime/clock.h"
#include "tests/worker/train_fakes.h"

namespace emporium::worker {
namespace {

class TrainerTest : public testing::Test {
 protected:
  struct OneWorker {
    std::unique_ptr<PsClient> client;
    std::unique_ptr<Trainer> trainer;
  };
  OneWorker MakeWorker(uint32_t lanes) {
    OneWorker worker;
    worker.client = PsClient::Start(context_);
    EXPECT_TRUE(worker.client->SetRoute(cluster_->route()).ok());
    TrainerConfig config;
    config.job = &job_;
    config.source = &source_;
    config.client = worker.client.get();
    config.model_factory = [](models::Device&) -> Result<std::unique_ptr<models::Model>> {
      return std::unique_ptr<models::Model>(std::make_unique<TinyModel>());
    };
    config.lanes = lanes;
    worker.trainer = Trainer::Make(config).value();
    return worker;
  }
  SpanAssignment Span(uint64_t from, uint64_t until, uint32_t rank = 0, uint32_t workers = 1,
                      uint32_t stage = 0) const {
    return {Generation(1),
            StageId(stage),
            rank,
            workers,
            Step(from),
            Step(until),
            source_.plan(StageId(stage)).total_steps};
  }
  // All workers train the same span side by side.
  void TrainTogether(std::vector<OneWorker>& workers, uint64_t from, uint64_t until,
                     uint32_t stage = 0) {
    std::vector<std::thread> threads;
    for (uint32_t rank = 0; rank < workers.size(); ++rank) {
      threads.emplace_back([&, rank] {
        const Status status = workers[rank].trainer->Train(
            Span(from, until, rank, static_cast<uint32_t>(workers.size()), stage));
        EXPECT_TRUE(status.ok()) << status.ToString();
      });
    }
    for (auto& thread : threads) thread.join();
  }
  std::vector<TableValues> Plainly(uint64_t until_of_first, uint64_t until_of_second = 0) {
    std::vector<TableValues> rows;
    TrainPlainly(job_, source_, StageId(0), Step(until_of_first), &rows);
    if (until_of_second > 0) {
      TrainPlainly(job_, source_, StageId(1), Step(until_of_second), &rows);
    }
    return rows;
  }

  spec::Job job_ = TinyJob();
  TinySource source_{50};
  runtime::Context context_;
  std::unique_ptr<StubCluster> cluster_;
};

// Two stages in spans; 10 steps, the epoch's last with a single, smaller micro-batch.
TEST_F(TrainerTest, SameBitsInAnyShape) {
  const auto expected = Plainly(10, 10);
  const uint32_t shapes[][3] = {{1, 1, 1}, {1, 4, 2}, {2, 3, 1}, {3, 2, 1}, {4, 1, 2}, {5, 2, 3}};
  for (const auto& [count, shards, lanes] : shapes) {
    cluster_ = std::make_unique<StubCluster>(context_, job_, shards);
    std::vector<OneWorker> workers;
    for (uint32_t w = 0; w < count; ++w) workers.push_back(MakeWorker(lanes));
    TrainTogether(workers, 0, 3);
    TrainTogether(workers, 3, 3);
    TrainTogether(workers, 3, 10);
    TrainTogether(workers, 0, 10, 1);
    EXPECT_EQ(cluster_->Rows(), expected) << count << " x " << shards << " x " << lanes;
    int64_t samples = 0;
    for (auto& worker : workers) samples += worker.trainer->progress().samples;
    EXPECT_EQ(samples, 200);
    for (size_t s = 0; s < cluster_->size(); ++s) {
      EXPECT_EQ(cluster_->shard(s).state().duplicates, 0);
      EXPECT_EQ(cluster_->shard(s).state().version, Step(10));
      EXPECT_EQ(cluster_->shard(s).state().totals, cluster_->shard(0).state().totals);
    }
    workers.clear();
  }
}

TEST_F(TrainerTest, ReportsLossesOnceAndTime) {
  cluster_ = std::make_unique<StubCluster>(context_, job_, 2);
  OneWorker worker = MakeWorker(2);
  EXPECT_EQ(worker.trainer->progress().first_push_ms, 0);
  const int64_t before = runtime::UnixMs();
  ASSERT_TRUE(worker.trainer->Train(Span(0, 5)).ok());
  const auto losses = worker.trainer->TakeLosses();
  EXPECT_EQ(losses.size(), 13u);  // 50 samples in fours
  std::set<std::pair<uint64_t, uint32_t>> seen;
  for (const StepLoss& loss : losses) {
    seen.emplace(loss.step.value(), loss.micro_batch.value());
    ASSERT_EQ(loss.terms.size(), 1u);
    EXPECT_EQ(loss.terms[0].name, "loss");
  }
  EXPECT_EQ(seen.size(), 13u);
  EXPECT_TRUE(worker.trainer->TakeLosses().empty());
  const auto progress = worker.trainer->progress();
  EXPECT_EQ(progress.highest_begun, Step(4));
  EXPECT_EQ(progress.samples, 50);
  EXPECT_GE(progress.first_push_ms, before);
  EXPECT_LE(progress.first_push_ms, runtime::UnixMs());
  EXPECT_GT(progress.time.read + progress.time.compute + progress.time.pack, 0);
}

// A worker that comes in the middle starts where the shards are; what a dead one had pushed to some
// shards is recognised.
TEST_F(TrainerTest, ResumesWhereShardsStandWithHalfAStepPushed) {
  cluster_ = std::make_unique<StubCluster>(context_, job_, 3);
  OneWorker first = MakeWorker(1);
  ASSERT_TRUE(first.trainer->Train(Span(0, 2)).ok());
  // Of step 2 only micro-batch 1 reaches shard 0 before the worker dies.
  for (size_t s = 0; s < 3; ++s) {
    cluster_->shard(s).set_intercept([s](const FrameHeader& header) {
      const bool drop =
          header.type == FrameType::kPush && !(s == 0 && header.micro_batch == MicroBatch(1));
      return drop ? Internal("") : Status::Ok();
    });
  }
  std::thread dying(
      [&] { EXPECT_EQ(first.trainer->Train(Span(2, 6)).code(), StatusCode::kCancelled); });
  while (cluster_->shard(2).state().frames < 12) std::this_thread::yield();
  first.trainer->Abort();
  dying.join();
  for (size_t s = 0; s < 3; ++s) cluster_->shard(s).set_intercept(nullptr);
  std::vector<OneWorker> others;
  others.push_back(MakeWorker(1));
  others.push_back(MakeWorker(2));
  TrainTogether(others, 0, 6);
  EXPECT_EQ(cluster_->Rows(), Plainly(6));
}

// Frames that are lost on the way and Busy shards change nothing but the time.
TEST_F(TrainerTest, BusyShardsDoNotChangeTheBits) {
  cluster_ = std::make_unique<StubCluster>(context_, job_, 2);
  for (size_t s = 0; s < 2; ++s) {
    cluster_->shard(s).set_intercept(
        [n = 0](const FrameHeader&) mutable { return ++n % 5 == 0 ? Busy("full") : Status::Ok(); });
  }
  std::vector<OneWorker> workers;
  workers.push_back(MakeWorker(2));
  workers.push_back(MakeWorker(1));
  TrainTogether(workers, 0, 10);
  EXPECT_EQ(cluster_->Rows(), Plainly(10));
}

TEST_F(TrainerTest, StaleWhenShardsAreElsewhere) {
  cluster_ = std::make_unique<StubCluster>(context_, job_, 2);
  OneWorker worker = MakeWorker(1);
  EXPECT_EQ(worker.trainer->Train(Span(4, 6)).code(), StatusCode::kStale);
  cluster_->shard(1).set_version(StageId(1), Step(0));
  EXPECT_EQ(worker.trainer->Train(Span(0, 2)).code(), StatusCode::kStale);
}

TEST_F(TrainerTest, AbortBeforeAndDuringASpanAndResetAfterwards) {
  cluster_ = std::make_unique<StubCluster>(context_, job_, 1);
  OneWorker worker = MakeWorker(2);
  worker.trainer->Abort();
  EXPECT_EQ(worker.trainer->Train(Span(0, 10)).code(), StatusCode::kCancelled);
  worker.trainer->Reset();
  std::atomic<bool> aborted = false;
  source_.on_train = [&](Step step, MicroBatch) {
    if (step == Step(5) && !aborted.exchange(true)) worker.trainer->Abort();
    return Status::Ok();
  };
  EXPECT_EQ(worker.trainer->Train(Span(0, 10)).code(), StatusCode::kCancelled);
  worker.trainer->Reset();
  EXPECT_TRUE(worker.trainer->Train(Span(0, 10)).ok());
  source_.on_train = nullptr;
  EXPECT_EQ(cluster_->Rows(), Plainly(10));
}

TEST_F(TrainerTest, ErrorsOfReadersAndModelsEndTheSpan) {
  cluster_ = std::make_unique<StubCluster>(context_, job_, 1);
  OneWorker worker = MakeWorker(2);
  source_.on_train = [](Step step, MicroBatch m) {
    return step == Step(3) && m == MicroBatch(2) ? DataLoss("the column ends early") : Status::Ok();
  };
  const Status status = worker.trainer->Train(Span(0, 10));
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_EQ(status.message(), "step 3, micro-batch 2 (tiny.csv line 302): the column ends early");
}

// A micro-batch that cannot be read is named, and its step goes on without it when it is left out.
TEST_F(TrainerTest, WhatIsLeftOutIsPushedWithoutGradients) {
  source_.on_train = [](Step step, MicroBatch m) {
    return step == Step(3) && m == MicroBatch(1) ? DataLoss("poison") : Status::Ok();
  };
  std::vector<std::vector<TableValues>> rows;
  for (const uint32_t count : {1u, 2u, 3u}) {
    cluster_ = std::make_unique<StubCluster>(context_, job_, count);
    std::vector<OneWorker> workers;
    for (uint32_t w = 0; w < count; ++w) workers.push_back(MakeWorker(1 + w));
    TrainTogether(workers, 0, 3);
    EXPECT_EQ(workers[0].trainer->Train(Span(3, 6)).message(),
              "step 3, micro-batch 1 (tiny.csv line 301): poison");
    const auto failed = workers[0].trainer->progress().failed;
    ASSERT_TRUE(failed.has_value());
    EXPECT_EQ(failed->step, Step(3));
    EXPECT_EQ(failed->micro_batch, MicroBatch(1));
    std::vector<std::thread> threads;
    for (uint32_t rank = 0; rank < count; ++rank) {
      threads.emplace_back([&, rank] {
        SpanAssignment span = Span(3, 6, rank, count);
        span.left_out.emplace(3, 1);
        EXPECT_TRUE(workers[rank].trainer->Train(span).ok());
      });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_FALSE(workers[0].trainer->progress().failed.has_value());
    int64_t without_samples = 0;
    for (auto& worker : workers) {
      for (const StepLoss& loss : worker.trainer->TakeLosses()) {
        if (loss.samples == 0) ++without_samples;
      }
    }
    EXPECT_EQ(without_samples, 1);
    rows.push_back(cluster_->Rows());
  }
  EXPECT_EQ(rows[0], rows[1]);
  EXPECT_EQ(rows[0], rows[2]);
  source_.on_train = nullptr;
  EXPECT_NE(rows[0], Plainly(6));
}

// All workers pause at different places; the highest step begun is then finished by all.
TEST_F(TrainerTest, PauseStopsAtAStepThatAllCanFinish) {
  for (const uint32_t lanes : {1u, 2u}) {
    cluster_ = std::make_unique<StubCluster>(context_, job_, 2);
    std::vector<OneWorker> workers;
    workers.push_back(MakeWorker(lanes));
    workers.push_back(MakeWorker(lanes));
    source_.on_train = [&](Step step, MicroBatch) {
      if (step == Step(4)) {
        for (auto& worker : workers) worker.trainer->Pause();
      }
      return Status::Ok();
    };
    TrainTogether(workers, 0, 10);
    source_.on_train = nullptr;
    uint64_t highest = 0;
    for (auto& worker : workers) {
      highest = std::max(highest, worker.trainer->progress().highest_begun.value().value());
      worker.trainer->Reset();
    }
    EXPECT_LT(highest, 9u);
    TrainTogether(workers, 0, highest + 1);
    for (size_t s = 0; s < 2; ++s) {
      EXPECT_EQ(cluster_->shard(s).state().version, Step(highest + 1));
    }
    EXPECT_EQ(cluster_->Rows(), Plainly(highest + 1));
    workers.clear();
  }
}

TEST_F(TrainerTest, DenseParametersAreSetOnceAndFetched) {
  cluster_ = std::make_unique<StubCluster>(context_, job_, 3);
  OneWorker worker = MakeWorker(1);
  ASSERT_TRUE(worker.trainer->Train(Span(0, 3)).ok());
  const auto before = cluster_->Rows();
  ASSERT_TRUE(worker.trainer->InitializeDense(StageId(0), Generation(1)).ok());
  EXPECT_EQ(cluster_->Rows(), before);
  std::vector<float> flat(26);
  ASSERT_TRUE(worker.trainer->Rows(StageId(0), Generation(1))->FetchDense(flat).ok());
  std::vector<float> initial(26);
  TinyModel().Initialize(job_.seed(), initial);
  EXPECT_NE(flat, initial);
  const uint64_t key = DenseKey("bias", 0);
  EXPECT_EQ(flat[4], before[2].at(key)[0]);
}

// ---- Clipping by the norm of all gradients
// ------------------------------------------------------

class ClippedTrainerTest : public TrainerTest {
 protected:
  // Some steps of TinyJob are above, some below.
  ClippedTrainerTest() {
    for (int stage = 0; stage < 2; ++stage) {
      job_.mutable_stage(stage)->mutable_train()->set_clip_global_norm(0.5);
    }
  }
  void ExpectSomeScaled(int64_t steps) {
    EXPECT_GT(cluster_->shard(0).state().scaled, 0);
    EXPECT_LT(cluster_->shard(0).state().scaled, steps);
  }
};

TEST_F(ClippedTrainerTest, SameBitsInAnyShape) {
  const auto expected = Plainly(10, 10);
  const uint32_t shapes[][3] = {{1, 1, 1}, {1, 4, 2}, {2, 3, 1}, {4, 1, 2}, {5, 2, 3}};
  for (const auto& [count, shards, lanes] : shapes) {
    cluster_ = std::make_unique<StubCluster>(context_, job_, shards);
    std::vector<OneWorker> workers;
    for (uint32_t w = 0; w < count; ++w) workers.push_back(MakeWorker(lanes));
    TrainTogether(workers, 0, 3);
    // A span is over when its last step has been applied.
    for (uint32_t s = 0; s < shards; ++s) EXPECT_EQ(cluster_->shard(s).state().version, Step(3));
    TrainTogether(workers, 3, 10);
    TrainTogether(workers, 0, 10, 1);
    EXPECT_EQ(cluster_->Rows(), expected) << count << " x " << shards << " x " << lanes;
    ExpectSomeScaled(20);
    workers.clear();
  }
}

TEST_F(ClippedTrainerTest, TheNormIsReported) {
  cluster_ = std::make_unique<StubCluster>(context_, job_, 2);
  OneWorker worker = MakeWorker(2);
  ASSERT_TRUE(worker.trainer->Train(Span(0, 5)).ok());
  std::map<uint64_t, std::set<double>> norms;
  const auto losses = worker.trainer->TakeLosses();
  EXPECT_EQ(losses.size(), 13u);
  for (const StepLoss& loss : losses) {
    ASSERT_EQ(loss.terms.size(), 2u);
    EXPECT_EQ(loss.terms[1].name, "gradient_norm");
    EXPECT_GT(loss.terms[1].value, 0);
    norms[loss.step.value()].insert(loss.terms[1].value);
  }
  EXPECT_EQ(norms.size(), 5u);
  for (const auto& [step, values] : norms) EXPECT_EQ(values.size(), 1u) << step;
}

// A worker dies when all its gradients are in and shard 0 alone has been told to apply them.
TEST_F(ClippedTrainerTest, AWorkerDiesBetweenTheNormAndTheApply) {
  for (const size_t lost_from : {0u, 1u}) {
    cluster_ = std::make_unique<StubCluster>(context_, job_, 3);
    OneWorker first = MakeWorker(1);
    ASSERT_TRUE(first.trainer->Train(Span(0, 2)).ok());
    std::atomic<int> told = 0;
    std::atomic<int> lost = 0;
    for (size_t s = 0; s < 3; ++s) {
      cluster_->shard(s).set_intercept([&, s](const FrameHeader& header) {
        if (header.type != FrameType::kApply) return Status::Ok();
        ++(s < lost_from ? told : lost);
        return s < lost_from ? Status::Ok() : Internal("");
      });
    }
    std::thread dying(
        [&] { EXPECT_EQ(first.trainer->Train(Span(2, 6)).code(), StatusCode::kCancelled); });
    while (lost < 3 - static_cast<int>(lost_from) || told < static_cast<int>(lost_from)) {
      std::this_thread::yield();
    }
    first.trainer->Abort();
    dying.join();
    for (size_t s = 0; s < 3; ++s) {
      EXPECT_EQ(cluster_->shard(s).state().version, Step(s < lost_from ? 3 : 2));
      cluster_->shard(s).set_intercept(nullptr);
    }
    std::vector<OneWorker> others;
    others.push_back(MakeWorker(1));
    others.push_back(MakeWorker(2));
    TrainTogether(others, 0, 6);
    EXPECT_EQ(cluster_->Rows(), Plainly(6));
  }
}

TEST_F(ClippedTrainerTest, BusyShardsDoNotChangeTheBits) {
  cluster_ = std::make_unique<StubCluster>(context_, job_, 2);
  for (size_t s = 0; s < 2; ++s) {
    cluster_->shard(s).set_intercept(
        [n = 0](const FrameHeader&) mutable { return ++n % 5 == 0 ? Busy("full") : Status::Ok(); });
  }
  std::vector<OneWorker> workers;
  workers.push_back(MakeWorker(2));
  workers.push_back(MakeWorker(1));
  TrainTogether(workers, 0, 10);
  EXPECT_EQ(cluster_->Rows(), Plainly(10));
}

// A worker that is paused does not wait for the others' gradients, or nobody would come to an end.
TEST_F(ClippedTrainerTest, PauseStopsAtAStepThatAllCanFinish) {
  for (const uint32_t lanes : {1u, 2u}) {
    for (const uint64_t at : {1u, 4u, 5u}) {
      cluster_ = std::make_unique<StubCluster>(context_, job_, 2);
      std::vector<OneWorker> workers;
      workers.push_back(MakeWorker(lanes));
      workers.push_back(MakeWorker(lanes));
      source_.on_train = [&](Step step, MicroBatch) {
        if (step == Step(at)) {
          for (auto& worker : workers) worker.trainer->Pause();
        }
        return Status::Ok();
      };
      TrainTogether(workers, 0, 10);
      source_.on_train = nullptr;
      uint64_t until = 0;
      for (auto& worker : workers) {
        const auto begun = worker.trainer->progress().highest_begun;
        if (begun.has_value()) until = std::max(until, begun->value() + 1);
        worker.trainer->Reset();
      }
      EXPECT_LT(until, 10u);
      TrainTogether(workers, 0, until);
      for (size_t s = 0; s < 2; ++s) {
        EXPECT_EQ(cluster_->shard(s).state().version, Step(until));
      }
      EXPECT_EQ(cluster_->Rows(), Plainly(until));
      workers.clear();
    }
  }
}

TEST_F(ClippedTrainerTest, ErrorsOfShardsEndTheSpan) {
  for (const FrameType type : {FrameType::kSquares, FrameType::kApply}) {
    cluster_ = std::make_unique<StubCluster>(context_, job_, 2);
    cluster_->shard(1).set_intercept([type](const FrameHeader& header) {
      return header.type == type ? InvalidArgument("they add up to what is not finite")
                                 : Status::Ok();
    });
    OneWorker worker = MakeWorker(2);
    const Status status = worker.trainer->Train(Span(0, 4));
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status.ToString();
  }
}

}  // namespace
}  // namespace emporium::worker
