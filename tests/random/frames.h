// Frames for tests of what reads them: legal ones of any type and content, and the header of a
// damaged one made right again, so that the checks behind it are reached. Functions of values.
#pragma once

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "proto/frame.h"
#include "proto/limits.h"
#include "tests/random/damage.h"

namespace emporium::testing {

// The length and the hash that the header must have.
inline void SignFrame(Bytes* bytes) {
  if (bytes->size() < kFrameHeaderBytes) return;
  const uint64_t body = bytes->size() - kFrameHeaderBytes;
  std::memcpy(bytes->data() + 64, &body, sizeof(body));
  const uint64_t hash = XXH3_64bits(bytes->data(), kFrameHeaderBytes - sizeof(hash));
  std::memcpy(bytes->data() + kFrameHeaderBytes - sizeof(hash), &hash, sizeof(hash));
}

// Damages a legal frame; most have a sound header afterwards.
inline void DamageFrame(Damage* damage, Bytes* bytes) {
  const Bytes whole = *bytes;
  damage->Edit(bytes);
  if (damage->OneIn(4)) return;
  const size_t kept = std::min({kFrameHeaderBytes, bytes->size(), whole.size()});
  if (!damage->OneIn(4)) std::memcpy(bytes->data(), whole.data(), kept);
  SignFrame(bytes);
}

inline FrameHeader RandomHeader(Damage* damage, FrameType type) {
  FrameHeader header;
  header.type = type;
  header.request_id = damage->Number();
  header.route_version = RouteVersion(damage->Below(9));
  header.generation = Generation(damage->Number());
  header.stage = StageId(static_cast<uint32_t>(damage->Number()));
  header.step = Step(damage->Number());
  header.micro_batches = 1 + static_cast<uint32_t>(damage->Below(limits::kMaxMicroBatchesPerStep));
  header.micro_batch = MicroBatch(static_cast<uint32_t>(damage->Below(header.micro_batches)));
  header.any_version = type == FrameType::kPull && damage->OneIn(3);
  if (type == FrameType::kPush) header.event_time = static_cast<uint32_t>(damage->Number());
  header.awaits_scale = type == FrameType::kPush && damage->OneIn(3);
  header.gradient_scale = static_cast<float>(damage->Below(101)) / 100;
  return header;
}

// A legal section of the type, of a table that no other section is of.
inline FrameBuilder::Section RandomSection(Damage* damage, FrameType type, uint16_t table) {
  const auto rows = static_cast<uint32_t>(damage->Below(6));
  const bool push = type == FrameType::kPush;
  const bool reply = type == FrameType::kPullReply;
  FrameBuilder::Section section;
  section.table = TableId(table);
  if (!reply) section.keys = rows;
  if (type == FrameType::kPull) {
    section.want_popularity = damage->OneIn(2);
    section.want_slots = damage->OneIn(2);
    return section;
  }
  section.rows = rows;
  section.dim = 1 + static_cast<uint32_t>(damage->Below(9));
  if (type == FrameType::kAssign) return section;
  section.has_counts = damage->OneIn(2);
  section.slots = static_cast<uint32_t>(damage->Below(11));
  section.slot_totals = static_cast<uint32_t>(damage->Below(3));
  if (push) section.observed = rows * section.slots;
  section.total = static_cast<double>(damage->Below(100));
  section.known_keys = push && damage->OneIn(2);
  section.keys_hash = section.known_keys ? damage->Number() : 0;
  if (reply) section.element = static_cast<spec::ElementType>(damage->Below(4));
  return section;
}

inline Bytes RandomFrame(Damage* damage, FrameType type) {
  const FrameHeader header = RandomHeader(damage, type);
  if (type == FrameType::kAck) return EncodeAck(header, header.route_version, header.step);
  if (type == FrameType::kError) {
    return EncodeError(header, header.route_version, header.step, Stale("long ago"));
  }
  if (type == FrameType::kSquaresReply) {
    ExactSum squares;
    squares.Add(static_cast<double>(damage->Below(1000)));
    return EncodeSquares(header, header.route_version, header.step, squares);
  }
  std::vector<FrameBuilder::Section> sections;
  const bool has_sections = type != FrameType::kSquares && type != FrameType::kApply;
  for (uint16_t table = 0; table < 4; ++table) {
    if (has_sections && damage->OneIn(2)) sections.push_back(RandomSection(damage, type, table));
  }
  FrameBuilder builder(header, sections);
  for (size_t i = 0; i < sections.size(); ++i) {
    const FrameBuilder::Parts parts = builder.part(i);
    for (uint64_t& key : parts.keys) key = damage->Number();
    for (std::byte& weight : parts.weights) weight = static_cast<std::byte>(damage->Below(256));
    for (float& value : parts.values) value = damage->Float();
    for (float& count : parts.counts) count = damage->Float();
    for (float& slot : parts.slots) slot = damage->Float();
    for (double& total : parts.slot_totals) total = static_cast<double>(damage->Below(100));
    for (float& value : parts.observed) value = damage->Float();
    const uint32_t bytes = MaskBytes(sections[i].slots);
    for (size_t m = 0; m < parts.masks.size(); ++m) {
      const uint32_t left = sections[i].slots - 8 * static_cast<uint32_t>(m % bytes);
      parts.masks[m] = static_cast<uint8_t>((1u << std::min(left, 8u)) - 1);
    }
  }
  return std::move(builder).Finish();
}

}  // namespace emporium::testing
