// What a model that scores samples predicts: its tasks, their losses and how these are weighed.
// Plain C++, no tensors; pure functions, safe from any thread; sums are doubles in one fixed order.
//
// Logits and labels are [tasks, samples]: those of task 0 first. Formulas: models.md L1, L11, M7,
// M8, M9.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/job_view.h"
#include "models/losses.h"
#include "models/model.h"
#include "proto/job.pb.h"

namespace emporium::models {

// The tasks of a job; one without a name where it names none.
std::vector<Task> ParseTasks(const spec::Job& job, Complaints& complaints);

// Rows of the history of losses before those of a stage that weighs tasks by DWA: each of its
// epochs has one. With stage = job.stage_size(): all rows.
int64_t LossPeriodsBefore(const spec::Job& job, int stage);

// How many samples a task applies to are a matter of its labels:
//   alone          binary cross entropy, or mean (z - y)^2, over all samples
//   given          the same, over the samples whose `given` label is 1
//   entire_space   cross entropy of the product p of the probabilities along the chain of `given`
//                  against the product of their labels, over all samples:
//                  log p = sum_j log sigma(z_j),  -[y log p + (1 - y) log(1 - p)]
// Adds factor * gradient to `gradient` [tasks, samples]. The mean over no sample is 0.
LossValue TaskLoss(std::span<const Task> tasks, size_t task, std::span<const float> logits,
                   std::span<const float> labels, std::span<const float> weights, double factor,
                   std::span<float> gradient);

// Samples of one task as they are evaluated. `joint` (entire_space only): of the product along the
// chain, over all samples; else of the task's own logit, over the samples that it applies to.
// Scores are logits, for LOG1P tasks predictions.
struct TaskRows {
  std::vector<float> logits;
  std::vector<float> labels;
  std::vector<uint32_t> row;  // of the batch
};
TaskRows RowsOfTask(std::span<const Task> tasks, size_t task, bool joint,
                    std::span<const float> logits, std::span<const float> labels);

// Dynamic weight average: lambda_k = K exp(r_k / temperature) / sum_i exp(r_i / temperature), r_k =
// last / before. All 1 while there are no two periods, or where a loss was 0.
std::vector<double> DwaWeights(std::span<const float> last, std::span<const float> before,
                               double temperature);

}  // namespace emporium::models
