// The client's calls and retries, and the frames that go through them.
#include "worker/ps_client.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>

#include "proto/limits.h"
#include "tests/worker/train_fakes.h"
#include "worker/key_split.h"
#include "worker/row_source.h"

namespace emporium::worker {
namespace {

runtime::Route RouteOf(uint32_t shards) {
  runtime::Route route;
  route.version = RouteVersion(1);
  route.shard_of_partition = runtime::EvenAssignment(16, shards);
  route.endpoint_of_shard.resize(shards, "inproc://nowhere");
  return route;
}

TEST(KeySplit, IsTheRoutesDivision) {
  std::mt19937_64 random(3);
  for (const uint32_t shards : {1u, 2u, 5u, 16u}) {
    for (const size_t n : {size_t{0}, size_t{1}, size_t{7}, size_t{500}}) {
      TableKeys keys;
      for (size_t k = 0; k < n; ++k) keys.keys.push_back(random());
      const runtime::Route route = RouteOf(shards);
      const KeySplit split(route, {&keys});
      size_t sum = 0;
      for (size_t s = 0; s < shards; ++s) {
        sum += split.count(0, s);
        if (split.in_order(0)) continue;
        uint32_t last = 0;
        for (const uint32_t row : split.rows(0, s)) {
          EXPECT_EQ(route.ShardOf(keys.keys[row]).value(), s);
          EXPECT_TRUE(row >= last);
          last = row;
        }
      }
      EXPECT_EQ(sum, n);
    }
  }
}

// Pushes of all shards together hold every key once, with its scaled gradient and its count.
TEST(Frames, PushesCarryEveryRowOnceAndTotalsEverywhere) {
  std::mt19937_64 random(4);
  for (const uint32_t shards : {1u, 3u}) {
    for (const uint32_t dim : {1u, 5u, 16u, 32u, 64u}) {
      TableKeys counted, plain, none;
      counted.table = TableId(0);
      plain.table = TableId(1);
      none.table = TableId(2);
      std::vector<float> counted_values, plain_values;
      for (int k = 0; k < 200; ++k) {
        counted.keys.push_back(random());
        counted.counts.push_back(static_cast<float>(k % 4));
        plain.keys.push_back(random());
        for (uint32_t d = 0; d < dim; ++d) {
          counted_values.push_back(static_cast<float>(random() % 1000));
          plain_values.push_back(static_cast<float>(random() % 1000));
        }
      }
      const KeySplit split(RouteOf(shards), {&counted, &plain, &none});
      const GradientSource sources[] = {
          {counted_values, dim, true}, {plain_values, dim, false}, {{}, dim, true}};
      FrameHeader header;
      header.type = FrameType::kPush;
      header.micro_batches = 1;
      std::map<uint64_t, std::vector<float>> seen[2];
      for (size_t s = 0; s < shards; ++s) {
        const auto bytes = EncodePush(header, split, s, sources, 0.25f, KeyForm::kKeys);
        const auto frame = FrameView::Parse(bytes);
        ASSERT_TRUE(frame.ok()) << frame.status().ToString();
        ASSERT_EQ(frame->sections().size(), 3u);
        EXPECT_EQ(frame->sections()[0].total, 300);
        EXPECT_EQ(frame->sections()[2].total, 0);
        EXPECT_EQ(frame->sections()[2].rows, 0u);
        for (size_t t = 0; t < 2; ++t) {
          const SectionView& section = frame->sections()[t];
          for (size_t k = 0; k < section.keys.size(); ++k) {
            std::vector<float> row(section.values.begin() + k * dim,
                                   section.values.begin() + (k + 1) * dim);
            if (t == 0) row.push_back(section.counts[k]);
            EXPECT_TRUE(seen[t].emplace(section.keys[k], row).second);
          }
        }
      }
      for (size_t k = 0; k < 200; ++k) {
        std::vector<float> expected(counted_values.begin() + k * dim,
                                    counted_values.begin() + (k + 1) * dim);
        for (float& value : expected) value *= 0.25f;
        expected.push_back(counted.counts[k]);
        EXPECT_EQ(seen[0][counted.keys[k]], expected);
        expected.assign(plain_values.begin() + k * dim, plain_values.begin() + (k + 1) * dim);
        for (float& value : expected) value *= 0.25f;
        EXPECT_EQ(seen[1][plain.keys[k]], expected);
      }
    }
  }
}

class PsClientTest : public testing::Test {
 protected:
  void Connect(uint32_t shards) {
    cluster_ = std::make_unique<StubCluster>(context_, job_, shards);
    client_ = PsClient::Start(context_);
    ASSERT_TRUE(client_->SetRoute(cluster_->route()).ok());
  }
  // Fetches three keys of table 0 and compares them with what shards start from.
  Status FetchSome() {
    TableKeys keys;
    keys.table = TableId(0);
    keys.want_popularity = true;
    keys.keys = {5, 77, 12345};
    RowBuffer rows;
    const auto source = MakeRowSource(*client_, TableDims(job_), dense_, StageId(0), Generation(1));
    EMPORIUM_RETURN_IF_ERROR(source->Fetch({keys}, &rows));
    for (size_t k = 0; k < 3; ++k) {
      EXPECT_EQ(
          std::vector<float>(rows.values[0].begin() + k * 4, rows.values[0].begin() + (k + 1) * 4),
          InitialRow(0, keys.keys[k], 4));
      EXPECT_EQ(rows.rows[0].popularity[k], static_cast<float>(keys.keys[k] % 100));
    }
    EXPECT_EQ(rows.rows[0].popularity_total, 100);
    return Status::Ok();
  }

