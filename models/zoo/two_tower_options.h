// What a job says about its two-tower model, checked and with every reference resolved. Built once,
// constant afterwards.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/kernels.h"
#include "models/model.h"
#include "proto/job.pb.h"
#include "proto/status.h"

namespace emporium::models {

struct TwoTowerOptions {
  int32_t dim = 0;    // of the rows of items, words and actions
  int32_t width = 0;  // of user and item vectors, without the popularity part
  spec::TwoTower spec;
  bool cosine = true;
  bool title = false;
  bool action = false;
  bool query = false;
  PoolKind title_pool = PoolKind::kMean;
  PoolKind query_pool = PoolKind::kMean;
  int32_t max_length = 0;  // of a history
  struct Context {
    std::string feature;
    int32_t dim = 0;
    PoolKind pool = PoolKind::kMean;
  };
  std::vector<Context> context;
  int32_t counters = 0;
  float initial_beta = 0;
  bool ranking = false;    // some stage has a ranking loss: the pointwise head exists
  bool pair_head = false;  // some stage has its pair form: the pair head exists
  Needs needs;

  bool residual() const { return spec.item_tower().has_residual(); }
  bool age_pooling() const { return spec.user_tower().has_age_pooling(); }
};

Result<TwoTowerOptions> ParseTwoTower(const spec::Job& job);

}  // namespace emporium::models
