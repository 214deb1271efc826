// Shards under a hostile peer: frames of every kind with extreme numbers, out of turn and damaged,
// between those of an honest worker. It never crashes, answers every frame whose header is sound,
// and a frame that it refuses changes nothing: a second shard that never hears of these holds the
// same rows and gives the same answers. (A peer that is believed can stall a step, so many short
// rounds.)
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "tests/ps/shard_fixture.h"
#include "tests/random/frames.h"

namespace emporium::ps {
namespace {

using emporium::testing::Damage;
using emporium::testing::DamageFrame;
using ps::testing::Answer;
using ps::testing::Cluster;
using ps::testing::Columns;
using ps::testing::Encode;
using ps::testing::Header;
using ps::testing::Payload;
using ps::testing::PullHeader;
using ps::testing::PushHeader;
using ps::testing::TwoTables;

constexpr uint32_t kMicroBatches = 2;

std::vector<TableSettings> Tables(uint64_t round) {
  std::vector<TableSettings> tables = TwoTables();
  TableSettings& item = tables[0];
  item.element_type = static_cast<spec::ElementType>(round % 4);
  item.popularity_bytes = 1 + static_cast<uint32_t>(round / 4 % 4);
  item.slots = {
      {spec::Slot::ADD, 7, 0, 0}, {spec::Slot::MAX, 0, 0, -9}, {spec::Slot::LOG_EMA, 0, 0.1f, -1}};
  item.half_life_steps = round % 2 == 0 ? 0.01 : 7;
  if (round % 3 == 0) {
    item.half_life_steps = 0;
    item.half_life_seconds = 500;
  }
  item.admission_sightings = round % 2 == 0 ? 2 : 0;
  item.sketch_bytes = 4096;
  item.expiry = {.every_steps = 5, .untouched_steps = 20, .popularity_below = 0.01f, .rows = 64};
  return tables;
}

class HostilePeer {
 public:
  explicit HostilePeer(uint64_t round)
      : clips_(round % 4 == 3),
        damage_(round),
        hears_all_(1, Tables(round)),
        hears_accepted_(1, Tables(round)) {}

  void Run() {
    for (int i = 0; i < 500 && !::testing::Test::HasFatalFailure(); ++i) {
      Bytes frame = damage_.OneIn(8) ? WorkersFrame() : AnyFrame();
      if (damage_.OneIn(3)) DamageFrame(&damage_, &frame);
      Send(frame);
    }
    EXPECT_EQ(RowsOf(&hears_all_), RowsOf(&hears_accepted_));
  }
  uint64_t accepted() const { return accepted_; }
  uint64_t refused() const { return refused_; }
  uint64_t steps() { return hears_all_.shard(0).counters().steps_applied; }
  uint64_t scaled_steps() { return clips_ ? steps() : 0; }

 private:
  // Changes with every frame that is accepted, and with no other.
  auto Taken() {
    const ShardCounters c = hears_all_.shard(0).counters();
    return std::tuple(c.pulls, c.parked_pulls, c.pushes, c.duplicate_pushes, c.assigns,
                      c.squares_asked, c.applies);
  }

  // The first shard's word decides whether the second hears the frame too.
  void Send(const Bytes& frame) {
    const auto before = Taken();
    hears_all_.Deliver(0, "peer", frame);
    const std::vector<Answer> answers = hears_all_.Take("peer");
    if (Taken() == before) {
      ++refused_;
      ASSERT_LE(answers.size(), 1u);
      for (const Answer& answer : answers) ASSERT_EQ(answer.type(), FrameType::kError);
      return;
    }
    ++accepted_;
    hears_accepted_.Deliver(0, "peer", frame);
    const std::vector<Answer> same = hears_accepted_.Take("peer");
    ASSERT_EQ(answers.size(), same.size());
    for (size_t i = 0; i < answers.size(); ++i) ASSERT_EQ(answers[i].bytes, same[i].bytes);
    ASSERT_EQ(hears_all_.shard(0).position(), hears_accepted_.shard(0).position());
  }
  uint64_t Version() { return hears_all_.shard(0).position().version.value(); }
  uint32_t Stage() { return hears_all_.shard(0).position().stage.value_or(StageId(0)).value(); }

  // What brings the step under way on.
  Bytes WorkersFrame() {
    const auto m = static_cast<uint32_t>(damage_.Below(kMicroBatches));
    FrameHeader header = PushHeader(Stage(), Version(), m, kMicroBatches);
    header.event_time = 1'700'000'000 + static_cast<uint32_t>(Version());
    header.awaits_scale = clips_;
    if (clips_ && damage_.OneIn(3)) {
      header =
          Header(damage_.OneIn(2) ? FrameType::kSquares : FrameType::kApply, Stage(), Version());
      header.gradient_scale = 0.5f;
      return Encode(header, {});
    }
    return Encode(header, RandomPayload(false));
  }

