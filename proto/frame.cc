// The encoder and the decoder of the grammar in frame.h. Everything that a peer can send is looked
// at here in the order of its bytes, and no count is believed before the bytes that it claims are
// seen to be there: so a frame that claims a gigabyte costs no memory.
#include "proto/frame.h"

#include <algorithm>
#include <bit>
#include <bitset>
#include <cmath>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "proto/check.h"
#include "proto/limits.h"

namespace emporium {
namespace {

static_assert(std::endian::native == std::endian::little, "the wire is little endian");

constexpr uint16_t kAnyVersion = 1;      // header flag
constexpr uint16_t kWantPopularity = 1;  // section flags
constexpr uint16_t kHasCounts = 2;
constexpr uint16_t kWantSlots = 4;
constexpr uint16_t kKnownKeys = 8;

struct WireHeader {
  uint32_t magic;
  uint8_t version;
  uint8_t type;
  uint16_t flags;
  uint64_t request_id;
  uint64_t route_version;
  uint64_t generation;
  uint64_t step;
  uint32_t stage;
  uint32_t micro_batch;
  uint32_t micro_batches;
  uint32_t sections;
  float learning_rate_factor;
  uint32_t error;
  uint64_t body_bytes;
  uint32_t event_time;
  uint32_t reserved[3];
  uint64_t header_hash;
};
static_assert(sizeof(WireHeader) == kFrameHeaderBytes);
static_assert(offsetof(WireHeader, body_bytes) == 64);
static_assert(offsetof(WireHeader, header_hash) == 88);

struct WireSection {
  uint16_t table;
  uint16_t flags;
  uint32_t dim;
  uint32_t rows;
  uint16_t slots;
  uint8_t element;
  uint8_t reserved;
  double total;
};
static_assert(sizeof(WireSection) == kSectionHeaderBytes);
static_assert(offsetof(WireSection, total) == 16);

constexpr uint64_t PadTo8(uint64_t bytes) { return (bytes + 7) & ~uint64_t{7}; }

bool CarriesKeys(FrameType type) { return type != FrameType::kPullReply; }

uint64_t HashOf(const WireHeader& header) {
  return XXH3_64bits(&header, offsetof(WireHeader, header_hash));
}

Status Bad(const std::string& what) { return InvalidArgument("frame refused: " + what); }

uint64_t WeightsBytes(const WireSection& wire) {
  return uint64_t{wire.rows} * WeightBytes(static_cast<spec::ElementType>(wire.element), wire.dim);
}

// Length of a section's arrays before padding. No overflow: rows <= 2^22, dim <= 2^12.
uint64_t SectionBodyBytes(FrameType type, const WireSection& wire) {
  uint64_t keys = 0;
  if (CarriesKeys(type)) keys = 8 * ((wire.flags & kKnownKeys) != 0 ? 1 : uint64_t{wire.rows});
  const uint64_t counts = (wire.flags & kHasCounts) != 0 ? 1 : 0;
  return keys + WeightsBytes(wire) + uint64_t{wire.rows} * 4 * (counts + wire.slots);
}

// The arrays of one section inside its frame.
struct Arrays {
  std::byte* keys = nullptr;  // or the hash
  std::byte* weights = nullptr;
  float* counts = nullptr;
  float* slots = nullptr;
  std::byte* end = nullptr;  // padding begins
};
Arrays ArraysOf(FrameType type, const WireSection& wire, std::byte* section) {
  const uint64_t counts = (wire.flags & kHasCounts) != 0 ? uint64_t{wire.rows} * 4 : 0;
  const uint64_t slots = uint64_t{wire.rows} * wire.slots * 4;
  Arrays at;
  at.keys = section + kSectionHeaderBytes;
  at.end = at.keys + SectionBodyBytes(type, wire);
  // The weights of a reply may have any length, so they come last.
  at.weights = at.end - WeightsBytes(wire) - (CarriesKeys(type) ? counts + slots : 0);
  std::byte* const behind =
      CarriesKeys(type) ? at.weights + WeightsBytes(wire) : section + kSectionHeaderBytes;
  at.counts = reinterpret_cast<float*>(behind);
  at.slots = reinterpret_cast<float*>(behind + counts);
  return at;
}

Result<WireHeader> CheckHeader(std::span<const std::byte> bytes) {
  if (bytes.size() < kFrameHeaderBytes) {
    return Bad(std::to_string(bytes.size()) + " bytes are less than a header");
  }
  WireHeader wire;
  std::memcpy(&wire, bytes.data(), sizeof(wire));
  if (wire.magic != kFrameMagic) return Bad("no Emporium frame (wrong magic)");
  if (wire.version != kFrameVersion) {
    return Bad("version " + std::to_string(wire.version) + ", this build speaks " +
               std::to_string(kFrameVersion));
  }
  if (wire.header_hash != HashOf(wire)) return Bad("header hash does not match");
  if (wire.type < static_cast<uint8_t>(FrameType::kPull) ||
      wire.type > static_cast<uint8_t>(FrameType::kError)) {
    return Bad("unknown type " + std::to_string(wire.type));
  }
  const FrameType type = static_cast<FrameType>(wire.type);
  const uint16_t legal_flags = type == FrameType::kPull ? kAnyVersion : 0;
  if ((wire.flags & ~legal_flags) != 0) return Bad("unknown flags");
  if ((wire.reserved[0] | wire.reserved[1] | wire.reserved[2]) != 0) {
    return Bad("reserved words are not zero");
  }
  if (type != FrameType::kPush && wire.event_time != 0) return Bad("an event time without events");
  if (!std::isfinite(wire.learning_rate_factor)) return Bad("learning rate factor is not finite");
  const bool of_step =
      type == FrameType::kPush || (type == FrameType::kPull && wire.micro_batches > 0);
  if (of_step && (wire.micro_batches > limits::kMaxMicroBatchesPerStep ||
                  wire.micro_batch >= wire.micro_batches)) {
    return Bad("micro-batch " + std::to_string(wire.micro_batch) + " of " +
               std::to_string(wire.micro_batches));
  }
  const bool is_error = type == FrameType::kError;
  if (is_error != (wire.error != 0) || wire.error > static_cast<uint32_t>(StatusCode::kInternal)) {
    return Bad("error code " + std::to_string(wire.error) + " in type " +
               std::to_string(wire.type));
  }
  return wire;
}

FrameHeader FromWire(const WireHeader& wire) {
  FrameHeader header;
  header.type = static_cast<FrameType>(wire.type);
  header.any_version = (wire.flags & kAnyVersion) != 0;
  header.request_id = wire.request_id;
  header.route_version = RouteVersion(wire.route_version);
  header.generation = Generation(wire.generation);
  header.stage = StageId(wire.stage);
  header.step = Step(wire.step);
  header.micro_batch = MicroBatch(wire.micro_batch);
  header.micro_batches = wire.micro_batches;
  header.learning_rate_factor = wire.learning_rate_factor;
  header.event_time = wire.event_time;
  header.error = static_cast<StatusCode>(wire.error);
  return header;
}

// Writes the header for `sections` and `body_bytes`, which are final.
void WriteHeader(const FrameHeader& header, uint32_t sections, uint64_t body_bytes,
                 std::byte* out) {
  WireHeader wire{};
  wire.magic = kFrameMagic;
  wire.version = kFrameVersion;
  wire.type = static_cast<uint8_t>(header.type);
  wire.flags = header.any_version ? kAnyVersion : 0;
  wire.request_id = header.request_id;
  wire.route_version = header.route_version.value();
  wire.generation = header.generation.value();
  wire.step = header.step.value();
  wire.stage = header.stage.value();
  wire.micro_batch = header.micro_batch.value();
  wire.micro_batches = header.micro_batches;
  wire.sections = sections;
  wire.learning_rate_factor = header.learning_rate_factor;
  wire.event_time = header.event_time;
  wire.error = static_cast<uint32_t>(header.error);
  wire.body_bytes = body_bytes;
  wire.header_hash = HashOf(wire);
  std::memcpy(out, &wire, sizeof(wire));
}

// The answer's header: the request's ids, with the position of the shard that answers.
FrameHeader AnswerHeader(FrameType type, const FrameHeader& request, RouteVersion route_version,
                         Step step) {
  FrameHeader header = request;
  header.type = type;
  header.any_version = false;
  header.route_version = route_version;
  header.step = step;
  header.learning_rate_factor = 1;
  header.event_time = 0;
  header.error = StatusCode::kOk;
  return header;
}

Status CheckSection(FrameType type, const WireSection& wire) {
  if (wire.table >= limits::kMaxTables) return Bad("table " + std::to_string(wire.table));
  const std::string where = "table " + std::to_string(wire.table) + ": ";
  uint16_t legal_flags = 0;
  if (type == FrameType::kPull) legal_flags = kWantPopularity | kWantSlots;
  if (type == FrameType::kPullReply) legal_flags = kHasCounts;
  if (type == FrameType::kPush) legal_flags = kHasCounts | kKnownKeys;
  if ((wire.flags & ~legal_flags) != 0) return Bad(where + "flags that its type does not have");
  const bool slots = type == FrameType::kPullReply || type == FrameType::kPush;
  if (wire.slots > (slots ? limits::kMaxSlots : 0)) {
    return Bad(where + std::to_string(wire.slots) + " slots");
  }
  const bool legal_element = type == FrameType::kPullReply ? spec::ElementType_IsValid(wire.element)
                                                           : wire.element == spec::FP32;
  if (!legal_element || wire.reserved != 0) {
    return Bad(where + "element type " + std::to_string(wire.element));
  }
  if (wire.rows > limits::kMaxKeysPerSection) {
    return Bad(where + std::to_string(wire.rows) + " rows, at most " +
               std::to_string(limits::kMaxKeysPerSection) + " in one message");
  }
  if (wire.dim > limits::kMaxDim) return Bad(where + "dim " + std::to_string(wire.dim));
  if (type == FrameType::kPull && wire.dim != 0) return Bad(where + "a Pull with values");
  if (type != FrameType::kPull && wire.dim == 0 && wire.rows != 0) {
    return Bad(where + "rows without values");
  }
  if (!std::isfinite(wire.total)) return Bad(where + "total is not finite");
  return Status::Ok();
}

// Takes one section off the front of `body`.
Result<SectionView> TakeSection(FrameType type, std::span<const std::byte>& body) {
  if (body.size() < kSectionHeaderBytes) return Bad("ends inside a section header");
  WireSection wire;
  std::memcpy(&wire, body.data(), sizeof(wire));
  EMPORIUM_RETURN_IF_ERROR(CheckSection(type, wire));
  const uint64_t used = kSectionHeaderBytes + SectionBodyBytes(type, wire);
  if (body.size() < PadTo8(used)) {
    return Bad("table " + std::to_string(wire.table) + ": claims " + std::to_string(used) +
               " bytes, " + std::to_string(body.size()) + " are left");
  }
  for (uint64_t i = used; i < PadTo8(used); ++i) {
    if (body[i] != std::byte{0}) return Bad("padding is not zero");
  }
  SectionView view;
  view.table = TableId(wire.table);
  view.want_popularity = (wire.flags & kWantPopularity) != 0;
  view.want_slots = (wire.flags & kWantSlots) != 0;
  view.known_keys = (wire.flags & kKnownKeys) != 0;
  view.dim = wire.dim;
  view.slots_dim = wire.slots;
  view.rows = wire.rows;
  view.total = wire.total;
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): the same places, only read
  const Arrays at = ArraysOf(type, wire, const_cast<std::byte*>(body.data()));
  if (view.known_keys) {
    std::memcpy(&view.keys_hash, at.keys, sizeof(view.keys_hash));
  } else if (CarriesKeys(type)) {
    view.keys = {reinterpret_cast<const uint64_t*>(at.keys), wire.rows};
  }
  view.element = static_cast<spec::ElementType>(wire.element);
  if (type == FrameType::kPullReply) view.weights = {at.weights, WeightsBytes(wire)};
  if (view.element == spec::FP32) {
    view.values = {reinterpret_cast<const float*>(at.weights), size_t{wire.rows} * wire.dim};
  }
  if ((wire.flags & kHasCounts) != 0) view.counts = {at.counts, wire.rows};
  view.slots = {at.slots, size_t{wire.rows} * wire.slots};
  body = body.subspan(PadTo8(used));
  return view;
}

}  // namespace

