// What the worker knows of a model: a function from a batch, rows and dense parameters to losses
// and gradients. No tensors here, so that only models/ includes LibTorch.
//
// A Model object is used by one thread (one lane) at a time and holds no state between calls: the
// same arguments give the same bits on any lane of any worker.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/batch.h"
#include "models/device.h"
#include "proto/job.pb.h"
#include "proto/status.h"

namespace emporium::models {

// The unique rows of one table in a batch. The buffers belong to the caller.
struct TableRows {
  TableId table;
  int32_t rows = 0;
  int32_t dim = 0;
  float* values = nullptr;            // [rows, dim]
  const float* popularity = nullptr;  // [rows] decayed counts, or null
  double popularity_total = 0;
  float* gradient = nullptr;  // [rows, dim], written by Train; null when only scoring
  // Of a table with slots that the model feeds: values as of before the step, and what Train says
  // that it observed: bit s of observed_mask[row] for slot s, the value in observed[row, s]. Null
  // when only scoring. Train touches no bit of other slots.
  int32_t slot_width = 0;
  const float* slots = nullptr;       // [rows, slot_width]
  float* observed = nullptr;          // [rows, slot_width]
  uint32_t* observed_mask = nullptr;  // [rows]
};
using RowSet = std::vector<TableRows>;

// All dense parameters, one after another in the order of Model::parameters().
struct DenseSet {
  std::span<const float> values;
  std::span<float> gradient;  // written by Train; empty when only scoring
};

struct DenseParameter {
  std::string name;  // "user_tower.layer0.attention.weight"
  std::vector<int64_t> shape;
  int64_t size = 0;         // product of shape
  bool train_only = false;  // must not be reached by an exported sub-graph (H10)
  // A running mean of what batches show: its "gradient" is its value minus the batch's, and a
  // dense group with `statistics` keeps it.
  bool statistic = false;
};

struct LossTerm {
  std::string name;  // "loss" is the whole; others are its terms
  double value = 0;  // mean over the samples that the term applies to
  int64_t samples = 0;
};

// One thing that a model predicts of a sample; see models/tasks.h.
struct Task {
  std::string name;           // empty: the only one, of data.label_column
  bool binary = true;         // else log(1 + label)
  int32_t given = -1;         // the task whose positives it applies to; -1: all samples
  bool entire_space = false;  // trained as a product with `given`, on all samples
  float weight = 1;
};

// What the model must be fed with; the worker refuses to start when the job does not provide it.
struct Needs {
  bool history = false;
  bool candidates = false;
  bool labels = false;
  std::vector<Task> tasks;                 // of a pointwise model
  std::vector<TableId> popularity_tables;  // pulls ask for popularity of these
  int32_t vector_width = 0;                // of user and item vectors; 0: pointwise model
  int32_t counters = 0;                    // K of log_counts
  int32_t scenarios = 0;                   // values of data.scenario; 0: not told apart
};

class Model {
 public:
  virtual ~Model() = default;

  virtual const std::vector<DenseParameter>& parameters() const = 0;
  virtual const Needs& needs() const = 0;
  // Writes the initial values of all dense parameters: a function of (seed, name, shape) only.
  virtual void Initialize(uint64_t seed, std::span<float> values) const = 0;
  // Forward and backward. Gradients are those of the mean loss of this micro-batch. `train` is the
  // stage's settings (its loss). `random_seed` feeds dropout. InvalidArgument when the loss is not
  // a finite number.
  virtual Result<std::vector<LossTerm>> Train(const Batch& batch, const RowSet& rows,
                                              const DenseSet& dense, const spec::Train& train,
                                              uint64_t random_seed) = 0;
  // Pointwise models: logits [tasks, B], a task's prediction where it is not binary.
  virtual Status Score(const Batch& batch, const RowSet& rows, const DenseSet& dense,
                       std::span<float> logits) = 0;
  // Retrieval models: vectors of the batch's items (popularity part appended when the model has
  // one: needs().vector_width counts it) and of its users, so that the logit is their inner
  // product. `log_counts` [I, K] are the counters as of the scoring time.
  virtual Status ItemVectors(const Batch& batch, const RowSet& rows, const DenseSet& dense,
                             std::span<const float> log_counts, std::span<float> vectors) = 0;
  virtual Status UserVectors(const Batch& batch, const RowSet& rows, const DenseSet& dense,
                             std::span<float> vectors) = 0;
  // Models with counters: the popularity part alone, the last number of ItemVectors, from counters
  // as of another time. `log_counts` [I, K]; logits [I].
  virtual Status PopularityLogits(const DenseSet& dense, std::span<const float> log_counts,
                                  std::span<float> logits) = 0;
};

// Builds the job's model, which computes on `device`. Everything that a model refuses is said here,
// before anything starts: all complaints at once, one per line, "model.two_tower.item_feature:
// ...".
Result<std::unique_ptr<Model>> CreateModel(const spec::Job& job, Device& device);
// On the CPU.
Result<std::unique_ptr<Model>> CreateModel(const spec::Job& job);

// Adds to the job the dense group that keeps the model's statistics, where it has some and the job
// names no such group. InvalidArgument when the group's name is taken.
Status CompleteJob(const Model& model, spec::Job* job);

// Limits this process's LibTorch to one thread per lane; call before the first model.
void ConfigureLibTorch();

}  // namespace emporium::models
