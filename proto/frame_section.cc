#include "proto/frame_section.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "proto/limits.h"

namespace emporium::wire {
namespace {

constexpr uint64_t PadTo8(uint64_t bytes) { return (bytes + 7) & ~uint64_t{7}; }

uint64_t WeightsBytes(const Section& wire) {
  return uint64_t{wire.rows} * WeightBytes(static_cast<spec::ElementType>(wire.element), wire.dim);
}

// Length of a section's arrays before padding. No overflow: rows <= 2^22, dim <= 2^12.
uint64_t BodyBytes(FrameType type, const Section& wire) {
  const uint64_t counts = (wire.flags & kHasCounts) != 0 ? 1 : 0;
  const uint64_t of_counts = uint64_t{wire.rows} * 4 * counts;
  if (!CarriesKeys(type))
    return WeightsBytes(wire) + of_counts + uint64_t{wire.rows} * 4 * wire.slots;
  const uint64_t keys = (wire.flags & kKnownKeys) != 0 ? 1 : uint64_t{wire.rows};
  return 8 * keys + WeightsBytes(wire) + of_counts;
}

uint64_t MasksBytes(FrameType type, const Section& wire) {
  return type == FrameType::kPush ? uint64_t{wire.rows} * MaskBytes(wire.slots) : 0;
}

// Length of `more` before padding.
uint64_t MoreBytes(FrameType type, const Section& wire, const More& more) {
  if ((wire.flags & kMore) == 0) return 0;
  return sizeof(More) + 8 * uint64_t{more.totals} + 4 * uint64_t{more.observed} +
         MasksBytes(type, wire);
}

Status CheckMore(FrameType type, const Section& wire, const More& more) {
  const uint64_t most = type == FrameType::kPush ? uint64_t{wire.rows} * wire.slots : 0;
  if (more.totals > limits::kMaxSlots || more.reserved != 0) {
    return Bad("table " + std::to_string(wire.table) + ": " + std::to_string(more.totals) +
               " totals");
  }
  if (more.observed > most) {
    return Bad("table " + std::to_string(wire.table) + ": " + std::to_string(more.observed) +
               " observations, at most " + std::to_string(most));
  }
  return Status::Ok();
}

bool AllZero(const std::byte* begin, const std::byte* end) {
  return std::all_of(begin, end, [](std::byte b) { return b == std::byte{0}; });
}

// Every bit names a slot, and there are as many bits as values.
Status CheckArrays(const SectionView& view) {
  const std::string where = "table " + std::to_string(view.table.value()) + ": ";
  for (const double total : view.slot_totals) {
    if (!std::isfinite(total)) return Bad(where + "total is not finite");
  }
  uint64_t bits = 0;
  for (const uint8_t mask : view.masks) bits += static_cast<uint64_t>(std::popcount(mask));
  if (bits != view.observed.size()) {
    return Bad(where + std::to_string(bits) + " slots observed, " +
               std::to_string(view.observed.size()) + " values");
  }
  const uint32_t bytes = MaskBytes(view.slots_dim);
  const auto legal =
      static_cast<uint8_t>(view.slots_dim % 8 == 0 ? 0xff : (1u << view.slots_dim % 8) - 1);
  for (size_t i = bytes; bytes > 0 && i <= view.masks.size(); i += bytes) {
    if ((view.masks[i - 1] & ~legal) != 0) return Bad(where + "an observation of no slot");
  }
  return Status::Ok();
}

SectionView ViewOf(FrameType type, const Section& wire, const More& more,
                   std::span<const std::byte> body) {
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
  const Arrays at = ArraysOf(type, wire, more, const_cast<std::byte*>(body.data()));
  if (view.known_keys) {
    std::memcpy(&view.keys_hash, at.keys, sizeof(view.keys_hash));
  } else if (CarriesKeys(type)) {
    view.keys = {reinterpret_cast<const uint64_t*>(at.keys), wire.rows};
  }
  view.element = static_cast<spec::ElementType>(wire.element);
  if (type == FrameType::kPullReply) {
    view.weights = {at.weights, at.weight_bytes};
    view.slots = {at.slots, size_t{wire.rows} * wire.slots};
  }
  if (view.element == spec::FP32) {
    view.values = {reinterpret_cast<const float*>(at.weights), size_t{wire.rows} * wire.dim};
  }
  if ((wire.flags & kHasCounts) != 0) view.counts = {at.counts, wire.rows};
  view.slot_totals = {at.totals, more.totals};
  view.observed = {at.observed, more.observed};
  view.masks = {at.masks, at.mask_bytes};
  return view;
}

}  // namespace

Status Bad(const std::string& what) { return InvalidArgument("frame refused: " + what); }

uint64_t SectionBytes(FrameType type, const Section& wire, const More& more) {
  return PadTo8(kSectionHeaderBytes + BodyBytes(type, wire)) + PadTo8(MoreBytes(type, wire, more));
}

Arrays ArraysOf(FrameType type, const Section& wire, const More& more, std::byte* section) {
  const uint64_t counts = (wire.flags & kHasCounts) != 0 ? uint64_t{wire.rows} * 4 : 0;
  Arrays at;
  at.keys = section + kSectionHeaderBytes;
  at.end = at.keys + BodyBytes(type, wire);
  at.weight_bytes = WeightsBytes(wire);
  // The weights of a reply may have any length, so they come last.
  at.weights = at.end - at.weight_bytes - (CarriesKeys(type) ? counts : 0);
  std::byte* const behind = CarriesKeys(type) ? at.weights + at.weight_bytes : at.keys;
  at.counts = reinterpret_cast<float*>(behind);
  at.slots = reinterpret_cast<float*>(behind + counts);
  at.more = section + PadTo8(kSectionHeaderBytes + BodyBytes(type, wire));
  at.more_end = at.more + MoreBytes(type, wire, more);
  if ((wire.flags & kMore) == 0) return at;
  at.totals = reinterpret_cast<double*>(at.more + sizeof(More));
  at.observed = reinterpret_cast<float*>(at.totals + more.totals);
  at.masks = reinterpret_cast<uint8_t*>(at.observed + more.observed);
  at.mask_bytes = MasksBytes(type, wire);
  return at;
}

Status CheckSection(FrameType type, const Section& wire) {
  if (wire.table >= limits::kMaxTables) return Bad("table " + std::to_string(wire.table));
  const std::string where = "table " + std::to_string(wire.table) + ": ";
  uint16_t legal_flags = 0;
  if (type == FrameType::kPull) legal_flags = kWantPopularity | kWantSlots;
  if (type == FrameType::kPullReply) legal_flags = kHasCounts | kMore;
  if (type == FrameType::kPush) legal_flags = kHasCounts | kKnownKeys | kMore;
  if ((wire.flags & ~legal_flags) != 0) return Bad(where + "flags that its type does not have");
  const bool slots = type == FrameType::kPullReply || type == FrameType::kPush;
  if (wire.slots > (slots ? limits::kMaxSlots : 0)) {
    return Bad(where + std::to_string(wire.slots) + " slots");
  }
  if (type == FrameType::kPush && wire.slots > 0 && (wire.flags & kMore) == 0) {
    return Bad(where + "slots without observations");
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

Result<SectionView> TakeSection(FrameType type, std::span<const std::byte>& body) {
  if (body.size() < kSectionHeaderBytes) return Bad("ends inside a section header");
  Section wire;
  std::memcpy(&wire, body.data(), sizeof(wire));
  EMPORIUM_RETURN_IF_ERROR(CheckSection(type, wire));
  More more{};
  const auto left = [&](uint64_t claimed) {
    return Bad("table " + std::to_string(wire.table) + ": claims " + std::to_string(claimed) +
               " bytes, " + std::to_string(body.size()) + " are left");
  };
  if ((wire.flags & kMore) != 0) {
    const uint64_t at = PadTo8(kSectionHeaderBytes + BodyBytes(type, wire));
    if (body.size() < at + sizeof(more)) return left(at + sizeof(more));
    std::memcpy(&more, body.data() + at, sizeof(more));
    EMPORIUM_RETURN_IF_ERROR(CheckMore(type, wire, more));
  }
  const uint64_t size = SectionBytes(type, wire, more);
  if (body.size() < size) return left(size);
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): the same places, only read
  const Arrays at = ArraysOf(type, wire, more, const_cast<std::byte*>(body.data()));
  if (!AllZero(at.end, at.more) || !AllZero(at.more_end, body.data() + size)) {
    return Bad("padding is not zero");
  }
  SectionView view = ViewOf(type, wire, more, body);
  EMPORIUM_RETURN_IF_ERROR(CheckArrays(view));
  body = body.subspan(size);
  return view;
}

}  // namespace emporium::wire
