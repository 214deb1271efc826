// The server, over inproc and TCP, against a scheduler that the test plays: it registers, restores,
// serves, checkpoints, outlives the scheduler and bad frames, and leaves in good order.
#include "ps/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <thrift/transport/TTransportException.h>

#include <filesystem>

#include "runtime/control_client.h"
#include "runtime/manifest.h"
#include "tests/ps/shard_fixture.h"

namespace emporium::ps {
namespace {

using namespace ps::testing;  // NOLINT: the fixture's names
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
namespace fs = std::filesystem;

constexpr const char* kJob = "0123abcd";

// A scheduler with one node. The test gives commands and looks at reports.
class TestScheduler : public control::SchedulerNull {
 public:
  void registerNode(control::Registered& registered,
                    const control::Registration& registration) override {
    runtime::MutexLock lock(mutex_);
    if (refuse_registration_) throw runtime::RefusedFrom(InvalidArgument("another job"));
    registration_ = registration;
    registered.node = ++nodes_;
    registered.incarnation = 100 + nodes_;
    registered.heartbeat_ms = 20;
    registered.first_shard = 0;
    command_ = {};
    changed_.NotifyAll();
  }

  void await(control::Command& command, const control::Report& report) override {
    runtime::MutexLock lock(mutex_);
    if (unreachable_) throw apache::thrift::transport::TTransportException("gone");
    if (report.node != nodes_) throw runtime::RefusedFrom(Stale("who are you?"));
    report_ = report;
    ++reports_;
    changed_.NotifyAll();
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
    while (!report.leaving && command_.sequence <= report.seen_sequence && !unreachable_) {
      if (!changed_.WaitUntil(mutex_, deadline)) break;
    }
    if (command_.sequence > report.seen_sequence) command = command_;
  }

  // The report that says that the command is done.
  control::Report Do(control::Command command) {
    runtime::MutexLock lock(mutex_);
    command.sequence = ++sequence_;
    command_ = command;
    changed_.NotifyAll();
    while (report_.done_sequence < command.sequence) changed_.Wait(mutex_);
    return report_;
  }
  // The report that tells what came of a checkpoint.
  control::Report Written(int64_t checkpoint) {
    runtime::MutexLock lock(mutex_);
    while (report_.checkpoint != checkpoint) changed_.Wait(mutex_);
    return report_;
  }
  // The next but `n` report.
  control::Report Later(int n) {
    runtime::MutexLock lock(mutex_);
    const int until = reports_ + n;
    while (reports_ < until) changed_.Wait(mutex_);
    return report_;
  }
  control::Registration Registered(int nodes) {
    runtime::MutexLock lock(mutex_);
    while (nodes_ < nodes) changed_.Wait(mutex_);
    return registration_;
  }
  int nodes() {
    runtime::MutexLock lock(mutex_);
    return nodes_;
  }
  control::Report last_report() {
    runtime::MutexLock lock(mutex_);
    return report_;
  }
  void set_unreachable(bool value) {
    runtime::MutexLock lock(mutex_);
    unreachable_ = value;
    changed_.NotifyAll();
  }
  void refuse_registration() {
    runtime::MutexLock lock(mutex_);
    refuse_registration_ = true;
  }
  // The node that is registered is not known any more.
  void Forget() {
    runtime::MutexLock lock(mutex_);
    ++nodes_;
  }

