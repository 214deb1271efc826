// What models share that read a target and the user's earlier events: pairs of a target feature and
// a history feature whose rows are of one table. The rows of all targets side by side are t, those
// of event j of all histories h_j, so both have one width.
//
// A batch's fields are those of the plain features, then one for each target, then one for each
// history, then what the model itself names (InputFeatures, proto/model_options.h); all histories
// of a sample are equally long.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/layers/event_padding.h"
#include "models/layers/mlp.h"
#include "models/layers/transformer.h"
#include "models/zoo/pointwise_model.h"

namespace emporium::models {

struct SequenceInputs {
  struct Pair {
    std::string target;
    std::string history;
    int32_t dim = 0;
    int32_t column = 0;  // of its first number in t
  };
  PointwiseInputs plain;
  std::vector<Pair> pairs;
  int32_t width = 0;    // of t
  int32_t longest = 0;  // events of a history, at most
};

// Reads `feature` and `pair`; complains of what does not fit together.
SequenceInputs ParseSequences(const spec::Job& job, TaskCount tasks, Complaints& complaints);
// The encoder's shape over elements of this width; complains of what makes no sense.
EncoderShape ParseEncoder(const spec::SequenceEncoder& options, int64_t width,
                          const std::string& field, Complaints& complaints);

// The histories of a batch, of which samples that follow each other share one where they have the
// same events, as a positive and its negatives do: what depends on the events alone is computed
// once for them.
struct SharedHistories {
  Histories lists;
  std::span<const int32_t> event;  // of the batch, of each event of the lists; oldest first
};

// What an encoder takes over a target and its history: the rows of all targets and then those of
// the histories' events from the newest back, and sequences of them.
struct Elements {
  std::span<const int32_t> offset;  // sample b has the elements offset[b] .. offset[b + 1]
  std::span<const int32_t> row;     // of each element
};

class SequenceModel : public PointwiseModel {
 protected:
  SequenceModel(SequenceInputs inputs, Device& device);

  const SequenceInputs& sequences() const { return sequences_; }
  // Sample b has the events offset[b] .. offset[b + 1]; lives as long as the batch.
  std::span<const int32_t> EventOffsets(const Pass& pass) const;
  SharedHistories Shared(Pass& pass) const;
  at::Tensor Targets(Pass& pass) const;  // t [B, width]
  at::Tensor Events(Pass& pass) const;   // h [E, width] of all samples, oldest first
  at::Tensor Events(Pass& pass, const SharedHistories& past) const;  // those of the lists
  // The sequences [target; events from the newest back] of the samples.
  static Elements ElementsOf(Pass& pass, const SharedHistories& past);
  // The rows of the targets, if wanted, and of the histories' events, from the newest back of each,
  // in the columns before `position_width` columns of the position vectors, which may be 0. Of
  // positions the target has 0, the newest event 1.
  at::Tensor ElementRows(Pass& pass, const SharedHistories& past, bool with_targets,
                         ParameterId positions, int64_t position_width) const;
  // The positions of those rows.
  std::span<const int32_t> PositionsOf(Pass& pass, const SharedHistories& past,
                                       bool with_targets) const;
  // [plain features; parts] for the last MLP.
  at::Tensor WithPlain(Pass& pass, std::vector<at::Tensor> parts) const;
  // The rows of a pair, and of field i of those behind the pairs.
  const RowLists& TargetRows(const Pass& pass, size_t pair) const;
  const RowLists& HistoryRows(const Pass& pass, size_t pair) const;
  const RowLists& FurtherRows(const Pass& pass, size_t i, const std::string& feature) const;

 private:
  const RowLists& Field(const Pass& pass, size_t f, const std::string& feature) const;
  at::Tensor EventRows(Pass& pass, const SharedHistories* past) const;

  const SequenceInputs sequences_;
};

}  // namespace emporium::models
