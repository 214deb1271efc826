#include "ps/shard_commands.h"

#include <utility>

namespace emporium::ps {

Shard::Config ConfigOnRoute(ShardId id, const runtime::Route& route, Generation generation,
                            std::vector<TableSettings> tables) {
  Shard::Config config;
  config.id = id;
  config.route_version = route.version;
  config.generation = generation;
  config.partitions = route.partitions();
  for (uint32_t p = 0; p < route.partitions(); ++p) {
    if (route.shard_of_partition[p] == id) {
      config.owned.push_back(PartitionId(static_cast<uint16_t>(p)));
    }
  }
  config.tables = std::move(tables);
  return config;
}

control::ShardFile ToControl(ShardId shard, const ShardFileInfo& info) {
  control::ShardFile file;
  file.shard = shard.value();
  file.path = info.path;
  file.bytes = static_cast<int64_t>(info.bytes);
  file.xxh3 = info.xxh3;
  file.parent = static_cast<int64_t>(info.parent);
  for (const auto& [partition, digest] : info.partition_digests) {
    file.partition_digests[partition.value()] = digest;
  }
  return file;
}

}  // namespace emporium::ps
