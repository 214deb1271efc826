// The data-plane codec: what is written is what is read, and nothing that a peer can send is
// believed, read out of bounds or allowed to cost memory. More damage: tests/random.
#include "proto/frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "proto/limits.h"

namespace emporium {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Offsets of the grammar, stated again so that the layout cannot move unseen.
constexpr size_t kMagicAt = 0, kVersionAt = 4, kTypeAt = 5, kFlagsAt = 6, kSectionsAt = 52,
                 kLearningRateAt = 56, kErrorAt = 60, kBodyBytesAt = 64, kEventTimeAt = 72,
                 kReservedAt = 76, kHashAt = 88;

FrameHeader PushHeader() {
  FrameHeader header;
  header.type = FrameType::kPush;
  header.request_id = 0x1122334455667788;
  header.route_version = RouteVersion(7);
  header.generation = Generation(3);
  header.stage = StageId(2);
  header.step = Step(1234567890123);
  header.micro_batch = MicroBatch(1);
  header.micro_batches = 4;
  header.learning_rate_factor = 0.25f;
  header.event_time = 1'700'000'000;
  return header;
}

// Two tables: three keys of width 3 with counts, one key of width 1 without.
Bytes PushFrame() {
  const FrameBuilder::Section sections[] = {
      {.table = TableId(5), .keys = 3, .rows = 3, .dim = 3, .has_counts = true, .total = 2.5},
      {.table = TableId(1), .keys = 1, .dim = 1},
  };
  FrameBuilder builder(PushHeader(), sections);
  const FrameBuilder::Parts first = builder.part(0);
  for (size_t i = 0; i < 3; ++i) {
    first.keys[i] = 100 + i;
    first.counts[i] = static_cast<float>(i);
    for (size_t d = 0; d < 3; ++d) first.values[3 * i + d] = static_cast<float>(10 * i + d);
  }
  builder.part(1).keys[0] = ~uint64_t{0};
  builder.part(1).values[0] = -1;
  return std::move(builder).Finish();
}

TEST(Frame, PushComesBackAsItWasWritten) {
  const Bytes bytes = PushFrame();
  // 96 + (24 + 24 + 36 + 12) + (24 + 8 + 4 + 4 zeros)
  EXPECT_EQ(bytes.size(), 96u + 96u + 40u);
  const Result<FrameView> view = FrameView::Parse(bytes);
  ASSERT_TRUE(view.ok()) << view.status().ToString();
  const FrameHeader& header = view->header();
  EXPECT_EQ(header.type, FrameType::kPush);
  EXPECT_EQ(header.request_id, 0x1122334455667788u);
  EXPECT_EQ(header.route_version, RouteVersion(7));
  EXPECT_EQ(header.generation, Generation(3));
  EXPECT_EQ(header.stage, StageId(2));
  EXPECT_EQ(header.step, Step(1234567890123));
  EXPECT_EQ(header.micro_batch, MicroBatch(1));
  EXPECT_EQ(header.micro_batches, 4u);
  EXPECT_EQ(header.learning_rate_factor, 0.25f);
  EXPECT_EQ(header.event_time, 1'700'000'000u);
  ASSERT_EQ(view->sections().size(), 2u);
  const SectionView& first = view->sections()[0];
  EXPECT_EQ(first.table, TableId(5));
  EXPECT_EQ(first.dim, 3u);
  EXPECT_EQ(first.rows, 3u);
  EXPECT_EQ(first.total, 2.5);
  EXPECT_THAT(first.keys, ElementsAre(100, 101, 102));
  EXPECT_THAT(first.values, ElementsAre(0, 1, 2, 10, 11, 12, 20, 21, 22));
  EXPECT_THAT(first.counts, ElementsAre(0, 1, 2));
  const SectionView& second = view->sections()[1];
  EXPECT_THAT(second.keys, ElementsAre(~uint64_t{0}));
  EXPECT_THAT(second.values, ElementsAre(-1));
  EXPECT_THAT(second.counts, IsEmpty());
}

// Slots lie behind the counts, [rows, slots], and totals of counters at the section's end.
TEST(Frame, RepliesCarrySlots) {
  FrameHeader header;
  header.type = FrameType::kPullReply;
  const FrameBuilder::Section sections[] = {
      {.table = TableId(0), .rows = 2, .dim = 1, .has_counts = true, .slots = 3, .slot_totals = 2},
      {.table = TableId(1), .rows = 1, .dim = 1}};
  FrameBuilder builder(header, sections);
  const FrameBuilder::Parts parts = builder.part(0);
  for (size_t i = 0; i < 6; ++i) parts.slots[i] = static_cast<float>(i);
  parts.weights[0] = std::byte{7};
  parts.counts[0] = 0;
  parts.counts[1] = 9;
  parts.slot_totals[0] = 1e9;
  parts.slot_totals[1] = 0.5;
  builder.part(1).values[0] = 4;
  const Bytes bytes = std::move(builder).Finish();
  const Result<FrameView> view = FrameView::Parse(bytes);
  ASSERT_TRUE(view.ok()) << view.status().ToString();
  const SectionView& section = view->sections()[0];
  EXPECT_EQ(section.slots_dim, 3u);
  EXPECT_EQ(section.weights[0], std::byte{7});
  EXPECT_THAT(section.counts, ElementsAre(0, 9));
  EXPECT_THAT(section.slots, ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(section.slot_totals, ElementsAre(1e9, 0.5));
  EXPECT_THAT(view->sections()[1].values, ElementsAre(4));
  const FrameBuilder::Section asked[] = {{.table = TableId(0), .keys = 1, .want_slots = true}};
  const Bytes pull = FrameBuilder(FrameHeader(), asked).Finish();
  const Result<FrameView> asked_view = FrameView::Parse(pull);
  ASSERT_TRUE(asked_view.ok()) << asked_view.status().ToString();
  EXPECT_TRUE(asked_view->sections()[0].want_slots);
  EXPECT_FALSE(asked_view->sections()[0].want_popularity);
}

// Of three keys with ten slots: slots 0 and 9 of the first, none of the second, 3 of the last.
Bytes ObservationsFrame() {
  const FrameBuilder::Section sections[] = {{.table = TableId(0),
                                             .keys = 3,
                                             .rows = 3,
                                             .dim = 1,
                                             .slots = 10,
                                             .slot_totals = 1,
                                             .observed = 3},
                                            {.table = TableId(1), .slot_totals = 1}};
  FrameBuilder builder(PushHeader(), sections);
  const FrameBuilder::Parts parts = builder.part(0);
  for (size_t i = 0; i < 3; ++i) {
    parts.keys[i] = i;
    parts.values[i] = 0;
    parts.observed[i] = static_cast<float>(10 + i);
  }
  const uint8_t masks[] = {1, 2, 0, 0, 8, 0};
  std::copy(std::begin(masks), std::end(masks), parts.masks.begin());
  parts.slot_totals[0] = 2.5;
  builder.part(1).slot_totals[0] = -1;
  return std::move(builder).Finish();
}
constexpr size_t kMoreAt = kFrameHeaderBytes + 24 + 24 + 12 + 4;  // of its first section

TEST(Frame, APushCarriesWhatWasObservedAndNothingElse) {
  Bytes bytes = ObservationsFrame();
  // Behind the first section's keys and values: 8 + 8 + 3 values + 3 masks of 2 bytes.
  EXPECT_EQ(bytes.size(), kMoreAt + 8 + 8 + 24 + 24 + 16);
  const Result<FrameView> view = FrameView::Parse(bytes);
  ASSERT_TRUE(view.ok()) << view.status().ToString();
  const SectionView& section = view->sections()[0];
  EXPECT_EQ(section.slots_dim, 10u);
  EXPECT_THAT(section.slots, IsEmpty());
  EXPECT_THAT(section.slot_totals, ElementsAre(2.5));
  ObservationReader reader(section);
  const Observation first = reader.Next();
  EXPECT_EQ(first.mask, 1u | 1u << 9);
  EXPECT_THAT(first.values, ElementsAre(10, 11));
  EXPECT_EQ(reader.Next().mask, 0u);
  const Observation last = reader.Next();
  EXPECT_EQ(last.mask, 1u << 3);
  EXPECT_THAT(last.values, ElementsAre(12));
  EXPECT_THAT(view->sections()[1].slot_totals, ElementsAre(-1));

  struct Lie {
    size_t at;
    uint8_t value;
    const char* message;
  };
  const Lie lies[] = {{kMoreAt, 33, "33 totals"},
                      {kMoreAt, 9, "claims"},
                      {kMoreAt + 2, 1, "totals"},
                      {kMoreAt + 4, 31, "31 observations, at most 30"},
                      {kMoreAt + 4, 4, "slots observed, 4 values"},
                      {kMoreAt + 15, 0x7f, "total is not finite"},
                      {kMoreAt + 16 + 12, 3, "4 slots observed, 3 values"},
                      {kMoreAt + 16 + 12 + 1, 4, "an observation of no slot"},
                      {kMoreAt + 16 + 12 + 6, 1, "padding"},
                      {kFrameHeaderBytes + 2, 0, "slots without observations"},
                      {kFrameHeaderBytes + 12, 33, "33 slots"}};
  for (const Lie& lie : lies) {
    Bytes edited = bytes;
    edited[lie.at] = std::byte{lie.value};
    if (lie.at == kMoreAt + 15) edited[lie.at - 1] = std::byte{0xf0};
    const Result<FrameView> refused = FrameView::Parse(edited);
    ASSERT_FALSE(refused.ok()) << lie.message;
    EXPECT_THAT(refused.status().message(), HasSubstr(lie.message));
  }
}

// Half floats with counts.
Bytes ReplyFrame() {
  FrameHeader header;
  header.type = FrameType::kPullReply;
  const FrameBuilder::Section sections[] = {
      {.table = TableId(1), .rows = 3, .dim = 5, .has_counts = true, .element = spec::FP16}};
  FrameBuilder builder(header, sections);
  const FrameBuilder::Parts parts = builder.part(0);
  std::fill(parts.weights.begin(), parts.weights.end(), std::byte{0x11});
  std::fill(parts.counts.begin(), parts.counts.end(), 1.0f);
  return std::move(builder).Finish();
}

constexpr uint64_t kThreeKeys[] = {4, 5, 6};

// One table whose three keys the shard knows.
Bytes KnownKeysFrame() {
  const FrameBuilder::Section sections[] = {{.table = TableId(2),
                                             .keys = 3,
                                             .rows = 3,
                                             .dim = 1,
                                             .has_counts = true,
                                             .total = 1,
                                             .known_keys = true,
                                             .keys_hash = HashOfKeys(kThreeKeys)}};
  FrameBuilder builder(PushHeader(), sections);
  EXPECT_THAT(builder.part(0).keys, IsEmpty());
  for (size_t i = 0; i < 3; ++i) {
    builder.part(0).values[i] = static_cast<float>(i);
    builder.part(0).counts[i] = static_cast<float>(7 + i);
  }
  return std::move(builder).Finish();
}

TEST(Frame, APushMayNameItsKeysByTheirHash) {
  Bytes bytes = KnownKeysFrame();
  EXPECT_EQ(bytes.size(), 96u + 24 + 8 + 12 + 12);
  const Result<FrameView> view = FrameView::Parse(bytes);
  ASSERT_TRUE(view.ok()) << view.status().ToString();
  const SectionView& section = view->sections()[0];
  EXPECT_TRUE(section.known_keys);
  EXPECT_EQ(section.keys_hash, HashOfKeys(kThreeKeys));
  EXPECT_THAT(section.keys, IsEmpty());
  EXPECT_EQ(section.rows, 3u);
  EXPECT_THAT(section.values, ElementsAre(0, 1, 2));
  EXPECT_THAT(section.counts, ElementsAre(7, 8, 9));
  // Only a push may: the same bytes under the header of an Assign with as long a body.
  FrameHeader header;
  header.type = FrameType::kAssign;
  const FrameBuilder::Section keyed[] = {{.table = TableId(2), .keys = 1, .rows = 1, .dim = 6}};
  const Bytes assign = FrameBuilder(header, keyed).Finish();
  ASSERT_EQ(assign.size(), bytes.size());
  std::memcpy(bytes.data(), assign.data(), kFrameHeaderBytes);
  EXPECT_THAT(FrameView::Parse(bytes).status().message(), HasSubstr("flags"));
}

// Weights of every form, of widths that leave any remainder, with counts before them.
TEST(Frame, RepliesCarryWeightsAsTheTableHoldsThem) {
  for (const auto element : {spec::FP32, spec::FP16, spec::BF16, spec::INT8}) {
    for (const uint32_t dim : {1u, 3u, 16u}) {
      FrameHeader header;
      header.type = FrameType::kPullReply;
      const FrameBuilder::Section sections[] = {
          {.table = TableId(1), .rows = 5, .dim = dim, .has_counts = true, .element = element},
          {.table = TableId(2), .rows = 1, .dim = 2}};
      FrameBuilder builder(header, sections);
      const FrameBuilder::Parts parts = builder.part(0);
      ASSERT_EQ(parts.weights.size(), 5 * WeightBytes(element, dim));
      for (size_t i = 0; i < parts.weights.size(); ++i) {
        parts.weights[i] = static_cast<std::byte>(i + 1);
      }
      for (size_t i = 0; i < 5; ++i) parts.counts[i] = static_cast<float>(i);
      builder.part(1).values[0] = 8;
      builder.part(1).values[1] = 9;
      const Bytes bytes = std::move(builder).Finish();
      const Result<FrameView> view = FrameView::Parse(bytes);
      ASSERT_TRUE(view.ok()) << view.status().ToString();
      const SectionView& section = view->sections()[0];
      EXPECT_EQ(section.element, element);
      ASSERT_EQ(section.weights.size(), 5 * WeightBytes(element, dim));
      for (size_t i = 0; i < section.weights.size(); ++i) {
        EXPECT_EQ(section.weights[i], static_cast<std::byte>(i + 1));
      }
      EXPECT_EQ(section.values.size(), element == spec::FP32 ? 5 * dim : 0);
      EXPECT_THAT(section.counts, ElementsAre(0, 1, 2, 3, 4));
      EXPECT_THAT(view->sections()[1].values, ElementsAre(8, 9));
    }
  }
}

TEST(Frame, PullCarriesKeysOnly) {
  FrameHeader header;
  header.any_version = true;
  const FrameBuilder::Section sections[] = {
      {.table = TableId(0), .keys = 2, .want_popularity = true}, {.table = TableId(2)}};
  FrameBuilder builder(header, sections);
  builder.part(0).keys[0] = 8;
  builder.part(0).keys[1] = 8;
  const Bytes bytes = std::move(builder).Finish();
  const Result<FrameView> view = FrameView::Parse(bytes);
  ASSERT_TRUE(view.ok()) << view.status().ToString();
  EXPECT_TRUE(view->header().any_version);
  EXPECT_THAT(view->sections()[0].keys, ElementsAre(8, 8));
  EXPECT_TRUE(view->sections()[0].want_popularity);
  EXPECT_THAT(view->sections()[0].values, IsEmpty());
  EXPECT_FALSE(view->sections()[1].want_popularity);
}

TEST(Frame, PullReplyCarriesRowsWithoutKeys) {
  FrameHeader header;
  header.type = FrameType::kPullReply;
  const FrameBuilder::Section sections[] = {
      {.table = TableId(0), .rows = 2, .dim = 2, .has_counts = true, .total = 9}};
  FrameBuilder builder(header, sections);
  for (size_t i = 0; i < 4; ++i) builder.part(0).values[i] = static_cast<float>(i);
  builder.part(0).counts[0] = 0;
  builder.part(0).counts[1] = 5;
  const Bytes bytes = std::move(builder).Finish();
  const Result<FrameView> view = FrameView::Parse(bytes);
  ASSERT_TRUE(view.ok()) << view.status().ToString();
  EXPECT_THAT(view->sections()[0].keys, IsEmpty());
  EXPECT_EQ(view->sections()[0].rows, 2u);
  EXPECT_THAT(view->sections()[0].values, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(view->sections()[0].counts, ElementsAre(0, 5));
  EXPECT_EQ(view->sections()[0].total, 9);
}

TEST(Frame, AnswersCarryTheRequestAndTheShardsPosition) {
  const Bytes ack = EncodeAck(PushHeader(), RouteVersion(9), Step(11));
  const Result<FrameView> view = FrameView::Parse(ack);
  ASSERT_TRUE(view.ok()) << view.status().ToString();
  EXPECT_EQ(view->header().type, FrameType::kAck);
  EXPECT_EQ(view->header().request_id, PushHeader().request_id);
  EXPECT_EQ(view->header().route_version, RouteVersion(9));
  EXPECT_EQ(view->header().step, Step(11));

  const Bytes error = EncodeError(PushHeader(), RouteVersion(9), Step(11), Busy("come again"));
  const Result<FrameView> error_view = FrameView::Parse(error);
  ASSERT_TRUE(error_view.ok()) << error_view.status().ToString();
  EXPECT_EQ(error_view->header().type, FrameType::kError);
  EXPECT_EQ(error_view->header().error, StatusCode::kBusy);
  EXPECT_EQ(error_view->error_message(), "come again");
}

TEST(Frame, AStepsSquaresAndScaleTravel) {
  FrameHeader header = PushHeader();
  header.awaits_scale = true;
  const Bytes push = FrameBuilder(header, {}).Finish();
  EXPECT_EQ(push[kFlagsAt], std::byte{2});
  EXPECT_TRUE(FrameView::Parse(push)->header().awaits_scale);

  ExactSum sum;
  sum.Add(3);
  sum.Add(0x1p-200);
  const Bytes squares = EncodeSquares(header, RouteVersion(9), Step(11), sum);
  const Result<FrameView> view = FrameView::Parse(squares);
  ASSERT_TRUE(view.ok()) << view.status().ToString();
  EXPECT_EQ(view->header().type, FrameType::kSquaresReply);
  EXPECT_FALSE(view->header().awaits_scale);
  EXPECT_EQ(view->header().step, Step(11));
  EXPECT_EQ(view->squares().digits(), sum.digits());
  Bytes lie = squares;
  lie[kFrameHeaderBytes + 4] = std::byte{1};
  EXPECT_THAT(FrameView::Parse(lie).status().message(), HasSubstr("digit"));

  header.type = FrameType::kApply;
  header.awaits_scale = false;
  header.event_time = 0;
  for (const float scale : {0.0f, 0.3f, 1.0f}) {
    header.gradient_scale = scale;
    EXPECT_EQ(FrameView::Parse(FrameBuilder(header, {}).Finish())->header().gradient_scale, scale);
  }
  for (const float scale : {-0.1f, 1.1f, std::numeric_limits<float>::quiet_NaN()}) {
    header.gradient_scale = scale;
    EXPECT_THAT(FrameView::Parse(FrameBuilder(header, {}).Finish()).status().message(),
                HasSubstr("scale"));
  }
  header.gradient_scale = 1;
  const FrameBuilder::Section section[] = {{.table = TableId(0)}};
  EXPECT_THAT(FrameView::Parse(FrameBuilder(header, section).Finish()).status().message(),
              HasSubstr("sections"));
  for (const FrameType type : {FrameType::kSquares, FrameType::kApply})
    EXPECT_TRUE(IsRequest(type));
  EXPECT_FALSE(IsRequest(FrameType::kSquaresReply));
}

TEST(Frame, HeaderAloneIsReadWhenTheBodyIsRefused) {
  Bytes bytes = PushFrame();
  bytes.resize(bytes.size() - 8);
  EXPECT_FALSE(FrameView::Parse(bytes).ok());
  const Result<FrameHeader> header = FrameView::ParseHeader(bytes);
  ASSERT_TRUE(header.ok());
  EXPECT_EQ(header->request_id, PushHeader().request_id);
  EXPECT_FALSE(FrameView::ParseHeader(std::span(bytes).first(95)).ok());
}

TEST(Frame, EveryTruncationAndEveryHeaderBitFlipIsRefused) {
  const Bytes whole = PushFrame();
  for (size_t n = 0; n < whole.size(); ++n) {
    Bytes bytes(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(n));
    EXPECT_FALSE(FrameView::Parse(bytes).ok()) << n;
  }
  Bytes longer = whole;
  longer.resize(longer.size() + 8);
  EXPECT_FALSE(FrameView::Parse(longer).ok());
  for (size_t bit = 0; bit < kFrameHeaderBytes * 8; ++bit) {
    Bytes bytes = whole;
    bytes[bit / 8] ^= std::byte(1 << (bit % 8));
    EXPECT_FALSE(FrameView::Parse(bytes).ok()) << bit;
  }
}

TEST(Frame, SectionLies) {
  struct Lie {
    size_t at;
    uint32_t value;
    const char* message;
  };
  const size_t section = kFrameHeaderBytes;
  const Lie lies[] = {
      {section + 0, 256, "table 256"},
      {section + 0, 0x00040005, "flags"},  // flag bit 2 of table 5
      {section + 4, limits::kMaxDim + 1, "dim 4097"},
      {section + 4, 0, "rows without values"},
      {section + 8, 0xffffffff, "at most 4194304"},
      {section + 8, limits::kMaxKeysPerSection, "claims"},
      {section + 12, limits::kMaxSlots + 1, "slots"},
      {section + 12, 1 << 16, "element type 1"},  // only a reply has another than FP32
      {section + 12, 1 << 24, "element type"},
      {section + 20, 0x7ff00000, "total is not finite"},
      {section + 96, 5, "occurs twice"},
      {section + 96 + 24 + 12, 1, "padding"},
  };
  for (const Lie& lie : lies) {
    Bytes bytes = PushFrame();
    std::memcpy(bytes.data() + lie.at, &lie.value, sizeof(lie.value));
    const Result<FrameView> view = FrameView::Parse(bytes);
    ASSERT_FALSE(view.ok()) << lie.message;
    EXPECT_EQ(view.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(view.status().message(), HasSubstr(lie.message));
  }
}

TEST(Frame, FlagsOfAnotherTypeAreRefused) {
  // A reply's bytes under the header of a Pull: dim and counts do not belong there.
  FrameHeader reply;
  reply.type = FrameType::kPullReply;
  const FrameBuilder::Section rows[] = {{.table = TableId(0), .rows = 1, .dim = 2}};
  Bytes bytes = FrameBuilder(reply, rows).Finish();
  FrameHeader pull;
  const FrameBuilder::Section keys[] = {{.table = TableId(0), .keys = 1}};
  const Bytes other = FrameBuilder(pull, keys).Finish();
  ASSERT_EQ(other.size(), bytes.size());
  std::memcpy(bytes.data(), other.data(), kFrameHeaderBytes);
  EXPECT_THAT(FrameView::Parse(bytes).status().message(), HasSubstr("Pull with values"));
}

TEST(Frame, MicroBatchMustLieWithinItsStep) {
  FrameHeader header = PushHeader();
  for (auto [m, of] : {std::pair(4u, 4u), {0u, 0u}, {0u, limits::kMaxMicroBatchesPerStep + 1}}) {
    header.micro_batch = MicroBatch(m);
    header.micro_batches = of;
    EXPECT_THAT(FrameView::Parse(FrameBuilder(header, {}).Finish()).status().message(),
                HasSubstr("micro-batch"));
  }
  header = PushHeader();
  header.learning_rate_factor = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(FrameView::Parse(FrameBuilder(header, {}).Finish()).status().message(),
              HasSubstr("learning rate"));
}

// Random edits of legal frames, header copied from a legal one half of the time so that the body's
// checks are reached; the views that come out are read to the last float (the sanitizers watch).
TEST(Frame, RandomBytesNeverCrash) {
  std::mt19937_64 random(20240601);
  const Bytes frames[] = {PushFrame(), KnownKeysFrame(), ReplyFrame(), ObservationsFrame()};
  size_t accepted = 0;
  for (int round = 0; round < 200'000; ++round) {
    const Bytes& whole = frames[random() % 4];
    Bytes bytes = whole;
    const int edits = 1 + static_cast<int>(random() % 4);
    for (int e = 0; e < edits; ++e) {
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    }
    if (random() % 2 == 0) std::memcpy(bytes.data(), whole.data(), kFrameHeaderBytes);
    if (random() % 8 == 0) bytes.resize(random() % (bytes.size() + 64));
    const Result<FrameView> view = FrameView::Parse(bytes);
    if (!view.ok()) continue;
    ++accepted;
    uint64_t sum = view->error_message().size();
    for (const SectionView& section : view->sections()) {
      for (uint64_t key : section.keys) sum += key;
      for (float value : section.values) sum += value > 0;
      for (std::byte weight : section.weights) sum += static_cast<uint64_t>(weight);
      for (float count : section.counts) sum += count > 0;
      for (float slot : section.slots) sum += slot > 0;
      for (double total : section.slot_totals) sum += total > 0;
      ObservationReader reader(section);
      for (uint32_t i = 0; section.slots_dim > 0 && i < section.masks.size(); ++i) {
        if (i % MaskBytes(section.slots_dim) != 0) continue;
        for (float value : reader.Next().values) sum += value > 0;
      }
    }
    EXPECT_GE(sum, 0u);
  }
  EXPECT_GT(accepted, 1000u);  // edits of keys and values are legal
}

// The bytes of version 3, pinned: they may not change without a new version number.
TEST(Frame, GoldenBytes) {
  const Bytes bytes = PushFrame();
  auto at = [&]<class T>(size_t offset, T) {
    T value;
    std::memcpy(&value, bytes.data() + offset, sizeof(value));
    return value;
  };
  EXPECT_EQ(at(kMagicAt, uint32_t{}), 0x31504d45u);
  EXPECT_EQ(at(kVersionAt, uint8_t{}), 3);
  EXPECT_EQ(at(kTypeAt, uint8_t{}), 3);
  EXPECT_EQ(at(kFlagsAt, uint16_t{}), 0);
  EXPECT_EQ(at(8, uint64_t{}), 0x1122334455667788u);
  EXPECT_EQ(at(16, uint64_t{}), 7u);
  EXPECT_EQ(at(24, uint64_t{}), 3u);
  EXPECT_EQ(at(32, uint64_t{}), 1234567890123u);
  EXPECT_EQ(at(40, uint32_t{}), 2u);
  EXPECT_EQ(at(44, uint32_t{}), 1u);
  EXPECT_EQ(at(48, uint32_t{}), 4u);
  EXPECT_EQ(at(kSectionsAt, uint32_t{}), 2u);
  EXPECT_EQ(at(kLearningRateAt, float{}), 0.25f);
  EXPECT_EQ(at(kErrorAt, uint32_t{}), 0u);
  EXPECT_EQ(at(kBodyBytesAt, uint64_t{}), 136u);
  EXPECT_EQ(at(kEventTimeAt, uint32_t{}), 1'700'000'000u);
  EXPECT_EQ(at(kReservedAt, uint32_t{}), 0u);
  EXPECT_EQ(at(kHashAt, uint64_t{}), 5323553754648202664u);
}

}  // namespace
}  // namespace emporium