 private:
  runtime::Mutex mutex_;
  runtime::CondVar changed_;
  control::Registration registration_ EMPORIUM_GUARDED_BY(mutex_);
  control::Command command_ EMPORIUM_GUARDED_BY(mutex_);
  control::Report report_ EMPORIUM_GUARDED_BY(mutex_);
  int64_t sequence_ EMPORIUM_GUARDED_BY(mutex_) = 0;
  int nodes_ EMPORIUM_GUARDED_BY(mutex_) = 0;
  int reports_ EMPORIUM_GUARDED_BY(mutex_) = 0;
  bool unreachable_ EMPORIUM_GUARDED_BY(mutex_) = false;
  bool refuse_registration_ EMPORIUM_GUARDED_BY(mutex_) = false;
};

spec::Job JobOf() {
  spec::Job job;
  job.set_name("test");
  job.mutable_checkpoint()->set_max_deltas(2);
  for (const TableSettings& settings : TwoTables()) {
    spec::Table* table = job.add_table();
    table->set_name(settings.name);
    table->set_dim(settings.dim);
    *table->mutable_optimizer() = settings.optimizer;
    *table->mutable_initializer() = settings.initializer;
    if (settings.popularity) table->mutable_popularity()->set_half_life_steps(7);
  }
  return job;
}

class ServerTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    dir_ = ScratchDir("server");
    client_ = runtime::ClientSocket::Create(context_);
  }
  void TearDown() override {
    server_.reset();
    fs::remove_all(dir_);
  }

  // And waits until it is registered.
  Status StartServer(uint32_t shards) {
    const int before = scheduler_.nodes();
    EMPORIUM_RETURN_IF_ERROR(StartUnregistered(shards));
    scheduler_.Registered(before + 1);
    return Status::Ok();
  }
  Status StartUnregistered(uint32_t shards) {
    server_.reset();
    ServerConfig config;
    config.job = JobOf();
    config.job_fingerprint = kJob;
    config.host_name = "here";
    for (uint32_t s = 0; s < shards; ++s) {
      const std::string endpoint = GetParam();
      const bool tcp = endpoint.starts_with("tcp");
      config.endpoints.push_back(tcp ? endpoint : endpoint + std::to_string(s));
    }
    config.context = &context_;
    config.scheduler = &scheduler_;
    EMPORIUM_ASSIGN_OR_RETURN(server_, Server::Start(std::move(config)));
    const std::vector<std::string> endpoints = server_->endpoints();
    route_.version = static_cast<int64_t>(kRoute.value());
    route_.endpoint_of_shard = endpoints;
    route_.shard_of_partition.clear();
    for (ShardId s : runtime::EvenAssignment(kPartitions, shards)) {
      route_.shard_of_partition.push_back(s.value());
    }
    for (size_t s = 0; s < endpoints.size(); ++s) {
      EMPORIUM_RETURN_IF_ERROR(client_->Connect(s, endpoints[s]));
    }
    return Status::Ok();
  }

  control::Report Restore(const std::string& dir) {
    control::Command command;
    command.kind = control::CommandKind::RESTORE;
    command.checkpoint_dir = dir;
    command.route = route_;
    return scheduler_.Do(command);
  }
  control::Report TakeCut(const std::string& dir, int32_t stage, int64_t step, int64_t parent) {
    control::Command command;
    command.kind = control::CommandKind::CHECKPOINT;
    command.checkpoint_dir = dir;
    command.stage = stage;
    command.until_step = step;
    command.checkpoint = ++checkpoint_;
    command.parent = parent;
    return scheduler_.Do(command);
  }
  // What came of it: of the cut, if that failed.
  control::Report Checkpoint(const std::string& dir, int32_t stage, int64_t step,
                             int64_t parent = 0) {
    const control::Report cut = TakeCut(dir, stage, step, parent);
    return cut.error.empty() ? scheduler_.Written(checkpoint_) : cut;
  }
  // What a scheduler makes of the shards' files: the manifest, and the digest in it.
  static std::string Seal(const std::string& dir, const control::Report& report) {
    spec::CheckpointManifest manifest;
    std::map<PartitionId, std::string> digests;
    for (const control::ShardFile& shard_file : report.shard_files) {
      spec::ManifestFile* file = manifest.add_file();
      file->set_path(shard_file.path);
      file->set_bytes(static_cast<uint64_t>(shard_file.bytes));
      file->set_xxh3(shard_file.xxh3);
      for (const auto& [p, digest] : shard_file.partition_digests) {
        digests[PartitionId(static_cast<uint16_t>(p))] = digest;
      }
    }
    manifest.set_job_fingerprint(kJob);
    manifest.set_partitions(kPartitions);
    manifest.set_format(runtime::kCheckpointFormat);
    manifest.set_content_digest(runtime::ContentDigest(digests, kPartitions).value());
    EXPECT_TRUE(runtime::WriteManifest(dir, manifest).ok());
    return manifest.content_digest();
  }