  const spec::Job job_ = TinyJob();
  const DenseLayout dense_ = DenseLayout::Make(job_, TinyModel().parameters()).value();
  runtime::Context context_;
  std::unique_ptr<StubCluster> cluster_;
  std::unique_ptr<PsClient> client_;
};

TEST_F(PsClientTest, FetchesRowsFromTheirShards) {
  for (const uint32_t shards : {1u, 2u, 7u}) {
    Connect(shards);
    EXPECT_TRUE(FetchSome().ok());
    EXPECT_GT(client_->counters().bytes_received, 0);
    client_.reset();
  }
}

TEST_F(PsClientTest, ProbesWhereShardsStand) {
  Connect(3);
  cluster_->shard(2).set_version(StageId(1), Step(7));
  const auto positions = ProbeShards(*client_, StageId(1), Generation(1));
  ASSERT_TRUE(positions.ok());
  EXPECT_EQ((*positions)[2].stage, StageId(1));
  EXPECT_EQ((*positions)[2].version, Step(7));
  EXPECT_EQ((*positions)[0].version, Step(0));
}

TEST_F(PsClientTest, HonoursBusyAndHandsOtherRefusalsUp) {
  Connect(2);
  std::atomic<int> busy = 3;
  cluster_->shard(1).set_intercept(
      [&busy](const FrameHeader&) { return busy-- > 0 ? Busy("full") : Status::Ok(); });
  EXPECT_TRUE(FetchSome().ok());
  EXPECT_EQ(client_->counters().repetitions, 3);
  cluster_->shard(1).set_intercept([](const FrameHeader&) { return Stale("route 2"); });
  const Status stale = FetchSome();
  EXPECT_EQ(stale.code(), StatusCode::kStale);
  EXPECT_EQ(stale.message(), "shard 1: route 2");
}

TEST_F(PsClientTest, CancelEndsCallsAndInterruptRefusesThem) {
  Connect(2);
  std::atomic<bool> reached = false;
  cluster_->shard(0).set_intercept([&reached](const FrameHeader&) {
    reached = true;
    return Internal("");  // no answer
  });
  std::thread waiter([&] { EXPECT_EQ(FetchSome().code(), StatusCode::kCancelled); });
  while (!reached) std::this_thread::yield();
  client_->CancelAll();
  waiter.join();
  client_->Interrupt();
  EXPECT_EQ(FetchSome().code(), StatusCode::kCancelled);
  cluster_->shard(0).set_intercept(nullptr);
  client_->Resume();
  EXPECT_TRUE(FetchSome().ok());
}

TEST_F(PsClientTest, ANewRouteIsFollowed) {
  Connect(1);
  EXPECT_TRUE(FetchSome().ok());
  StubCluster other(context_, job_, 4);
  ASSERT_TRUE(client_->SetRoute(other.route()).ok());
  EXPECT_TRUE(FetchSome().ok());
  EXPECT_GT(other.shard(3).state().frames, 0);
  runtime::Route bad = *other.route();
  bad.endpoint_of_shard[0] = "nonsense";
  EXPECT_FALSE(client_->SetRoute(std::make_shared<const runtime::Route>(bad)).ok());
  EXPECT_EQ(FetchSome().code(), StatusCode::kFailedPrecondition);
}

// An answer of the wrong width, as from a server with another job file.
TEST_F(PsClientTest, AnswersThatDoNotFitAreErrors) {
  Connect(2);
  TableKeys keys;
  keys.table = TableId(0);
  keys.keys = {1, 2, 3};
  RowBuffer rows;
  const auto source = MakeRowSource(*client_, {5, 2, 2, 8}, dense_, StageId(0), Generation(1));
  const Status status = source->Fetch({keys}, &rows);
  EXPECT_EQ(status.code(), StatusCode::kInternal);
  EXPECT_NE(status.message().find("same job file"), std::string::npos);
}

TEST_F(PsClientTest, ManyThreadsCallAtOnce) {
  Connect(3);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this] {
      for (int i = 0; i < 50; ++i) EXPECT_TRUE(FetchSome().ok());
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace emporium::worker
