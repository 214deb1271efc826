// A few shards without sockets: what their tests share. A Cluster routes keys to shards as a worker
// does, and keeps what they answer.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proto/frame.h"
#include "ps/checkpoint.h"
#include "ps/shard.h"
#include "runtime/manifest.h"
#include "runtime/route.h"

namespace emporium::ps::testing {

// A directory of this process's own that is not there yet: in memory where there is such a place,
// because every file of a checkpoint is synced.
inline std::string ScratchDir(const std::string& name) {
  namespace fs = std::filesystem;
  const fs::path root = fs::is_directory("/dev/shm") ? "/dev/shm" : fs::temp_directory_path();
  const fs::path dir = root / ("emporium-" + name + "-" + std::to_string(::getpid()));
  fs::remove_all(dir);
  return dir.string();
}

// Such a directory while it lives, with directories inside.
class Scratch {
 public:
  explicit Scratch(const std::string& name) : path_(ScratchDir(name)) {
    std::filesystem::create_directories(path_);
  }
  ~Scratch() { std::filesystem::remove_all(path_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::string Dir(const std::string& name) const {
    const std::string dir = path_ + "/" + name;
    std::filesystem::create_directories(dir);
    return dir;
  }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

inline constexpr uint32_t kPartitions = 16;
inline constexpr RouteVersion kRoute{5};

// Table 0: width 3, Adagrad, popularity that fades. Table 1: width 1, SGD.
inline std::vector<TableSettings> TwoTables() {
  TableSettings item;
  item.id = TableId(0);
  item.name = "item";
  item.dim = 3;
  item.seed = 11;
  item.optimizer.mutable_adagrad()->set_learning_rate(0.1f);
  item.initializer.mutable_normal()->set_stddev(0.5f);
  item.popularity = true;
  item.half_life_steps = 7;
  TableSettings bias;
  bias.id = TableId(1);
  bias.name = "bias";
  bias.dim = 1;
  bias.seed = 12;
  bias.optimizer.mutable_sgd()->set_learning_rate(0.5f);
  bias.initializer.mutable_constant()->set_value(1);
  return {item, bias};
}

// Keys, gradients, counts of one table; width as the table's.
struct Columns {
  std::vector<uint64_t> keys;
  std::vector<float> values;
  std::vector<float> counts;
  double total = 0;
  std::vector<float> slots = {};  // [keys, slots] of a Push; NaN: nothing was observed
  bool want_slots = false;        // of a Pull
  std::vector<double> slot_totals = {};
};
// index: table
using Payload = std::vector<Columns>;

struct Answer {
  Bytes bytes;
  FrameView frame;
  FrameType type() const { return frame.header().type; }
  StatusCode error() const { return frame.header().error; }
};

inline Answer Decode(Bytes bytes) {
  Result<FrameView> frame = FrameView::Parse(bytes);
  EMPORIUM_CHECK(frame.ok(), frame.status().message().c_str());
  FrameView view = std::move(frame).value();
  return {std::move(bytes), std::move(view)};
}

inline FrameHeader Header(FrameType type, uint32_t stage, uint64_t step) {
  FrameHeader header;
  header.type = type;
  header.route_version = kRoute;
  header.stage = StageId(stage);
  header.step = Step(step);
  return header;
}

inline FrameHeader PushHeader(uint32_t stage, uint64_t step, uint32_t m, uint32_t of) {
  FrameHeader header = Header(FrameType::kPush, stage, step);
  header.micro_batch = MicroBatch(m);
  header.micro_batches = of;
  return header;
}

// A pull that a push of micro-batch m will follow.
inline FrameHeader PullHeader(uint32_t stage, uint64_t step, uint32_t m, uint32_t of) {
  FrameHeader header = PushHeader(stage, step, m, of);
  header.type = FrameType::kPull;
  return header;
}

// What was observed of rows with up to 8 slots, NaN: nothing.
inline void PutObservations(const std::vector<float>& observed, uint32_t slots,
                            const FrameBuilder::Parts& parts) {
  std::fill(parts.masks.begin(), parts.masks.end(), uint8_t{0});
  size_t next = 0;
  for (size_t i = 0; i < observed.size(); ++i) {
    if (std::isnan(observed[i])) continue;
    parts.masks[i / slots] |= static_cast<uint8_t>(1u << (i % slots));
    parts.observed[next++] = observed[i];
  }
}

// The frame of `payload`; a Pull leaves values and counts out and asks for popularity of table 0.
// With `known` a Push says of keys only what they hash to.
inline Bytes Encode(const FrameHeader& header, const Payload& payload, bool known = false) {
  const bool pull = header.type == FrameType::kPull;
  std::vector<FrameBuilder::Section> sections;
  for (size_t t = 0; t < payload.size(); ++t) {
    const Columns& columns = payload[t];
    FrameBuilder::Section section;
    section.table = TableId(static_cast<uint16_t>(t));
    section.keys = static_cast<uint32_t>(columns.keys.size());
    if (pull) {
      section.want_popularity = t == 0;
      section.want_slots = columns.want_slots;
    } else {
      section.dim = columns.keys.empty()
                        ? 0
                        : static_cast<uint32_t>(columns.values.size() / columns.keys.size());
      section.has_counts = !columns.counts.empty();
      section.total = columns.total;
      section.slot_totals = static_cast<uint32_t>(columns.slot_totals.size());
      if (!columns.slots.empty()) {
        section.slots = static_cast<uint32_t>(columns.slots.size() / columns.keys.size());
        section.observed = static_cast<uint32_t>(std::count_if(
            columns.slots.begin(), columns.slots.end(), [](float x) { return !std::isnan(x); }));
      }
      section.known_keys = known && !columns.keys.empty();
      if (section.known_keys) section.keys_hash = HashOfKeys(columns.keys);
    }
    sections.push_back(section);
  }
  FrameBuilder builder(header, sections);
  for (size_t t = 0; t < payload.size(); ++t) {
    const FrameBuilder::Parts parts = builder.part(t);
    if (!sections[t].known_keys) {
      std::copy(payload[t].keys.begin(), payload[t].keys.end(), parts.keys.begin());
    }
    if (pull) continue;
    std::copy(payload[t].values.begin(), payload[t].values.end(), parts.values.begin());
    std::copy(payload[t].counts.begin(), payload[t].counts.end(), parts.counts.begin());
    std::copy(payload[t].slot_totals.begin(), payload[t].slot_totals.end(),
              parts.slot_totals.begin());
    PutObservations(payload[t].slots, sections[t].slots, parts);
  }
  return std::move(builder).Finish();
}

class Cluster {
 public:
  explicit Cluster(uint32_t shards, std::vector<TableSettings> tables = TwoTables(),
                   uint64_t max_staged_bytes = limits::kMaxStagedBytesPerShard,
                   uint32_t max_parked_pulls = 100, uint64_t memory_bytes = 0)
      : owner_(runtime::EvenAssignment(kPartitions, shards)) {
    for (uint32_t s = 0; s < shards; ++s) {
      Shard::Config config;
      config.id = ShardId(static_cast<uint16_t>(s));
      config.route_version = kRoute;
      config.partitions = kPartitions;
      for (uint16_t p = 0; p < kPartitions; ++p) {
        if (owner_[p] == config.id) config.owned.push_back(PartitionId(p));
      }
      config.tables = tables;
      config.max_staged_bytes = max_staged_bytes;
      config.max_parked_pulls = max_parked_pulls;
      config.memory_bytes = memory_bytes;
      config.follow_changes = true;
      shards_.push_back(std::make_unique<Shard>(std::move(config)));
    }
  }

  size_t size() const { return shards_.size(); }
  Shard& shard(size_t s) { return *shards_[s]; }

  // The part of a payload that lives on one shard. Totals go to every shard.
  Payload PartOf(size_t s, const Payload& whole) const {
    Payload part(whole.size());
    for (size_t t = 0; t < whole.size(); ++t) {
      const Columns& in = whole[t];
      part[t].total = in.total;
      part[t].want_slots = in.want_slots;
      part[t].slot_totals = in.slot_totals;
      const size_t slots = in.keys.empty() ? 0 : in.slots.size() / in.keys.size();
      const size_t dim = in.keys.empty() ? 0 : in.values.size() / in.keys.size();
      for (size_t i = 0; i < in.keys.size(); ++i) {
        if (owner_[runtime::PartitionOf(in.keys[i], kPartitions).value()].value() != s) continue;
        part[t].keys.push_back(in.keys[i]);
        part[t].values.insert(part[t].values.end(), in.values.begin() + i * dim,
                              in.values.begin() + (i + 1) * dim);
        if (!in.counts.empty()) part[t].counts.push_back(in.counts[i]);
        part[t].slots.insert(part[t].slots.end(), in.slots.begin() + i * slots,
                             in.slots.begin() + (i + 1) * slots);
      }
    }
    return part;
  }

  // Hands bytes to one shard; what it sends is kept by peer.
  void Deliver(size_t s, const PeerId& peer, Bytes bytes) {
    std::vector<Send> out;
    shards_[s]->Handle(peer, FrameBytes(std::move(bytes)), &out);
    while (shards_[s]->AnswerNext(&out)) {
    }
    for (Send& send : out) answers_[send.peer].push_back(Decode(std::move(send.bytes)));
  }
  // Sends a payload's parts to every shard.
  void SendAll(const PeerId& peer, const FrameHeader& header, const Payload& payload,
               bool known = false) {
    for (size_t s = 0; s < size(); ++s) Deliver(s, peer, Encode(header, PartOf(s, payload), known));
  }
  // What came for a peer since the last call.
  std::vector<Answer> Take(const PeerId& peer) { return std::exchange(answers_[peer], {}); }
  // The one answer of one shard to one frame.
  Answer Ask(size_t s, const FrameHeader& header, const Payload& payload, bool known = false) {
    Deliver(s, "asker", Encode(header, payload, known));
    std::vector<Answer> answers = Take("asker");
    EMPORIUM_CHECK(answers.size() == 1, "one answer");
    return std::move(answers[0]);
  }

  // Writes a whole checkpoint, manifest and all; the content digest.
  Result<std::string> Checkpoint(const std::string& dir, const std::string& fingerprint) {
    spec::CheckpointManifest manifest;
    std::map<PartitionId, std::string> digests;
    for (const std::unique_ptr<Shard>& shard : shards_) {
      EMPORIUM_ASSIGN_OR_RETURN(ShardFileInfo info, WriteShardFile(*shard, dir, fingerprint, 77));
      spec::ManifestFile* file = manifest.add_file();
      file->set_path(info.path);
      file->set_bytes(info.bytes);
      file->set_xxh3(info.xxh3);
      digests.merge(info.partition_digests);
    }
    EMPORIUM_ASSIGN_OR_RETURN(std::string digest, runtime::ContentDigest(digests, kPartitions));
    manifest.set_number(1);
    manifest.set_job_name("test");
    manifest.set_job_fingerprint(fingerprint);
    manifest.set_partitions(kPartitions);
    manifest.set_format(runtime::kCheckpointFormat);
    manifest.set_stage(shards_[0]->position().stage->value());
    manifest.set_step(shards_[0]->position().version.value());
    manifest.set_content_digest(digest);
    EMPORIUM_RETURN_IF_ERROR(runtime::WriteManifest(dir, manifest));
    return digest;
  }

 private:
  std::vector<ShardId> owner_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::map<PeerId, std::vector<Answer>> answers_;
};

// Micro-batch m of step t: a function of the numbers alone, with keys that meet those of others.
inline Payload MicroBatchOf(uint64_t t, uint32_t m) {
  Payload payload(2);
  uint64_t word = runtime::MixKey(1000 * t + m + 1);
  auto next = [&word] { return word = runtime::MixKey(word + 0x9e3779b97f4a7c15u); };
  for (size_t table = 0; table < 2; ++table) {
    std::map<uint64_t, bool> used;
    for (int i = 0; i < 20; ++i) used[next() % 50 + 1000 * table] = true;
    Columns& columns = payload[table];
    const size_t dim = table == 0 ? 3 : 1;
    for (const auto& [key, unused] : used) {
      columns.keys.push_back(key);
      for (size_t d = 0; d < dim; ++d) {
        columns.values.push_back(static_cast<float>(next() % 2001) / 1000.0f - 1);
      }
      if (table == 0) columns.counts.push_back(static_cast<float>(next() % 3));
    }
    for (float count : columns.counts) columns.total += count;
  }
  return payload;
}

// Steps [from, until) of a stage with `of` micro-batches, by one worker.
inline void Train(Cluster& cluster, uint32_t stage, uint64_t from, uint64_t until, uint32_t of) {
  for (uint64_t t = from; t < until; ++t) {
    for (uint32_t m = 0; m < of; ++m) {
      cluster.SendAll("worker", PushHeader(stage, t, m, of), MicroBatchOf(t, m));
    }
  }
  for (const Answer& answer : cluster.Take("worker")) {
    EMPORIUM_CHECK(answer.type() == FrameType::kAck, "pushes are acknowledged");
  }
}

}  // namespace emporium::ps::testing