  Answer Receive() {
    size_t peer = 0;
    runtime::Message message;
    EMPORIUM_CHECK(client_->Receive(peer, message, 20'000), "the server answers");
    return Decode({message.bytes().begin(), message.bytes().end()});
  }
  Answer Ask(size_t shard, const FrameHeader& header, const Payload& payload) {
    client_->Send(shard, Encode(header, payload));
    return Receive();
  }
  // Steps [from, until), two micro-batches each, to every shard.
  void TrainSteps(uint32_t shards, uint64_t from, uint64_t until) {
    const Cluster router(shards);
    for (uint64_t t = from; t < until; ++t) {
      for (uint32_t m = 0; m < 2; ++m) {
        for (size_t s = 0; s < shards; ++s) {
          const Payload part = router.PartOf(s, MicroBatchOf(t, m));
          EXPECT_EQ(Ask(s, PushHeader(1, t, m, 2), part).type(), FrameType::kAck);
        }
      }
    }
  }

  runtime::Context context_;
  TestScheduler scheduler_;
  std::unique_ptr<runtime::ClientSocket> client_;
  std::unique_ptr<Server> server_;
  control::Route route_;
  int64_t checkpoint_ = 0;  // number of the newest
  std::string dir_;
};

TEST_P(ServerTest, TrainsCheckpointsAndIsRestoredInAnotherShape) {
  ASSERT_EQ(StartServer(2).ToString(), "ok");
  const control::Registration registration = scheduler_.Registered(1);
  EXPECT_EQ(registration.kind, control::NodeKind::SERVER);
  EXPECT_EQ(registration.shard_endpoints, server_->endpoints());
  EXPECT_EQ(registration.job_fingerprint, kJob);
  EXPECT_EQ(Restore("").error, "");
  TrainSteps(2, 0, 3);
  const control::Report report = Checkpoint(dir_ + "/a", 1, 3);
  ASSERT_EQ(report.error, "");
  ASSERT_THAT(report.shard_files, SizeIs(2));
  const std::string digest = Seal(dir_ + "/a", report);
  // Files are told until they have arrived, then no more; numbers of tables follow.
  const control::Report later = scheduler_.Later(3);
  EXPECT_THAT(later.shard_files, IsEmpty());
  ASSERT_THAT(later.tables, SizeIs(3));  // with the group of dense parameters that every job has
  EXPECT_EQ(later.tables[0].table, "bias");
  EXPECT_GT(later.tables[0].rows, 20);
  EXPECT_GT(later.counters.bytes_pushed, 1000);
  EXPECT_GT(later.seconds_by_part.at("checkpoint"), 0);
  TrainSteps(2, 3, 5);
  const std::string later_digest = Seal(dir_ + "/b", Checkpoint(dir_ + "/b", 1, 5));

  ASSERT_EQ(StartServer(3).ToString(), "ok");
  ASSERT_EQ(Restore(dir_ + "/a").error, "");
  EXPECT_EQ(Seal(dir_ + "/c", Checkpoint(dir_ + "/c", 1, 3)), digest);
  TrainSteps(3, 3, 5);
  EXPECT_EQ(Seal(dir_ + "/d", Checkpoint(dir_ + "/d", 1, 5)), later_digest);
  // Back again on the running server.
  ASSERT_EQ(Restore(dir_ + "/a").error, "");
  EXPECT_EQ(Seal(dir_ + "/e", Checkpoint(dir_ + "/e", 1, 3)), digest);
}

TEST_P(ServerTest, TrainsWhileFilesAreWritten) {
  ASSERT_EQ(StartServer(2).ToString(), "ok");
  ASSERT_EQ(Restore("").error, "");
  TrainSteps(2, 0, 3);
  ASSERT_EQ(TakeCut(dir_ + "/a", 1, 3, 0).error, "");
  TrainSteps(2, 3, 9);
  const std::string at_three = Seal(dir_ + "/a", scheduler_.Written(checkpoint_));
  // Changes alone, which nobody can use when more was asked for than is known.
  ASSERT_EQ(TakeCut(dir_ + "/b", 1, 9, checkpoint_).error, "");
  TrainSteps(2, 9, 11);
  const control::Report changes = scheduler_.Written(checkpoint_);
  ASSERT_THAT(changes.shard_files, SizeIs(2));
  EXPECT_EQ(changes.shard_files[0].parent, 1);
  EXPECT_EQ(changes.shard_files[1].parent, 1);
  const control::Report whole = Checkpoint(dir_ + "/c", 1, 11, 1);
  ASSERT_THAT(whole.shard_files, SizeIs(2));
  EXPECT_EQ(whole.shard_files[0].parent, 0);
  const std::string at_eleven = Seal(dir_ + "/c", whole);

  ASSERT_EQ(StartServer(1).ToString(), "ok");
  ASSERT_EQ(Restore("").error, "");
  TrainSteps(1, 0, 3);
  EXPECT_EQ(Seal(dir_ + "/d", Checkpoint(dir_ + "/d", 1, 3)), at_three);
  TrainSteps(1, 3, 11);
  EXPECT_EQ(Seal(dir_ + "/e", Checkpoint(dir_ + "/e", 1, 11)), at_eleven);
}

TEST_P(ServerTest, GivesUpWhatIsBeingWrittenForWhatComesNext) {
  ASSERT_EQ(StartServer(2).ToString(), "ok");
  ASSERT_EQ(Restore("").error, "");
  for (int64_t round = 0; round < 20; ++round) {
    const auto step = static_cast<uint64_t>(round);
    TrainSteps(2, step, step + 1);
    ASSERT_EQ(TakeCut(dir_ + "/given-up", 1, round + 1, 0).error, "");
  }
  const std::string digest = Seal(dir_ + "/a", Checkpoint(dir_ + "/a", 1, 20));
  ASSERT_EQ(TakeCut(dir_ + "/given-up", 1, 20, 0).error, "");
  ASSERT_EQ(Restore(dir_ + "/a").error, "");
  EXPECT_EQ(Seal(dir_ + "/b", Checkpoint(dir_ + "/b", 1, 20)), digest);
  for (const auto& file : fs::recursive_directory_iterator(dir_)) {
    EXPECT_EQ(file.path().string().find(".tmp-"), std::string::npos) << file.path();
  }
}

TEST_P(ServerTest, BeforeTheRestoreItIsBusy) {
  ASSERT_EQ(StartServer(1).ToString(), "ok");
  EXPECT_EQ(Ask(0, Header(FrameType::kPull, 0, 0), {}).error(), StatusCode::kBusy);
  EXPECT_EQ(Checkpoint(dir_, 0, 0).error_code, static_cast<int>(StatusCode::kFailedPrecondition));
  ASSERT_EQ(Restore("").error, "");
  EXPECT_EQ(Ask(0, Header(FrameType::kPull, 0, 0), {}).type(), FrameType::kPullReply);
}

TEST_P(ServerTest, GarbageIsCountedAndServiceGoesOn) {
  ASSERT_EQ(StartServer(1).ToString(), "ok");
  ASSERT_EQ(Restore("").error, "");
  for (size_t n : {0u, 1u, 95u, 96u, 100'000u}) {
    client_->Send(0, Bytes(n, std::byte{0x5a}));
  }
  EXPECT_EQ(Ask(0, Header(FrameType::kPull, 0, 0), {}).type(), FrameType::kPullReply);
  EXPECT_EQ(scheduler_.Later(4).counters.refused_frames, 5);
}

TEST_P(ServerTest, WhatCannotBeDoneIsReported) {
  ASSERT_EQ(StartServer(1).ToString(), "ok");
  ASSERT_EQ(Restore("").error, "");
  TrainSteps(1, 0, 2);
  const control::Report wrong_step = Checkpoint(dir_ + "/x", 1, 7);
  EXPECT_EQ(wrong_step.error_code, static_cast<int>(StatusCode::kFailedPrecondition));
  EXPECT_THAT(wrong_step.error, AllOf(HasSubstr("step 7"), HasSubstr("step 2")));
  EXPECT_THAT(wrong_step.shard_files, IsEmpty());
  const control::Report no_place = Checkpoint("/proc/no/such/place", 1, 2);
  EXPECT_THAT(no_place.error, HasSubstr("/proc/no"));
  // Training goes on, and the next one succeeds.
  TrainSteps(1, 2, 3);
  const control::Report good = Checkpoint(dir_ + "/y", 1, 3);
  EXPECT_EQ(good.error, "");
  Seal(dir_ + "/y", good);
  fs::resize_file(dir_ + "/y/shard-0.h5", 1000);
  const control::Report damaged = Restore(dir_ + "/y");
  EXPECT_EQ(damaged.error_code, static_cast<int>(StatusCode::kDataLoss));
  EXPECT_THAT(damaged.error, HasSubstr("shard-0.h5: has 1000 bytes"));
  EXPECT_THAT(Restore(dir_ + "/none").error, HasSubstr("none"));
  control::Command train;
  train.kind = control::CommandKind::TRAIN;
  EXPECT_THAT(scheduler_.Do(train).error, HasSubstr("does not know command"));
  EXPECT_EQ(Restore("").error, "");
}

TEST_P(ServerTest, OutlivesTheScheduler) {
  ASSERT_EQ(StartServer(1).ToString(), "ok");
  ASSERT_EQ(Restore("").error, "");
  scheduler_.set_unreachable(true);
  TrainSteps(1, 0, 2);
  scheduler_.set_unreachable(false);
  EXPECT_EQ(Checkpoint(dir_, 1, 2).error, "");
  // One that has forgotten the server gets to know it again, and says what to restore.
  scheduler_.Forget();
  scheduler_.Registered(3);
  EXPECT_EQ(Restore("").error, "");
}

TEST_P(ServerTest, LeavesWhenTold) {
  ASSERT_EQ(StartServer(2).ToString(), "ok");
  ASSERT_EQ(Restore("").error, "");
  control::Command stop;
  stop.kind = control::CommandKind::STOP;
  const control::Report report = scheduler_.Do(stop);
  EXPECT_TRUE(report.leaving);
  EXPECT_EQ(server_->Join().ToString(), "ok");

  ASSERT_EQ(StartServer(1).ToString(), "ok");
  server_->RequestStop();
  EXPECT_EQ(server_->Join().ToString(), "ok");
  EXPECT_TRUE(scheduler_.last_report().leaving);
}

TEST_P(ServerTest, LeavesWhileTheSchedulerIsGone) {
  scheduler_.set_unreachable(true);
  ASSERT_EQ(StartServer(1).ToString(), "ok");
  server_->RequestStop();
  EXPECT_EQ(server_->Join().ToString(), "ok");
}

TEST_P(ServerTest, AnotherJobsSchedulerSendsItAway) {
  scheduler_.refuse_registration();
  ASSERT_EQ(StartUnregistered(1).ToString(), "ok");
  const Status status = server_->Join();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("another job"));
}

TEST_P(ServerTest, AnEndpointInUseIsNamed) {
  ASSERT_EQ(StartServer(1).ToString(), "ok");
  ServerConfig config;
  config.endpoints = {server_->endpoints()[0]};
  config.context = &context_;
  config.scheduler = &scheduler_;
  const Result<std::unique_ptr<Server>> second = Server::Start(std::move(config));
  EXPECT_EQ(second.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(second.status().message(), HasSubstr(server_->endpoints()[0]));
}

INSTANTIATE_TEST_SUITE_P(Transports, ServerTest,
                         ::testing::Values("inproc://server-test-", "tcp://127.0.0.1:0"),
                         [](const ::testing::TestParamInfo<const char*>& info) {
                           return info.index == 0 ? "Inproc" : "Tcp";
                         });

}  // namespace
}  // namespace emporium::ps
