// Jobs for the scheduler's tests.
#pragma once

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>

#include "proto/job.pb.h"
#include "tests/scheduler/sim.h"

namespace emporium::scheduler::testing {

inline spec::Job JobOf(const std::string& text) {
  spec::Job job;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &job));
  return job;
}

// Two train stages, the second with validation and early stop, then evaluation and export.
inline spec::Job TwoStageJob() {
  return JobOf(R"(
    name: "j"
    stage { name: "pretrain" train { pointwise {} micro_batch_size: 10 micro_batches_per_step: 4
                                     epochs: 2 } }
    stage { name: "finetune" train { pointwise {} micro_batch_size: 5 micro_batches_per_step: 3
                                     epochs: 6 validate_every_epochs: 1
                                     early_stop { metric: "m" patience: 1 } } }
    stage { name: "test" evaluate {} }
    stage { name: "export" export {} }
    checkpoint { every_steps: 3 keep: 2 }
    cluster { partitions: 8 })");
}

inline Sim::Options TwoStageOptions(size_t workers, uint64_t seed = 1) {
  Sim::Options options;
  options.job = TwoStageJob();
  options.workers = workers;
  options.seed = seed;
  options.samples = {175, 52, 0, 0};  // 18 and 11 micro-batches; 5 and 4 steps an epoch
  options.chunks = {0, 0, 5, 4};
  options.validation_chunks = {0, 3, 0, 0};
  // Improves until step 8, then falls: with patience 1 the second one that is worse stops it.
  options.metric = [](uint32_t stage, uint64_t step) {
    if (stage != 1) return 0.75;
    return step <= 8 ? static_cast<double>(step) : 20.0 - static_cast<double>(step);
  };
  return options;
}

// What any run of the two-stage job must end in.
inline void ExpectWholeJob(const Sim& sim, bool last_checkpoint = true) {
  ASSERT_TRUE(sim.over.has_value());
  EXPECT_TRUE(sim.over->ok()) << sim.over->ToString();
  EXPECT_EQ(sim.StepsOf(0), 10u);
  EXPECT_EQ(sim.StepsOf(1), 8u);  // stopped early at 16, where the weights were not the best
  for (const auto& [step, micro_batches] : sim.shards->applied) {
    const auto plan =
        TrainPlan::Make(sim.options().job.stage(step.first), sim.options().samples[step.first], 0);
    EXPECT_EQ(micro_batches.size(), plan->MicroBatches(step.second));
  }
  const std::vector<StageView> stages = sim.machine->stages();
  for (const StageView& stage : stages) EXPECT_EQ(stage.state, StageView::State::kDone);
  const std::map<uint64_t, Metrics> validations = {
      {4, {{"m", 4}}}, {8, {{"m", 8}}}, {12, {{"m", 8}}}, {16, {{"m", 4}}}};
  EXPECT_EQ(stages[1].validations, validations);
  EXPECT_EQ(stages[2].metrics, (Metrics{{"m", 0.75}}));
  if (!last_checkpoint) return;
  ASSERT_FALSE(sim.checkpoints.empty());
  const spec::CheckpointManifest& last = sim.checkpoints.rbegin()->second.manifest;
  EXPECT_EQ(last.stage(), 1u);
  EXPECT_EQ(last.step(), 8u);
  EXPECT_TRUE(last.stage_done());
}

}  // namespace emporium::scheduler::testing
