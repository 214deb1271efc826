// Puts the keys of a batch in the order of the shards that own them, so that what a shard answers
// goes to one place as a block, and what it is sent comes from one.
//
// The bits of what is computed do not depend on the order of rows. Pure; any thread.
#pragma once

#include "runtime/route.h"
#include "worker/batch_source.h"

namespace emporium::worker {

// Also fills in shard_begin. Within a shard keys keep their order.
void OrderByShard(const runtime::Route& route, PlannedBatch* planned);

}  // namespace emporium::worker
