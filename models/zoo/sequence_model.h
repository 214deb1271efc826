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

// The elements of the samples of a batch for an encoder, `length` places a sample: the target, or
// nothing, and then the events from the newest back; the rest is padding.
struct Elements {
  int64_t length = 1;
  std::vector<int32_t> lengths;       // real places of each sample
  std::span<const int32_t> position;  // of each place: places before it; -1: padding
  std::span<const int32_t> event;     // places of all events, the newest of each sample first
};

class SequenceModel : public PointwiseModel {
 protected:
  SequenceModel(SequenceInputs inputs, Device& device);

  const SequenceInputs& sequences() const { return sequences_; }
  // Sample b has the events offset[b] .. offset[b + 1]; lives as long as the batch.
  std::span<const int32_t> EventOffsets(const Pass& pass) const;
  at::Tensor Targets(Pass& pass) const;  // t [B, width]
  at::Tensor Events(Pass& pass) const;   // h [E, width], oldest first
  Elements ElementsOf(Pass& pass, bool with_target) const;
  // Their rows in the columns before `position_width` columns of the position vectors, which may be
  // 0: [B * length, width + position_width].
  at::Tensor ElementRows(Pass& pass, const Elements& elements, bool with_target,
                         ParameterId positions, int64_t position_width) const;
  // [plain features; parts] for the last MLP.
  at::Tensor WithPlain(Pass& pass, std::vector<at::Tensor> parts) const;
  // The rows of a pair, and of field i of those behind the pairs.
  const RowLists& TargetRows(const Pass& pass, size_t pair) const;
  const RowLists& HistoryRows(const Pass& pass, size_t pair) const;
  const RowLists& FurtherRows(const Pass& pass, size_t i, const std::string& feature) const;

 private:
  const RowLists& Field(const Pass& pass, size_t f, const std::string& feature) const;

  const SequenceInputs sequences_;
};

}  // namespace emporium::models
