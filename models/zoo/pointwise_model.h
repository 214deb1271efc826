// What all models share that score samples one by one: the fields and dense inputs of a sample as
// one matrix, the linear part, the losses and the scoring. A model adds its parameters and says
// what the logits are.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/device.h"
#include "models/job_view.h"
#include "models/losses.h"
#include "models/model.h"
#include "models/parameters.h"
#include "models/pass.h"
#include "models/rows.h"
#include "models/zoo/position_tower.h"

namespace emporium::models {

// What enters beside the pairs of a sequence model (models/zoo/sequence_model.h), in the order of a
// batch's fields and dense columns (worker/pointwise_fields.h). Slots of all features are dense
// columns, those of pairs and queries too.
struct PointwiseInputs {
  using Field = InputField;  // `column`: of its first number in the matrix
  std::string model;         // as the job file names it
  std::vector<Task> tasks;
  int64_t loss_periods = 0;  // rows of the history of losses
  bool uncertainty = false;  // a stage learns the tasks' weights
  std::vector<Field> fields;
  int32_t embedded = 0;     // columns of all fields
  int32_t dense_width = 0;  // columns behind them
  bool linear = false;      // the batch has the fields of a linear table too
  PositionInputs position;  // of the tower beside the model, if any
  int32_t scenarios = 0;    // values of data.scenario, of a model that tells them apart

  int32_t width() const { return embedded + dense_width; }
  // The path of an option, for complaints.
  std::string path(const std::string& option) const { return "model." + model + "." + option; }
};

enum class TaskCount : uint8_t { kOne, kSeveral, kAny };  // several: two or more

// Reads the options that all these models have; complains of features and tables that do not fit,
// of tasks that the model is not made for and of stages that train otherwise.
PointwiseInputs ParseInputs(const spec::Job& job, TaskCount tasks, Complaints& complaints);
// Complains unless the tables of all fields have one width, `dim` (0: any).
void ExpectOneWidth(const spec::Job& job, const PointwiseInputs& inputs, int32_t dim,
                    Complaints& complaints);

class PointwiseModel : public Model {
 public:
  const std::vector<DenseParameter>& parameters() const final { return list_.parameters(); }
  const Needs& needs() const final { return needs_; }
  void Initialize(uint64_t seed, std::span<float> values) const final;
  Result<std::vector<LossTerm>> Train(const Batch& batch, const RowSet& rows, const DenseSet& dense,
                                      const spec::Train& train, uint64_t random_seed) final;
  Status Score(const Batch& batch, const RowSet& rows, const DenseSet& dense,
               std::span<float> logits) final;
  Status ItemVectors(const Batch& batch, const RowSet& rows, const DenseSet& dense,
                     std::span<const float> log_counts, std::span<float> vectors) final;
  Status UserVectors(const Batch& batch, const RowSet& rows, const DenseSet& dense,
                     std::span<float> vectors) final;
  Status PopularityLogits(const DenseSet& dense, std::span<const float> log_counts,
                          std::span<float> logits) final;

 protected:
  PointwiseModel(PointwiseInputs inputs, Device& device);

  // The model itself: logits, those of the first task first; contiguous. What a position tower adds
  // in training is none of its business.
  virtual at::Tensor Logits(Pass& pass) const = 0;

  ParameterList& list() { return list_; }
  Needs& needs_to_set() { return needs_; }
  const PointwiseInputs& inputs() const { return inputs_; }

  // The pooled rows of field f.
  RowPart FieldPart(Pass& pass, size_t f) const;
  // [B, inputs().width()]: the fields' rows, then the dense inputs.
  at::Tensor Inputs(Pass& pass) const;
  // The dense columns of Inputs: [B, dense_width].
  at::Tensor DenseColumns(const at::Tensor& x) const;
  // [B]: sum of the fields' rows of the linear table.
  at::Tensor LinearRows(Pass& pass) const;

 private:
  // Factors on the tasks' losses, and where they are learned their gradient's other parts.
  std::vector<double> TaskWeights(Pass& pass, const spec::PointwiseLoss& loss) const;
  void ObserveLosses(Pass& pass, std::span<const LossValue> losses) const;

  const PointwiseInputs inputs_;
  Device& device_;
  ParameterList list_;
  Needs needs_;
  PositionTower position_;
  ParameterId task_weight_;  // log variances [tasks]
  ParameterId task_loss_;    // sums of losses [periods, tasks]
};

}  // namespace emporium::models