  Bytes AnyFrame() {
    const uint64_t step = Version() + damage_.Below(4) - 1;
    const uint32_t stage = Stage() + (damage_.OneIn(100) ? 1 : 0);
    const auto m = static_cast<uint32_t>(damage_.Below(kMicroBatches));
    FrameHeader header = damage_.OneIn(2) ? PushHeader(stage, step, m, kMicroBatches)
                                          : PullHeader(stage, step, m, kMicroBatches);
    header.awaits_scale = header.type == FrameType::kPush && (damage_.OneIn(20) ? !clips_ : clips_);
    if (damage_.OneIn(8)) header = Header(FrameType::kAssign, stage, step);
    if (damage_.OneIn(10)) {
      header = Header(damage_.OneIn(2) ? FrameType::kSquares : FrameType::kApply, stage, step);
      return Encode(header, {});
    }
    if (damage_.OneIn(20)) header.route_version = RouteVersion(damage_.Below(9));
    if (header.type == FrameType::kPull) header.any_version = damage_.OneIn(3);
    if (header.type == FrameType::kPush && damage_.OneIn(8)) {
      header.event_time = static_cast<uint32_t>(damage_.Number());
    }
    const bool known = header.type == FrameType::kPush && damage_.OneIn(3);
    Payload payload = RandomPayload(header.type != FrameType::kPull);
    if (header.type == FrameType::kAssign) {
      payload[0].counts = payload[0].slots = {};
      payload[0].slot_totals = {};
    }
    return Encode(header, payload, known);
  }

  // A few keys of table 0, with all that a push or a pull may carry.
  Payload RandomPayload(bool extreme) {
    Payload payload(1);
    Columns& columns = payload[0];
    const uint64_t keys = damage_.Below(12);
    for (uint64_t k = 0; k < keys; ++k) {
      columns.keys.push_back(damage_.Below(100));
      for (int d = 0; d < 3; ++d) columns.values.push_back(Value(extreme));
      columns.counts.push_back(extreme ? damage_.Float() : static_cast<float>(damage_.Below(3)));
      for (int s = 0; s < 3; ++s) columns.slots.push_back(Value(extreme));
    }
    constexpr double kTotals[] = {0, 3, limits::kMaxSightings, 1e300, -1};
    columns.total = extreme && damage_.OneIn(4) ? kTotals[damage_.Below(5)] : 3;
    columns.want_slots = damage_.OneIn(2);
    if (damage_.OneIn(2)) columns.slot_totals = {extreme && damage_.OneIn(4) ? 1e308 : 3};
    // Most frames have one fault at most, or none would be accepted.
    if (extreme && !damage_.OneIn(3)) std::ranges::fill(columns.counts, 1.0f);
    if (extreme && !damage_.OneIn(3)) std::ranges::fill(columns.values, 3e38f);
    if (extreme && !damage_.OneIn(3)) std::ranges::fill(columns.slots, 3e38f);
    return payload;
  }
  float Value(bool extreme) {
    return extreme ? damage_.Float() : static_cast<float>(damage_.Below(2001)) / 1000 - 1;
  }

  // Everything that the shard's tables hold, as bytes.
  static std::vector<std::string> RowsOf(Cluster* cluster) {
    std::vector<std::string> rows;
    for (size_t t = 0; t < 2; ++t) {
      const Table& table = cluster->shard(0).table(t);
      rows.push_back(std::to_string(table.total().value));
      for (const PartitionId p : cluster->shard(0).config().owned) {
        table.ForEachRow(p, [&](const RowView& row) {
          std::string& text = rows.emplace_back(std::to_string(row.key));
          const auto add = [&text](const auto& part) {
            text.append(reinterpret_cast<const char*>(part.data()), part.size_bytes());
          };
          add(row.raw);
          add(row.state);
          add(row.extra);
          text += std::to_string(row.popularity) + " " + std::to_string(row.last_step);
        });
      }
    }
    return rows;
  }

  const bool clips_;  // the honest worker's gradients, by the norm of all
  Damage damage_;
  Cluster hears_all_;
  Cluster hears_accepted_;
  uint64_t accepted_ = 0;
  uint64_t refused_ = 0;
};

TEST(HostilePeerTest, RefusedFramesChangeNothingAndTheRestIsServed) {
  uint64_t accepted = 0, refused = 0, steps = 0, scaled_steps = 0;
  for (uint64_t round = 0; round < 64; ++round) {
    HostilePeer peer(round);
    peer.Run();
    accepted += peer.accepted();
    refused += peer.refused();
    steps += peer.steps();
    scaled_steps += peer.scaled_steps();
    if (::testing::Test::HasFatalFailure()) FAIL() << "in round " << round;
  }
  EXPECT_GT(accepted, 5'000u);
  EXPECT_GT(refused, 5'000u);
  EXPECT_GT(steps, 250u);
  EXPECT_GT(scaled_steps, 30u);
}

}  // namespace
}  // namespace emporium::ps
