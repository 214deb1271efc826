// What a job says about its nam model, checked and with every reference resolved. Built once,
// constant afterwards.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/zoo/sequence_model.h"

namespace emporium::models {

struct NamInputs {
  struct Query {
    std::string feature;
    int32_t dim = 0;
    PoolKind pool = PoolKind::kMean;
    int32_t column = 0;
  };
  SequenceInputs sequences;
  std::vector<Query> query;
  int32_t query_width = 0;
  spec::Nam options;     // defaults filled in
  bool counted = false;  // the first pair's rows come with their popularity
  // By head, among the slots of the first pair's table.
  std::vector<uint32_t> target_slot;
  std::vector<uint32_t> event_slot;
};

Result<NamInputs> ParseNam(const spec::Job& job);

}  // namespace emporium::models