Result<FrameHeader> FrameView::ParseHeader(std::span<const std::byte> bytes) {
  EMPORIUM_ASSIGN_OR_RETURN(const WireHeader wire, CheckHeader(bytes));
  return FromWire(wire);
}

Result<FrameView> FrameView::Parse(std::span<const std::byte> bytes) {
  EMPORIUM_CHECK(reinterpret_cast<uintptr_t>(bytes.data()) % 8 == 0, "frames lie 8-byte aligned");
  EMPORIUM_ASSIGN_OR_RETURN(const WireHeader wire, CheckHeader(bytes));
  FrameView view;
  view.header_ = FromWire(wire);
  std::span<const std::byte> body = bytes.subspan(kFrameHeaderBytes);
  if (bytes.size() > limits::kMaxFrameBytes) {
    return Bad(std::to_string(bytes.size()) + " bytes, at most " +
               std::to_string(limits::kMaxFrameBytes));
  }
  if (wire.body_bytes != body.size()) {
    return Bad("header claims a body of " + std::to_string(wire.body_bytes) + " bytes, it has " +
               std::to_string(body.size()));
  }
  const FrameType type = view.header_.type;
  if (type == FrameType::kError || type == FrameType::kAck) {
    if (wire.sections != 0) return Bad("sections in an answer that has none");
    if (type == FrameType::kAck && !body.empty()) return Bad("an Ack with a body");
    view.error_message_ = {reinterpret_cast<const char*>(body.data()), body.size()};
    return view;
  }
  if (wire.sections > limits::kMaxTables) {
    return Bad(std::to_string(wire.sections) + " sections");
  }
  std::bitset<limits::kMaxTables> seen;
  for (uint32_t i = 0; i < wire.sections; ++i) {
    EMPORIUM_ASSIGN_OR_RETURN(SectionView section, TakeSection(type, body));
    if (seen.test(section.table.value())) {
      return Bad("table " + std::to_string(section.table.value()) + " occurs twice");
    }
    seen.set(section.table.value());
    view.sections_.push_back(section);
  }
  if (!body.empty()) return Bad(std::to_string(body.size()) + " bytes left over");
  return view;
}

