// The small state machines: plans, membership, losses, chunks, checkpoints, fingerprint.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "runtime/fingerprint.h"
#include "scheduler/checkpoints.h"
#include "scheduler/chunks.h"
#include "scheduler/limits.h"
#include "scheduler/losses.h"
#include "scheduler/membership.h"
#include "scheduler/stages.h"
#include "tests/scheduler/jobs.h"

namespace emporium::scheduler::testing {
namespace {

using ::testing::HasSubstr;
using Kind = TrainWork::Kind;

// ---- Plans -------------------------------------------------------------------------------------

spec::Stage StageOf(const std::string& train) {
  return JobOf("stage { name: 's' train { " + train + " } }").stage(0);
}

TEST(TrainPlan, CutsEpochsIntoSteps) {
  auto plan =
      TrainPlan::Make(StageOf("micro_batch_size: 10 micro_batches_per_step: 4 epochs: 3"), 175, 0);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->steps_per_epoch(), 5u);
  EXPECT_EQ(plan->total_steps(), 15u);
  EXPECT_EQ(plan->MicroBatches(3), 4u);
  EXPECT_EQ(plan->MicroBatches(4), 2u);  // 18 micro-batches
  EXPECT_EQ(plan->MicroBatches(14), 2u);
  EXPECT_EQ(plan->SamplesUntil(4), 160u);
  EXPECT_EQ(plan->SamplesUntil(5), 175u);
  EXPECT_EQ(plan->SamplesUntil(11), 390u);
  EXPECT_EQ(TrainPlan::Make(StageOf("max_steps: 7 epochs: 1000"), 5000, 0)->total_steps(), 7u);
  EXPECT_EQ(TrainPlan::Make(StageOf(""), 0, 0).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(TrainPlan::Make(StageOf("epochs: 0"), 9, 0).status().code(),
            StatusCode::kInvalidArgument);
}

TEST(TrainPlan, SpansEndAtCheckpointsAndValidations) {
  auto plan = TrainPlan::Make(StageOf("micro_batch_size: 10 micro_batches_per_step: 1 epochs: 4 "
                                      "validate_every_epochs: 2"),
                              50, 7);
  ASSERT_TRUE(plan.ok());
  TrainCursor cursor;
  std::vector<uint64_t> ends, validations, checkpoints;
  while (true) {
    const TrainWork work = plan->Next(cursor);
    if (work.kind == Kind::kValidate) {
      validations.push_back(cursor.step);
      ASSERT_TRUE(plan->Validated({}, &cursor).ok());
      continue;
    }
    if (plan->CheckpointDue(cursor)) checkpoints.push_back(cursor.step);
    if (work.kind == Kind::kFinished) break;
    EXPECT_EQ(work.from, cursor.step);
    EXPECT_LT(work.from, work.until);
    cursor.step = work.until;
    ends.push_back(work.until);
  }
  EXPECT_EQ(ends, (std::vector<uint64_t>{7, 10, 14, 20}));
  EXPECT_EQ(validations, (std::vector<uint64_t>{10, 20}));
  EXPECT_EQ(checkpoints, (std::vector<uint64_t>{7, 14, 20}));
}

// No worker may ask for the version before one at which rows expire.
TEST(TrainPlan, SpansEndWhereRowsExpire) {
  spec::Job job;
  job.add_table()->mutable_expiry()->set_every_steps(6);
  job.add_table();
  job.add_table()->mutable_expiry()->set_every_steps(4);
  EXPECT_EQ(ExpiryPeriods(job), (std::vector<uint64_t>{6, 4}));
  auto plan = TrainPlan::Make(StageOf("micro_batch_size: 10 micro_batches_per_step: 1"), 145, 9,
                              ExpiryPeriods(job));
  ASSERT_TRUE(plan.ok());
  std::vector<uint64_t> ends;
  TrainCursor cursor;
  for (TrainWork work = plan->Next(cursor); work.kind == Kind::kSpan; work = plan->Next(cursor)) {
    cursor.step = work.until;
    ends.push_back(work.until);
  }
  EXPECT_EQ(ends, (std::vector<uint64_t>{4, 6, 8, 9, 12, 15}));
}

TEST(TrainPlan, StopsEarlyAfterMoreThanPatience) {
  auto plan = TrainPlan::Make(
      StageOf("epochs: 90 validate_every_epochs: 1 early_stop { metric: 'logloss' patience: 2 }"),
      10, 0);
  ASSERT_TRUE(plan.ok());
  TrainCursor cursor;
  const auto validate = [&](double value) {
    ++cursor.step;
    EXPECT_EQ(plan->Next(cursor).kind, Kind::kValidate);
    EXPECT_TRUE(plan->Validated({{"logloss", value}}, &cursor).ok());
    return cursor.stopped_early;
  };
  EXPECT_FALSE(validate(0.7));
  EXPECT_FALSE(validate(0.5));  // lower is better
  EXPECT_FALSE(validate(0.5));
  EXPECT_FALSE(validate(std::nan("")));
  EXPECT_FALSE(validate(0.4));
  EXPECT_FALSE(validate(0.6));
  EXPECT_FALSE(validate(0.6));
  EXPECT_TRUE(validate(0.6));
  EXPECT_EQ(plan->Next(cursor).kind, Kind::kFinished);
  EXPECT_EQ(cursor.best, 0.4);
  EXPECT_EQ(cursor.best_step, 5u);
  EXPECT_EQ(cursor.plateaus, 5u);
  ASSERT_TRUE(plan->GoesBack(cursor));
  const TrainCursor back = TrainPlan::WentBack(cursor);
  EXPECT_EQ(back.step, 5u);
  EXPECT_EQ(plan->Next(back).kind, Kind::kFinished);
  EXPECT_FALSE(plan->GoesBack(back));
  EXPECT_TRUE(plan->CheckpointDue(back));
}

TEST(TrainPlan, TheBestIsKeptAndTheRateFallsOnPlateaus) {
  const auto plan_of = [](const std::string& more) {
    return TrainPlan::Make(
               StageOf("epochs: 3 validate_every_epochs: 1 early_stop { metric: 'auc' " + more +
                       " } learning_rate { plateau_factor: 0.25 }"),
               10, 0)
        .value();
  };
  const TrainPlan plan = plan_of("");
  TrainCursor cursor;
  EXPECT_EQ(plan.RateFactor(cursor), 1);
  for (const double auc : {0.6, 0.7, 0.65}) {
    ++cursor.step;
    ASSERT_TRUE(plan.Validated({{"auc", auc}}, &cursor).ok());
    EXPECT_EQ(plan.AtKept(cursor), auc != 0.65);
    EXPECT_TRUE(plan.CheckpointDue(cursor));
    EXPECT_EQ(plan.RateFactor(cursor), auc == 0.65 ? 0.25 : 1);
  }
  EXPECT_TRUE(plan.GoesBack(cursor)) << "a stage that runs to its end has a best one too";
  const TrainPlan last = plan_of("keep_best: false");
  EXPECT_FALSE(last.GoesBack(cursor));
  cursor.step = 2;
  EXPECT_FALSE(last.CheckpointDue(cursor));
}

// ---- Membership --------------------------------------------------------------------------------

control::Registration ServerWith(size_t shards) {
  control::Registration r;
  r.kind = control::NodeKind::SERVER;
  r.shard_endpoints.assign(shards, "e" + std::to_string(shards));
  return r;
}
control::Registration WorkerNode() {
  control::Registration r;
  r.kind = control::NodeKind::WORKER;
  return r;
}

TEST(Membership, FillsTheGapOfAServerThatLeft) {
  Membership members(5, 100, 3000);
  const int64_t a = (*members.Add(0, ServerWith(2)))->id;
  const int64_t b = (*members.Add(0, ServerWith(3)))->id;
  EXPECT_EQ(a, 5);
  EXPECT_EQ(b, 6);
  EXPECT_TRUE(members.Complete(2));
  members.Remove(a);
  EXPECT_FALSE(members.Complete(1));  // its shards are 2, 3, 4
  Node* c = *members.Add(0, ServerWith(2));
  EXPECT_EQ(c->id, 7);
  EXPECT_EQ(c->incarnation, 107);
  EXPECT_EQ(c->first_shard, 0);
  EXPECT_TRUE(members.Complete(2));
  EXPECT_EQ(members.EndpointsOfShards(), (std::vector<std::string>{"e2", "e2", "e3", "e3", "e3"}));
  EXPECT_EQ(members.Add(0, ServerWith(0)).status().code(), StatusCode::kInvalidArgument);
}

TEST(Membership, LeasesRunOutAndOldIncarnationsAreStale) {
  Membership members(1, 100, 3000);
  Node* a = *members.Add(0, WorkerNode());
  Node* b = *members.Add(1000, WorkerNode());
  EXPECT_EQ(members.next_expiry_ms(), 3000);
  EXPECT_TRUE(members.Expired(2999).empty());
  EXPECT_EQ(members.Expired(3000), std::vector<int64_t>{a->id});
  Membership::Take(2500, control::Report(), a);
  EXPECT_EQ(members.next_expiry_ms(), 4000);
  EXPECT_EQ(members.Expired(4000), std::vector<int64_t>{b->id});
  EXPECT_TRUE(members.Find(a->id, a->incarnation).ok());
  EXPECT_EQ(members.Find(a->id, a->incarnation + 1).status().code(), StatusCode::kStale);
  EXPECT_EQ(members.Find(77, 1).status().code(), StatusCode::kStale);
}

TEST(Membership, OnlyTheNewestCommandCounts) {
  Membership members(1, 100, 3000);
  Node* node = *members.Add(0, WorkerNode());
  control::Command train;
  train.kind = control::CommandKind::TRAIN;
  train.from_step = 10;
  EXPECT_EQ(members.Give(node, train).sequence, 1);
  EXPECT_EQ(members.Give(node, train).sequence, 2);
  control::Report report;
  report.seen_sequence = report.done_sequence = 1;
  report.highest_step = 12;
  Membership::Take(0, report, node);
  EXPECT_FALSE(node->finished);
  EXPECT_FALSE(node->begun.has_value());  // of the command before
  report.seen_sequence = 2;
  report.error = "late failure of the first";
  report.seen_sequence = 1;
  Membership::Take(0, report, node);
  EXPECT_TRUE(node->failure.ok());
  report.error.clear();
  report.seen_sequence = 2;
  report.highest_step = 9;
  Membership::Take(0, report, node);
  EXPECT_FALSE(node->begun.has_value());  // of the span before
  report.highest_step = 11;
  report.done_sequence = 2;
  Membership::Take(0, report, node);
  EXPECT_EQ(node->begun, 11u);
  EXPECT_TRUE(node->finished);
  report.error = "e";  // after the end: nobody's business
  Membership::Take(0, report, node);
  EXPECT_TRUE(node->failure.ok());
}

// ---- Losses ------------------------------------------------------------------------------------

TrainPlan PlanOf(int64_t samples) {
  return *TrainPlan::Make(StageOf("micro_batch_size: 10 micro_batches_per_step: 3 epochs: 1"),
                          samples, 0);
}
control::MicroBatchLoss LossOf(int64_t step, int32_t micro_batch, int64_t samples, double loss) {
  control::MicroBatchLoss l;
  l.step = step;
  l.micro_batch = micro_batch;
  l.samples = samples;
  l.terms["loss"] = loss;
  return l;
}

TEST(LossTracker, WeighsBySamplesInAnyOrderOnce) {
  std::vector<control::MicroBatchLoss> losses;
  for (int64_t step = 0; step < 6; ++step) {
    for (int32_t m = 0; m < 3; ++m) losses.push_back(LossOf(step, m, 10 - m, 0.1 * m + 0.3));
  }
  std::vector<CurvePoint> first;
  std::mt19937 random(3);
  for (int round = 0; round < 20; ++round) {
    std::shuffle(losses.begin(), losses.end(), random);
    LossTracker tracker(PlanOf(180), {});
    uint64_t samples = 0;
    for (const auto& loss : losses) {
      samples += tracker.Add(loss, 0, 6);
      EXPECT_EQ(tracker.Add(loss, 0, 6), 0u);
    }
    EXPECT_EQ(samples, 6u * 27u);
    EXPECT_EQ(tracker.settled(), 6u);
    if (round == 0) first = tracker.curve();
    EXPECT_EQ(tracker.curve(), first);  // the same bits
  }
  ASSERT_EQ(first.size(), 6u);
  EXPECT_DOUBLE_EQ(first[0].terms.at("loss"), (10 * 0.3 + 9 * 0.4 + 8 * 0.5) / 27);
}

TEST(LossTracker, ATermThatAMicroBatchLacksIsTheMeanOfTheOthers) {
  LossTracker tracker(PlanOf(180), {});
  for (int32_t m = 0; m < 3; ++m) {
    control::MicroBatchLoss loss = LossOf(0, m, 10, 1);
    if (m != 1) loss.terms["gradient_norm"] = 5;
    tracker.Add(loss, 0, 6);
  }
  EXPECT_EQ(tracker.newest().at("gradient_norm"), 5);
  EXPECT_EQ(tracker.newest().at("loss"), 1);
}

TEST(LossTracker, AStepIsCompleteWithoutWhatWasLeftOut) {
  LossTracker tracker(PlanOf(180), {});
  tracker.Add(LossOf(0, 0, 10, 1), 0, 6);
  tracker.Add(LossOf(0, 1, 0, 7), 0, 6);  // no samples
  EXPECT_EQ(tracker.settled(), 0u);
  tracker.Add(LossOf(0, 2, 10, 3), 0, 6);
  EXPECT_EQ(tracker.settled(), 1u);
  EXPECT_EQ(tracker.newest().at("loss"), 2);
}

TEST(LossTracker, RefusesWhatCannotBeAndDoesNotWaitForTheLost) {
  LossTracker tracker(PlanOf(100'000), {});
  EXPECT_EQ(tracker.Add(LossOf(5, 0, 10, 1), 6, 9), 0u);
  EXPECT_EQ(tracker.Add(LossOf(9, 0, 10, 1), 6, 9), 0u);
  EXPECT_EQ(tracker.Add(LossOf(-1, 0, 10, 1), 0, 9), 0u);
  EXPECT_EQ(tracker.Add(LossOf(7, 3, 10, 1), 6, 9), 0u);
  EXPECT_EQ(tracker.Add(LossOf(7, -1, 10, 1), 6, 9), 0u);
  EXPECT_EQ(tracker.Add(LossOf(7, 0, -1, 1), 6, 9), 0u);
  // Step 6 never comes.
  for (int64_t step = 7; step < 2'000; ++step) tracker.Add(LossOf(step, 0, 10, 1), 6, 3'000);
  EXPECT_EQ(tracker.settled(), 1'999 - limits::kMaxOpenSteps);
  tracker.Settle(3'000);
  EXPECT_EQ(tracker.settled(), 3'000u);
}

TEST(LossTracker, TheCurveIsBoundedAndKeepsItsMean) {
  const uint64_t steps = 3'000;
  LossTracker tracker(PlanOf(30 * steps), {});
  double sum = 0;
  for (uint64_t step = 0; step < steps; ++step) {
    const double loss = 1.0 / (1.0 + static_cast<double>(step));
    sum += loss;
    for (int32_t m = 0; m < 3; ++m) {
      tracker.Add(LossOf(static_cast<int64_t>(step), m, 10, loss), 0, steps);
    }
    ASSERT_LE(tracker.curve().size(), limits::kMaxCurvePoints);
  }
  double kept = 0;
  uint64_t next = 0;
  for (const CurvePoint& point : tracker.curve()) {
    EXPECT_EQ(point.step, next);
    next += point.steps;
    kept += point.terms.at("loss") * static_cast<double>(point.steps);
  }
  EXPECT_EQ(next, steps);
  EXPECT_NEAR(kept, sum, 1e-9);
  // A tracker that goes on from it has the same curve as one that saw everything.
  std::vector<CurvePoint> half(tracker.curve().begin(), tracker.curve().begin() + 300);
  const uint64_t from = half.back().step + half.back().steps;
  LossTracker again(PlanOf(30 * steps), half);
  for (uint64_t step = from; step < steps; ++step) {
    const double loss = 1.0 / (1.0 + static_cast<double>(step));
    for (int32_t m = 0; m < 3; ++m) {
      again.Add(LossOf(static_cast<int64_t>(step), m, 10, loss), from, steps);
    }
  }
  ASSERT_EQ(again.curve().size(), tracker.curve().size());
  EXPECT_EQ(again.curve().back().step, tracker.curve().back().step);
}

TEST(RateMeter, CountsOverItsWindow) {
  RateMeter meter;
  EXPECT_EQ(meter.PerSecond(0), 0);
  for (int64_t t = 0; t <= 60'000; t += 50) meter.Add(t, t < 30'000 ? 100 : 5);
  EXPECT_NEAR(meter.PerSecond(60'000), 100, 2);
  EXPECT_LT(meter.PerSecond(120'000), 20);
}

// ---- Chunks ------------------------------------------------------------------------------------

TEST(ChunkResults, AreIdempotentBoundedAndInOrder) {
  ChunkResults chunks;
  chunks.Begin(4);
  EXPECT_EQ(chunks.FirstMissing(), 0);
  EXPECT_TRUE(chunks.Put(0, "a").ok());
  EXPECT_TRUE(chunks.Put(2, "c").ok());
  EXPECT_TRUE(chunks.Put(2, "c").ok());
  EXPECT_EQ(chunks.FirstMissing(), 1);
  EXPECT_EQ(chunks.present(), 2);
  EXPECT_EQ(chunks.Put(4, "e").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(chunks.Put(-1, "e").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(*chunks.Get(0), std::vector<std::string>{"a"});
  EXPECT_EQ(chunks.Get(1).status().code(), StatusCode::kNotFound);
  EXPECT_TRUE(chunks.Get(4)->empty());
  EXPECT_EQ(chunks.Get(5).status().code(), StatusCode::kInvalidArgument);
  const std::string large(limits::kChunkAnswerBytes - 1, 'x');
  EXPECT_TRUE(chunks.Put(1, large).ok());
  EXPECT_TRUE(chunks.Put(3, "d").ok());
  EXPECT_TRUE(chunks.complete());
  EXPECT_EQ(chunks.Get(0)->size(), 2u);
  EXPECT_EQ(chunks.Get(1)->size(), 2u);
  EXPECT_EQ(chunks.Get(2)->size(), 2u);
}

// ---- Checkpoints -------------------------------------------------------------------------------

TEST(CheckpointState, ComesBackTheSame) {
  CheckpointState state{"d", {}};
  EXPECT_EQ(*DecodeState(EncodeState(state)), state);
  state.cursor = {17, 12, 0.1 + 0.2, 8, 3, 5, true, 4, {{0, 3, 1, "why"}, {1, 16, 0, ""}}};
  EXPECT_EQ(*DecodeState(EncodeState(state)), state);
  for (const char* bad : {"", "{}", "[1]", "{\"format\":2}", "\xff"}) {
    EXPECT_EQ(DecodeState(bad).status().code(), StatusCode::kDataLoss);
  }
}

control::ShardFile FileOf(int32_t shard, std::vector<int32_t> partitions) {
  control::ShardFile file;
  file.shard = shard;
  file.path = "/c/7/shard-" + std::to_string(shard);
  file.bytes = 100;
  for (const int32_t p : partitions) file.partition_digests[p] = std::string(32, 'a');
  return file;
}

TEST(CheckpointRun, IsWholeOnlyWithEveryShardAndPartition) {
  const auto run_with = [](const std::vector<control::ShardFile>& files) {
    CheckpointRun run(7, "/c/7", {1, 20, false}, 2, 0, {});
    for (const auto& file : files) EXPECT_TRUE(run.AddFiles(file.shard, 1, {file}).ok());
    spec::CheckpointManifest manifest;
    std::map<std::string, std::string> links;
    const Status status = run.FillManifest(4, &manifest, &links);
    EXPECT_TRUE(links.empty());
    return std::pair(status, manifest);
  };
  const auto [status, manifest] = run_with({FileOf(0, {0, 1}), FileOf(1, {2, 3})});
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(manifest.number(), 7u);
  EXPECT_EQ(manifest.step(), 20u);
  EXPECT_EQ(manifest.file(1).path(), "shard-1");
  EXPECT_EQ(manifest.content_digest().size(), 64u);
  EXPECT_FALSE(run_with({FileOf(0, {0, 1, 2, 3})}).first.ok());
  EXPECT_FALSE(run_with({FileOf(0, {0, 1}), FileOf(1, {2})}).first.ok());
  EXPECT_FALSE(run_with({FileOf(0, {0, 1}), FileOf(1, {1, 2, 3})}).first.ok());
  EXPECT_FALSE(run_with({FileOf(0, {0, 1}), FileOf(1, {2, 3, 4})}).first.ok());
  CheckpointRun run(7, "/c/7", {}, 2, 0, {});
  EXPECT_FALSE(run.AddFiles(0, 2, {FileOf(0, {})}).ok());
  EXPECT_FALSE(run.AddFiles(0, 1, {FileOf(1, {})}).ok());
  EXPECT_FALSE(run.AddFiles(0, 1, {FileOf(0, {}), FileOf(0, {})}).ok());
}

TEST(CheckpointRun, ChangesComeWithWhatTheyAreChangesTo) {
  // Shard 0 has a whole file and one of changes already, shard 1 a whole one.
  spec::ManifestFile base, changes, other;
  base.set_path("shard-0.4.h5");
  base.set_shard(0);
  base.set_checkpoint(4);
  changes.set_path("shard-0.h5");
  changes.set_shard(0);
  other.set_path("shard-1.h5");
  other.set_shard(1);
  const SavedFiles saved{6, {base, changes, other}};
  EXPECT_EQ(saved.deltas(), 1u);
  CheckpointRun run(7, "/c/7", {1, 20, false}, 2, 0, saved);
  EXPECT_EQ(run.parent(), 6u);
  control::ShardFile first = FileOf(0, {0, 1});
  first.parent = 6;
  EXPECT_TRUE(run.AddFiles(0, 1, {first}).ok());
  EXPECT_FALSE(run.complete());
  EXPECT_TRUE(run.AddFiles(1, 1, {FileOf(1, {2, 3})}).ok());  // which wrote all rows
  EXPECT_TRUE(run.complete());
  spec::CheckpointManifest manifest;
  std::map<std::string, std::string> links;
  ASSERT_TRUE(run.FillManifest(4, &manifest, &links).ok());
  ASSERT_EQ(manifest.file_size(), 4);
  EXPECT_EQ(manifest.file(0).path(), "shard-0.4.h5");
  EXPECT_EQ(manifest.file(1).path(), "shard-0.6.h5");
  EXPECT_EQ(manifest.file(1).checkpoint(), 6u);
  EXPECT_FALSE(manifest.file(2).has_checkpoint());
  EXPECT_EQ(manifest.file(3).path(), "shard-1");
  EXPECT_EQ(links, (std::map<std::string, std::string>{{"shard-0.4.h5", "shard-0.4.h5"},
                                                       {"shard-0.6.h5", "shard-0.h5"}}));

  first.parent = 5;
  CheckpointRun wrong(7, "/c/7", {1, 20, false}, 1, 0, saved);
  EXPECT_TRUE(wrong.AddFiles(0, 1, {first}).ok());
  EXPECT_FALSE(wrong.FillManifest(4, &manifest, &links).ok());

  // A shard without earlier files is noticed, whatever the others have.
  first.parent = 6;
  control::ShardFile second = FileOf(1, {2, 3});
  second.parent = 6;
  CheckpointRun alone(7, "/c/7", {1, 20, false}, 2, 0, {6, {base, changes}});
  EXPECT_TRUE(alone.AddFiles(0, 1, {first}).ok());
  EXPECT_TRUE(alone.AddFiles(1, 1, {second}).ok());
  links.clear();
  spec::CheckpointManifest unfinished;
  EXPECT_FALSE(alone.FillManifest(4, &unfinished, &links).ok());
}

// ---- The fingerprint of a job ------------------------------------------------------------------

TEST(JobFingerprint, SeesWhatDecidesTheBitsAndNothingElse) {
  const spec::Job job = JobOf(R"(name: "a" seed: 3 table { name: "t" dim: 4 }
    data { events { file: "x.csv" column { name: "u" } } user_column: "u" }
    stage { name: "s" train { epochs: 2 } } stage { name: "e" evaluate {} })");
  const std::string fingerprint = runtime::JobFingerprint(job);
  EXPECT_EQ(fingerprint.size(), 64u);
  const auto changed = [&](const std::function<void(spec::Job*)>& change) {
    spec::Job other = job;
    change(&other);
    return runtime::JobFingerprint(other) != fingerprint;
  };
  EXPECT_FALSE(changed([](spec::Job* j) { j->set_name("b"); }));
  EXPECT_FALSE(changed([](spec::Job* j) { j->set_work_dir("/w"); }));
  EXPECT_FALSE(changed([](spec::Job* j) { j->mutable_cluster()->set_workers(9); }));
  EXPECT_FALSE(changed([](spec::Job* j) { j->mutable_cluster()->set_partitions(1024); }));
  EXPECT_FALSE(changed([](spec::Job* j) { j->mutable_checkpoint()->set_keep(9); }));
  EXPECT_FALSE(changed(
      [](spec::Job* j) { j->mutable_data()->mutable_events()->set_file(0, "/elsewhere/x.csv"); }));
  EXPECT_FALSE(changed([](spec::Job* j) { j->mutable_stage(1)->mutable_evaluate()->add_k(5); }));
  EXPECT_FALSE(changed([](spec::Job* j) { j->add_stage()->mutable_export_(); }));
  EXPECT_TRUE(changed([](spec::Job* j) { j->set_seed(4); }));
  EXPECT_TRUE(changed([](spec::Job* j) { j->mutable_table(0)->set_dim(8); }));
  EXPECT_TRUE(changed([](spec::Job* j) { j->mutable_cluster()->set_partitions(64); }));
  EXPECT_TRUE(changed([](spec::Job* j) { j->mutable_stage(0)->mutable_train()->set_epochs(3); }));
  EXPECT_TRUE(changed([](spec::Job* j) { j->mutable_data()->set_user_column("v"); }));
  EXPECT_TRUE(changed([](spec::Job* j) { j->mutable_stage()->SwapElements(0, 1); }));
}

}  // namespace
}  // namespace emporium::scheduler::testing
