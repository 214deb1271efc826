// The two-tower model (models.md M13): item and user vectors whose scaled inner product, plus a
// learned popularity part, is the logit. Equations stand in zoo/towers.h and zoo/ranking_head.h.
//
// Stage losses: sampled softmax over shared candidates (pre-training) and pointwise plus pairwise
// or listwise losses over groups of labelled candidates (fine-tuning).
#pragma once

#include <memory>

#include "models/device.h"
#include "models/model.h"
#include "models/zoo/two_tower_options.h"

namespace emporium::models {

std::unique_ptr<Model> MakeTwoTower(TwoTowerOptions options, Device& device);

}  // namespace emporium::models
