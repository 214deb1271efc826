// The encoder and the decoder of the grammar in frame.h; sections have their own file
// (frame_section.h). Everything that a peer can send is looked
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
#include "proto/frame_section.h"
#include "proto/limits.h"

namespace emporium {
namespace {

using wire::Bad;

static_assert(std::endian::native == std::endian::little, "the wire is little endian");

constexpr uint16_t kAnyVersion = 1;  // header flags
constexpr uint16_t kAwaitsScale = 2;

uint16_t LegalFlags(FrameType type) {
  if (type == FrameType::kPull) return kAnyVersion;
  return type == FrameType::kPush ? kAwaitsScale : 0;
}

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
  float gradient_scale;  // 0 but in an Apply
  uint32_t reserved[2];
  uint64_t header_hash;
};
static_assert(sizeof(WireHeader) == kFrameHeaderBytes);
static_assert(offsetof(WireHeader, body_bytes) == 64);
static_assert(offsetof(WireHeader, header_hash) == 88);

bool HasSections(FrameType type) {
  return type == FrameType::kPull || type == FrameType::kPullReply || type == FrameType::kPush ||
         type == FrameType::kAssign;
}

uint64_t HashOf(const WireHeader& header) {
  return XXH3_64bits(&header, offsetof(WireHeader, header_hash));
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
      wire.type > static_cast<uint8_t>(FrameType::kApply)) {
    return Bad("unknown type " + std::to_string(wire.type));
  }
  const FrameType type = static_cast<FrameType>(wire.type);
  if ((wire.flags & ~LegalFlags(type)) != 0) return Bad("unknown flags");
  if ((wire.reserved[0] | wire.reserved[1]) != 0) return Bad("reserved words are not zero");
  const bool scales = wire.gradient_scale >= 0 && wire.gradient_scale <= 1;
  if (type == FrameType::kApply ? !scales : std::bit_cast<uint32_t>(wire.gradient_scale) != 0) {
    return Bad("a scale of gradients that is not from 0 to 1, or of none");
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
  header.awaits_scale = (wire.flags & kAwaitsScale) != 0;
  header.request_id = wire.request_id;
  header.route_version = RouteVersion(wire.route_version);
  header.generation = Generation(wire.generation);
  header.stage = StageId(wire.stage);
  header.step = Step(wire.step);
  header.micro_batch = MicroBatch(wire.micro_batch);
  header.micro_batches = wire.micro_batches;
  header.learning_rate_factor = wire.learning_rate_factor;
  header.event_time = wire.event_time;
  if (header.type == FrameType::kApply) header.gradient_scale = wire.gradient_scale;
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
  wire.flags = static_cast<uint16_t>((header.any_version ? kAnyVersion : 0) |
                                     (header.awaits_scale ? kAwaitsScale : 0));
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
  wire.gradient_scale = header.type == FrameType::kApply ? header.gradient_scale : 0;
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
  header.awaits_scale = false;
  header.route_version = route_version;
  header.step = step;
  header.learning_rate_factor = 1;
  header.event_time = 0;
  header.gradient_scale = 1;
  header.error = StatusCode::kOk;
  return header;
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
  if (!HasSections(type)) {
    if (wire.sections != 0) return Bad("sections in a frame that has none");
    EMPORIUM_RETURN_IF_ERROR(view.ParseBody(body));
    return view;
  }
  if (wire.sections > limits::kMaxTables) {
    return Bad(std::to_string(wire.sections) + " sections");
  }
  std::bitset<limits::kMaxTables> seen;
  for (uint32_t i = 0; i < wire.sections; ++i) {
    EMPORIUM_ASSIGN_OR_RETURN(SectionView section, wire::TakeSection(type, body));
    if (seen.test(section.table.value())) {
      return Bad("table " + std::to_string(section.table.value()) + " occurs twice");
    }
    seen.set(section.table.value());
    view.sections_.push_back(section);
  }
  if (!body.empty()) return Bad(std::to_string(body.size()) + " bytes left over");
  return view;
}

Status FrameView::ParseBody(std::span<const std::byte> body) {
  if (header_.type == FrameType::kError) {
    error_message_ = {reinterpret_cast<const char*>(body.data()), body.size()};
    return Status::Ok();
  }
  if (header_.type != FrameType::kSquaresReply) {
    return body.empty() ? Status::Ok() : Bad("a body in a frame that has none");
  }
  ExactSum::Digits digits;
  if (body.size() != sizeof(digits)) return Bad("a sum of another length");
  std::memcpy(digits.data(), body.data(), sizeof(digits));
  for (const uint64_t digit : digits) {
    if (digit >= ExactSum::kBase) return Bad("a sum with a digit too large");
  }
  squares_ = ExactSum(digits);
  return Status::Ok();
}

Observation ObservationReader::Next() {
  if (bytes_ == 0) return {};
  Observation observation;
  for (uint32_t i = 0; i < bytes_; ++i) observation.mask |= uint32_t{masks_[i]} << 8 * i;
  masks_ = masks_.subspan(bytes_);
  const auto values = static_cast<size_t>(std::popcount(observation.mask));
  observation.values = values_.first(values);
  values_ = values_.subspan(values);
  return observation;
}

namespace {

wire::Section WireOf(FrameType type, const FrameBuilder::Section& s) {
  wire::Section wire{};
  wire.table = s.table.value();
  const bool more = s.slot_totals > 0 || (type == FrameType::kPush && s.slots > 0);
  wire.flags = static_cast<uint16_t>(
      (s.want_popularity ? wire::kWantPopularity : 0) | (s.has_counts ? wire::kHasCounts : 0) |
      (s.want_slots ? wire::kWantSlots : 0) | (s.known_keys ? wire::kKnownKeys : 0) |
      (more ? wire::kMore : 0));
  wire.slots = static_cast<uint16_t>(s.slots);
  wire.element = static_cast<uint8_t>(s.element);
  wire.dim = s.dim;
  wire.rows = wire::CarriesKeys(type) ? s.keys : s.rows;
  wire.total = s.total;
  return wire;
}

wire::More MoreOf(const FrameBuilder::Section& s) {
  return {static_cast<uint16_t>(s.slot_totals), 0, s.observed};
}

// Writes what is known of a section already; the rest is the caller's.
FrameBuilder::Parts BeginSection(FrameType type, const FrameBuilder::Section& s,
                                 std::byte* section) {
  const wire::Section wire = WireOf(type, s);
  const wire::More more = MoreOf(s);
  std::memcpy(section, &wire, sizeof(wire));
  const wire::Arrays at = wire::ArraysOf(type, wire, more, section);
  FrameBuilder::Parts parts;
  if (s.known_keys) {
    std::memcpy(at.keys, &s.keys_hash, sizeof(uint64_t));
  } else if (wire::CarriesKeys(type)) {
    parts.keys = {reinterpret_cast<uint64_t*>(at.keys), wire.rows};
  }
  if (type == FrameType::kPullReply) {
    parts.weights = {at.weights, at.weight_bytes};
    parts.slots = {at.slots, size_t{wire.rows} * wire.slots};
  }
  if (s.element == spec::FP32) {
    parts.values = {reinterpret_cast<float*>(at.weights), size_t{wire.rows} * wire.dim};
  }
  if (s.has_counts) parts.counts = {at.counts, wire.rows};
  std::fill(at.end, at.more, std::byte{0});
  if ((wire.flags & wire::kMore) == 0) return parts;
  std::memcpy(at.more, &more, sizeof(more));
  parts.slot_totals = {at.totals, s.slot_totals};
  parts.observed = {at.observed, s.observed};
  parts.masks = {at.masks, at.mask_bytes};
  std::fill(at.more_end, section + wire::SectionBytes(type, wire, more), std::byte{0});
  return parts;
}

}  // namespace

FrameBuilder::FrameBuilder(const FrameHeader& header, std::span<const Section> sections) {
  const FrameType type = header.type;
  const auto bytes_of = [type](const Section& s) {
    return wire::SectionBytes(type, WireOf(type, s), MoreOf(s));
  };
  uint64_t body_bytes = 0;
  for (const Section& s : sections) {
    EMPORIUM_CHECK(wire::CarriesKeys(type) ? s.rows == 0 || s.rows == s.keys : s.keys == 0,
                   "a section has as many rows as keys; a PullReply has rows only");
    EMPORIUM_CHECK(
        wire::CheckSection(type, WireOf(type, s)).ok() && s.slot_totals <= limits::kMaxSlots,
        "a section that our own decoder refuses");
    body_bytes += bytes_of(s);
  }
  bytes_.resize(kFrameHeaderBytes + body_bytes);
  WriteHeader(header, static_cast<uint32_t>(sections.size()), body_bytes, bytes_.data());
  std::byte* section = bytes_.data() + kFrameHeaderBytes;
  for (const Section& s : sections) {
    parts_.push_back(BeginSection(type, s, section));
    section += bytes_of(s);
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

Bytes EncodeSquares(const FrameHeader& request, RouteVersion route_version, Step step,
                    const ExactSum& squares) {
  const FrameHeader header = AnswerHeader(FrameType::kSquaresReply, request, route_version, step);
  const ExactSum::Digits digits = squares.digits();
  Bytes bytes(kFrameHeaderBytes + sizeof(digits));
  WriteHeader(header, 0, sizeof(digits), bytes.data());
  std::memcpy(bytes.data() + kFrameHeaderBytes, digits.data(), sizeof(digits));
  return bytes;
}

Bytes EncodeAck(const FrameHeader& request, RouteVersion route_version, Step step) {
  const FrameHeader header = AnswerHeader(FrameType::kAck, request, route_version, step);
  Bytes bytes(kFrameHeaderBytes);
  WriteHeader(header, 0, 0, bytes.data());
  return bytes;
}

}  // namespace emporium