FrameBuilder::FrameBuilder(const FrameHeader& header, std::span<const Section> sections) {
  const bool keyed = CarriesKeys(header.type);
  std::vector<WireSection> wires;
  wires.reserve(sections.size());
  uint64_t body_bytes = 0;
  for (const Section& s : sections) {
    EMPORIUM_CHECK(keyed ? s.rows == 0 || s.rows == s.keys : s.keys == 0,
                   "a section has as many rows as keys; a PullReply has rows only");
    WireSection wire{};
    wire.table = s.table.value();
    wire.flags = static_cast<uint16_t>(
        (s.want_popularity ? kWantPopularity : 0) | (s.has_counts ? kHasCounts : 0) |
        (s.want_slots ? kWantSlots : 0) | (s.known_keys ? kKnownKeys : 0));
    wire.slots = static_cast<uint16_t>(s.slots);
    wire.element = static_cast<uint8_t>(s.element);
    wire.dim = s.dim;
    wire.rows = keyed ? s.keys : s.rows;
    wire.total = s.total;
    EMPORIUM_CHECK(CheckSection(header.type, wire).ok(), "a section that our own decoder refuses");
    body_bytes += kSectionHeaderBytes + PadTo8(SectionBodyBytes(header.type, wire));
    wires.push_back(wire);
  }
  bytes_.resize(kFrameHeaderBytes + body_bytes);
  WriteHeader(header, static_cast<uint32_t>(sections.size()), body_bytes, bytes_.data());
  std::byte* section = bytes_.data() + kFrameHeaderBytes;
  for (size_t i = 0; i < wires.size(); ++i) {
    const WireSection& wire = wires[i];
    std::memcpy(section, &wire, sizeof(wire));
    const Arrays at = ArraysOf(header.type, wire, section);
    Parts parts;
    if (sections[i].known_keys) {
      std::memcpy(at.keys, &sections[i].keys_hash, sizeof(uint64_t));
    } else if (keyed) {
      parts.keys = {reinterpret_cast<uint64_t*>(at.keys), wire.rows};
    }
    if (!keyed) parts.weights = {at.weights, WeightsBytes(wire)};
    if (sections[i].element == spec::FP32) {
      parts.values = {reinterpret_cast<float*>(at.weights), size_t{wire.rows} * wire.dim};
    }
    if (sections[i].has_counts) parts.counts = {at.counts, wire.rows};
    parts.slots = {at.slots, size_t{wire.rows} * wire.slots};
    parts_.push_back(parts);
    section += kSectionHeaderBytes + PadTo8(SectionBodyBytes(header.type, wire));
    std::fill(at.end, section, std::byte{0});
  }
}

