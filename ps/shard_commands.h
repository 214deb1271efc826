// What a shard is made of when its server is told to restore, and what is said of the file that it
// wrote. Pure functions.
#pragma once

#include <vector>

#include "proto/control_types.h"
#include "proto/ids.h"
#include "ps/checkpoint.h"
#include "ps/shard.h"
#include "runtime/route.h"

namespace emporium::ps {

// The shard `id` of a route, with the partitions that it owns there.
Shard::Config ConfigOnRoute(ShardId id, const runtime::Route& route, Generation generation,
                            std::vector<TableSettings> tables);

control::ShardFile ToControl(ShardId shard, const ShardFileInfo& info);

}  // namespace emporium::ps
