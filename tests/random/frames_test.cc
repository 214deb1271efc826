// The data-plane codec under damage: whatever bytes come, they are refused with a reason or read
// within their bounds, and what is accepted is exactly what our own encoder would have written.
#include "tests/random/frames.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace emporium {
namespace {

using testing::Damage;
using testing::DamageFrame;
using testing::RandomFrame;

// The frame that says what the view says.
Bytes Rebuilt(const FrameView& view) {
  std::vector<FrameBuilder::Section> sections;
  for (const SectionView& from : view.sections()) {
    FrameBuilder::Section section;
    section.table = from.table;
    const bool reply = view.header().type == FrameType::kPullReply;
    section.keys = reply ? 0 : from.rows;
    section.rows = reply ? from.rows : 0;
    section.dim = from.dim;
    section.want_popularity = from.want_popularity;
    section.want_slots = from.want_slots;
    section.has_counts = !from.counts.empty();
    section.total = from.total;
    section.slots = from.slots_dim;
    section.known_keys = from.known_keys;
    section.keys_hash = from.keys_hash;
    section.element = from.element;
    section.slot_totals = static_cast<uint32_t>(from.slot_totals.size());
    section.observed = static_cast<uint32_t>(from.observed.size());
    sections.push_back(section);
  }
  FrameBuilder builder(view.header(), sections);
  for (size_t i = 0; i < sections.size(); ++i) {
    const SectionView& from = view.sections()[i];
    const FrameBuilder::Parts to = builder.part(i);
    std::copy(from.keys.begin(), from.keys.end(), to.keys.begin());
    std::copy(from.values.begin(), from.values.end(), to.values.begin());
    std::copy(from.weights.begin(), from.weights.end(), to.weights.begin());
    std::copy(from.counts.begin(), from.counts.end(), to.counts.begin());
    std::copy(from.slots.begin(), from.slots.end(), to.slots.begin());
    std::copy(from.slot_totals.begin(), from.slot_totals.end(), to.slot_totals.begin());
    std::copy(from.observed.begin(), from.observed.end(), to.observed.begin());
    std::copy(from.masks.begin(), from.masks.end(), to.masks.begin());
  }
  return std::move(builder).Finish();
}

template <class T>
void ExpectInside(const Bytes& bytes, std::span<const T> part, size_t elements) {
  ASSERT_EQ(part.size(), elements);
  if (part.empty()) return;
  const auto* const begin = reinterpret_cast<const std::byte*>(part.data());
  ASSERT_GE(begin, bytes.data() + kFrameHeaderBytes);
  ASSERT_LE(begin + part.size_bytes(), bytes.data() + bytes.size());
}

void ExpectSound(const Bytes& bytes, const FrameView& view) {
  const FrameType type = view.header().type;
  if (type == FrameType::kSquaresReply) {
    ASSERT_EQ(EncodeSquares(view.header(), view.header().route_version, view.header().step,
                            view.squares())
                  .size(),
              bytes.size());
    return;
  }
  if (type == FrameType::kAck || type == FrameType::kError) {
    ASSERT_EQ(view.error_message().size(), bytes.size() - kFrameHeaderBytes);
    ASSERT_TRUE(view.sections().empty());
    return;
  }
  // A section without rows does not show whether it has counts, one with nothing more whether it
  // says so: those have two forms.
  bool one_form = true;
  for (const SectionView& section : view.sections()) {
    const size_t rows = section.rows;
    const bool reply = type == FrameType::kPullReply;
    ExpectInside(bytes, section.keys, reply || section.known_keys ? 0 : rows);
    const bool fp32 = section.element == spec::FP32;
    ExpectInside(bytes, section.values, fp32 ? rows * section.dim : 0);
    ExpectInside(bytes, section.weights,
                 reply ? rows * WeightBytes(section.element, section.dim) : 0);
    ExpectInside(bytes, section.counts, section.counts.empty() ? 0 : rows);
    ExpectInside(bytes, section.slots, reply ? rows * section.slots_dim : 0);
    ExpectInside(bytes, section.slot_totals, section.slot_totals.size());
    ExpectInside(bytes, section.observed, section.observed.size());
    ExpectInside(bytes, section.masks, reply ? 0 : rows * MaskBytes(section.slots_dim));
    const bool more = !section.slot_totals.empty() || !section.masks.empty();
    one_form = one_form && rows > 0 && more;
  }
  if (one_form) {
    ASSERT_EQ(Rebuilt(view), bytes);
  }
}

// A refusal without its numbers.
std::string KindOf(const std::string& message) {
  std::string kind;
  for (const char c : message) {
    if (c < '0' || c > '9') kind += c;
  }
  return kind;
}

TEST(DamagedFrames, AreRefusedWithAReasonOrReadWithinTheirBounds) {
  Damage damage(20240601);
  std::set<std::string> kinds;
  size_t accepted[10] = {};
  for (int round = 0; round < 80'000; ++round) {
    const auto type = static_cast<FrameType>(1 + damage.Below(9));
    const Bytes legal = RandomFrame(&damage, type);
    const Result<FrameView> before = FrameView::Parse(legal);
    ASSERT_TRUE(before.ok()) << before.status().ToString();
    ASSERT_NO_FATAL_FAILURE(ExpectSound(legal, *before));
    Bytes edited = legal;
    DamageFrame(&damage, &edited);
    const Bytes bytes(edited.begin(), edited.end());  // no room behind the end
    const Result<FrameView> view = FrameView::Parse(bytes);
    if (view.ok()) {
      ++accepted[static_cast<size_t>(view->header().type)];
      ASSERT_TRUE(FrameView::ParseHeader(bytes).ok());
      ASSERT_NO_FATAL_FAILURE(ExpectSound(bytes, *view));
    } else {
      ASSERT_EQ(view.status().code(), StatusCode::kInvalidArgument);
      kinds.insert(KindOf(view.status().message()));
    }
  }
  for (size_t type = 1; type <= 9; ++type) EXPECT_GT(accepted[type], 200u) << type;
  EXPECT_GT(kinds.size(), 20u) << "the checks behind the header were reached";
}

}  // namespace
}  // namespace emporium