FrameBuilder::Parts FrameBuilder::part(size_t section) {
  EMPORIUM_CHECK(section < parts_.size(), "a section that was not declared");
  return parts_[section];
}

Bytes FrameBuilder::Finish() && {
  parts_.clear();
  return std::move(bytes_);
}

uint64_t HashOfKeys(std::span<const uint64_t> keys) {
  return XXH3_64bits(keys.data(), keys.size_bytes());
}

Bytes EncodeError(const FrameHeader& request, RouteVersion route_version, Step step,
                  const Status& error) {
  EMPORIUM_CHECK(!error.ok(), "an Error frame needs an error");
  FrameHeader header = AnswerHeader(FrameType::kError, request, route_version, step);
  header.error = error.code();
  const std::string& message = error.message();
  Bytes bytes(kFrameHeaderBytes + message.size());
  WriteHeader(header, 0, message.size(), bytes.data());
  std::memcpy(bytes.data() + kFrameHeaderBytes, message.data(), message.size());
  return bytes;
}

Bytes EncodeAck(const FrameHeader& request, RouteVersion route_version, Step step) {
  const FrameHeader header = AnswerHeader(FrameType::kAck, request, route_version, step);
  Bytes bytes(kFrameHeaderBytes);
  WriteHeader(header, 0, 0, bytes.data());
  return bytes;
}

}  // namespace emporium
