// One section of a frame: its bytes, where its arrays lie, and what may be wrong with it. A part of
// the codec of frame.h, which has the grammar; only proto/frame*.cc include this. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "proto/frame.h"
#include "proto/status.h"

namespace emporium::wire {

inline constexpr uint16_t kWantPopularity = 1;  // section flags
inline constexpr uint16_t kHasCounts = 2;
inline constexpr uint16_t kWantSlots = 4;
inline constexpr uint16_t kKnownKeys = 8;
inline constexpr uint16_t kMore = 16;

struct Section {
  uint16_t table;
  uint16_t flags;
  uint32_t dim;
  uint32_t rows;
  uint16_t slots;
  uint8_t element;
  uint8_t reserved;
  double total;
};
static_assert(sizeof(Section) == kSectionHeaderBytes);
static_assert(offsetof(Section, total) == 16);

// What `more` begins with.
struct More {
  uint16_t totals;
  uint16_t reserved;
  uint32_t observed;
};
static_assert(sizeof(More) == 8);

inline bool CarriesKeys(FrameType type) { return type != FrameType::kPullReply; }
Status Bad(const std::string& what);

// The arrays of one section inside its frame.
struct Arrays {
  std::byte* keys = nullptr;  // or the hash
  std::byte* weights = nullptr;
  uint64_t weight_bytes = 0;
  float* counts = nullptr;
  float* slots = nullptr;
  std::byte* end = nullptr;  // padding begins, up to ...
  std::byte* more = nullptr;
  double* totals = nullptr;
  float* observed = nullptr;
  uint8_t* masks = nullptr;
  uint64_t mask_bytes = 0;
  std::byte* more_end = nullptr;  // padding begins; without `more` the section ends
};
Arrays ArraysOf(FrameType type, const Section& wire, const More& more, std::byte* section);
// The whole length, a multiple of 8.
uint64_t SectionBytes(FrameType type, const Section& wire, const More& more);

// What can be said without looking at the arrays.
Status CheckSection(FrameType type, const Section& wire);
// Takes one section off the front of `body`.
Result<SectionView> TakeSection(FrameType type, std::span<const std::byte>& body);

}  // namespace emporium::wire
