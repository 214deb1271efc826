// The service with nodes that are threads of this process, on a real disk; and its HTTP side.
#include "scheduler/service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/control_client.h"
#include "runtime/file.h"
#include "runtime/log.h"
#include "runtime/manifest.h"
#include "scheduler/http.h"
#include "tests/scheduler/jobs.h"

namespace emporium::scheduler::testing {
namespace {

using control::CommandKind;
using nlohmann::json;
using runtime::CallScheduler;
using ::testing::HasSubstr;

control::DatasetFacts Facts() {
  control::DatasetFacts facts;
  facts.digest = "data";
  facts.train_samples_of_stage = {175, 52, 0, 0};
  facts.chunks_of_stage = {0, 0, 5, 4};
  facts.validation_chunks_of_stage = {0, 3, 0, 0};
  return facts;
}

control::Registration RegistrationOf(control::NodeKind::type kind) {
  control::Registration registration;
  registration.kind = kind;
  registration.host_name = "here";
  registration.pid = ::getpid();
  registration.job_fingerprint = "f";
  if (kind == control::NodeKind::SERVER) {
    registration.shard_endpoints = {"inproc://a", "inproc://b"};
  } else {
    registration.facts = Facts();
  }
  return registration;
}

// A node that does what it is told, at once, and writes files that stand for shards.
class TestNode {
 public:
  TestNode(control::SchedulerIf* scheduler, control::NodeKind::type kind, bool hold = false)
      : scheduler_(scheduler), kind_(kind), hold_(hold), thread_([this] { Run(); }) {}
  ~TestNode() { thread_.join(); }
  Status outcome() {
    thread_.join();
    thread_ = std::thread([] {});
    return outcome_;
  }

 private:
  void Run() {
    control::Registered registered;
    outcome_ = CallScheduler([&] { scheduler_->registerNode(registered, RegistrationOf(kind_)); });
    if (!outcome_.ok()) return;
    report_.node = registered.node;
    report_.incarnation = registered.incarnation;
    report_.highest_step = -1;
    first_shard_ = registered.first_shard;
    while (!report_.leaving) {
      control::Command command;
      outcome_ = CallScheduler([&] { scheduler_->await(command, report_); });
      if (!outcome_.ok()) return;
      report_.losses.clear();
      if (command.sequence > report_.seen_sequence) Obey(command);
    }
    control::Command ignored;
    outcome_ = CallScheduler([&] { scheduler_->await(ignored, report_); });
  }

  void Obey(const control::Command& command) {
    report_.seen_sequence = command.sequence;
    switch (command.kind) {
      case CommandKind::STOP:
        report_.leaving = true;
        break;
      case CommandKind::CHECKPOINT:
        WriteFiles(command);
        break;
      case CommandKind::TRAIN:
        report_.highest_step = command.from_step;
        if (hold_) {
          hold_ = false;
          return;  // until a pause comes
        }
        Train(command);
        break;
      case CommandKind::EVALUATE:
      case CommandKind::EXPORT:
        for (int64_t c = command.rank; c < command.chunks; c += command.workers) {
          scheduler_->putChunk(report_.node, report_.incarnation, command.stage, command.validation,
                               command.from_step, c, std::to_string(c));
        }
        break;
      case CommandKind::COMBINE:
        Combine(command);
        break;
      default:
        break;
    }
    report_.done_sequence = command.sequence;
  }

  void Train(const control::Command& command) {
    for (int64_t step = command.from_step; step < command.until_step; ++step) {
      for (int32_t m = command.rank; m < 4; m += command.workers) {
        control::MicroBatchLoss loss;
        loss.step = step;
        loss.micro_batch = m;
        loss.samples = 10;
        loss.terms["loss"] = 2.5;
        report_.losses.push_back(loss);
      }
    }
    report_.highest_step = command.until_step - 1;
  }

  void Combine(const control::Command& command) {
    std::vector<std::string> all;
    while (static_cast<int64_t>(all.size()) < command.chunks) {
      std::vector<std::string> some;
      scheduler_->getChunks(some, report_.node, report_.incarnation, command.stage,
                            command.validation, command.from_step,
                            static_cast<int64_t>(all.size()));
      all.insert(all.end(), some.begin(), some.end());
    }
    std::vector<control::Metric> metrics(1);
    metrics[0].name = "m";
    metrics[0].value = static_cast<double>(all.size());
    scheduler_->putMetrics(report_.node, report_.incarnation, command.stage, command.validation,
                           command.from_step, metrics);
  }

  void WriteFiles(const control::Command& command) {
    report_.shard_files.clear();
    report_.checkpoint = command.checkpoint;
    const auto& owners = command.route.shard_of_partition;
    for (int32_t shard = first_shard_; shard < first_shard_ + 2; ++shard) {
      control::ShardFile file;
      file.shard = shard;
      file.path = "shard-" + std::to_string(shard);
      const std::string path = command.checkpoint_dir + "/" + file.path;
      EXPECT_TRUE(runtime::WriteFileDurably(path, "rows").ok());
      file.bytes = 4;
      file.xxh3 = runtime::Xxh3OfFile(path).value();
      for (size_t p = 0; p < owners.size(); ++p) {
        if (owners[p] == shard) {
          file.partition_digests[static_cast<int32_t>(p)] = std::string(32, 'd');
        }
      }
      report_.shard_files.push_back(file);
    }
  }

  control::SchedulerIf* const scheduler_;
  const control::NodeKind::type kind_;
  bool hold_;
  control::Report report_;
  int32_t first_shard_ = 0;
  Status outcome_;
  std::thread thread_;
};

class ServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    runtime::SetLogToStderr(false);
    dir_ = ::testing::TempDir() + "/emporium-service-" + std::to_string(::getpid());
    std::filesystem::remove_all(dir_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  SchedulerService::Config MakeConfig(uint32_t workers) {
    SchedulerService::Config config;
    config.job = TwoStageJob();
    config.job_text = "name: 'j'";
    config.fingerprint = "f";
    config.work_dir = dir_;
    config.workers = workers;
    config.clock = &clock_;
    config.heartbeat_ms = 50;
    return config;
  }
  std::unique_ptr<SchedulerService> StartService(uint32_t workers) {
    auto service = SchedulerService::Start(MakeConfig(workers));
    EXPECT_TRUE(service.ok()) << service.status().ToString();
    return std::move(service).value();
  }
  // The whole job with two workers; its result.
  Status RunJob() {
    auto service = StartService(2);
    if (service->WaitFor(0)) return service->WaitUntilDone();
    TestNode server(service.get(), control::NodeKind::SERVER);
    TestNode one(service.get(), control::NodeKind::WORKER);
    TestNode two(service.get(), control::NodeKind::WORKER);
    const Status result = service->WaitUntilDone();
    for (TestNode* node : {&server, &one, &two}) EXPECT_TRUE(node->outcome().ok());
    last_status_ = json::parse(service->StatusJson());
    return result;
  }

  runtime::SystemClock clock_;
  std::string dir_;
  json last_status_;
};

TEST_F(ServiceTest, RunsAJobAndKnowsItAfterwards) {
  const Status result = RunJob();
  ASSERT_TRUE(result.ok()) << result.ToString();
  EXPECT_EQ(last_status_["state"], "over");
  EXPECT_EQ(last_status_["result"]["ok"], true);
  EXPECT_EQ(last_status_["stages"][0]["done"], 10);
  EXPECT_EQ(last_status_["stages"][0]["losses"]["loss"], 2.5);
  EXPECT_EQ(last_status_["stages"][2]["metrics"]["m"], 5);
  EXPECT_EQ(last_status_["stages"][1]["validations"][0]["metrics"]["m"], 3);

  const auto all = runtime::ListCheckpoints(dir_ + "/checkpoints");
  ASSERT_EQ(all->size(), 2u);
  for (const auto& info : *all) {
    EXPECT_TRUE(info.status.ok());
    EXPECT_TRUE(runtime::VerifyFiles(info.dir, info.manifest).ok());
    EXPECT_EQ(info.manifest.job_text(), "name: 'j'");
  }
  auto again = StartService(2);
  EXPECT_TRUE(again->WaitFor(0));
  EXPECT_TRUE(again->WaitUntilDone().ok());
  const std::vector<StageOutcome> outcomes = again->outcomes();
  ASSERT_EQ(outcomes.size(), 4u);
  EXPECT_EQ(outcomes[2].name, "test");
  EXPECT_EQ(outcomes[2].kind, "evaluate");
  EXPECT_TRUE(outcomes[3].done);
  EXPECT_EQ(outcomes[2].metrics, (Metrics{{"m", 5}}));
  EXPECT_GT(json::parse(again->StatusJson())["events"].size(), 10u);
}

TEST_F(ServiceTest, StopsWithACheckpointAndGoesOn) {
  {
    auto service = StartService(1);
    TestNode server(service.get(), control::NodeKind::SERVER);
    TestNode worker(service.get(), control::NodeKind::WORKER, true);
    while (service->progress().doing != "training") std::this_thread::yield();
    service->RequestStop("interrupted");
    const Status result = service->WaitUntilDone();
    EXPECT_EQ(result.code(), StatusCode::kCancelled);
    EXPECT_THAT(result.message(),
                HasSubstr("goes on from checkpoint 1 (stage 'pretrain', step 1)"));
  }
  const Status result = RunJob();
  EXPECT_TRUE(result.ok()) << result.ToString();
  EXPECT_EQ(last_status_["stages"][0]["done"], 10);
}

TEST_F(ServiceTest, GoesOnFromAnOlderCheckpointWhenTheNewestIsDamaged) {
  ASSERT_TRUE(RunJob().ok());
  const auto all = runtime::ListCheckpoints(dir_ + "/checkpoints");
  std::ofstream(all->back().dir + "/shard-1") << "rowz";  // same size
  std::filesystem::create_directories(dir_ + "/checkpoints/checkpoint-000099");
  {
    auto service = StartService(1);
    EXPECT_FALSE(service->WaitFor(0));
    const std::string status = service->StatusJson();
    EXPECT_THAT(status, HasSubstr("passed over: "));
    EXPECT_THAT(status, HasSubstr("checkpoint-000099 was never finished; removed"));
    EXPECT_THAT(status,
                HasSubstr("going on from checkpoint " + std::to_string(all->front().number) + " "));
  }
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/checkpoints/checkpoint-000099"));
  std::ofstream(all->front().dir + "/shard-0") << "r";
  auto none = SchedulerService::Start(MakeConfig(1));
  EXPECT_EQ(none.status().code(), StatusCode::kDataLoss);
  EXPECT_THAT(none.status().message(), HasSubstr("remove that directory to begin anew"));
}

TEST_F(ServiceTest, RefusesAWorkDirOfAnotherJob) {
  ASSERT_TRUE(RunJob().ok());
  SchedulerService::Config config = MakeConfig(1);
  config.fingerprint = "g";
  auto other = SchedulerService::Start(config);
  EXPECT_EQ(other.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(other.status().message(), HasSubstr("choose another work_dir"));
  // Without checkpoints nothing is lost by beginning anew.
  std::filesystem::remove_all(dir_ + "/checkpoints");
  auto anew = SchedulerService::Start(config);
  ASSERT_TRUE(anew.ok()) << anew.status().ToString();
  EXPECT_FALSE((*anew)->WaitFor(0));
}

TEST_F(ServiceTest, AwaitWaitsForAHeartbeatAndKnowsStaleNodes) {
  auto service = StartService(1);
  control::Registered registered;
  control::Registration registration = RegistrationOf(control::NodeKind::WORKER);
  registration.started_ms = 17;
  service->registerNode(registered, registration);
  control::Report report;
  report.node = registered.node;
  report.incarnation = registered.incarnation;
  report.counters.first_push_ms = 19;
  control::Command command;
  EXPECT_TRUE(CallScheduler([&] { service->await(command, report); }).ok());
  EXPECT_EQ(command.kind, CommandKind::WAIT);
  report.incarnation += 1;
  EXPECT_EQ(CallScheduler([&] { service->await(command, report); }).code(), StatusCode::kStale);
  EXPECT_EQ(
      CallScheduler([&] { service->putChunk(registered.node, 7, 0, false, 0, 0, ""); }).code(),
      StatusCode::kStale);
  EXPECT_EQ(CallScheduler([&] { service->requestCheckpoint(); }).code(),
            StatusCode::kFailedPrecondition);
  control::JobStatus status;
  service->status(status);
  const json nodes = json::parse(status.json)["nodes"];
  ASSERT_EQ(nodes.size(), 1u);
  EXPECT_EQ(nodes[0]["started_unix_ms"], 17);
  EXPECT_EQ(nodes[0]["first_push_unix_ms"], 19);
}

TEST_F(ServiceTest, CloseLetsBlockedCallsGo) {
  SchedulerService::Config config = MakeConfig(1);
  config.heartbeat_ms = 60'000;
  config.lease_ms = 600'000;
  auto service = std::move(SchedulerService::Start(config)).value();
  control::Registered registered;
  service->registerNode(registered, RegistrationOf(control::NodeKind::WORKER));
  std::atomic<bool> entered = false;
  std::thread waiter([&] {
    control::Report report;
    report.node = registered.node;
    report.incarnation = registered.incarnation;
    control::Command command;
    entered = true;
    (void)CallScheduler([&] { service->await(command, report); });
  });
  while (!entered) std::this_thread::yield();
  service->Close();
  waiter.join();
  EXPECT_EQ(service->WaitUntilDone().code(), StatusCode::kCancelled);
  EXPECT_EQ(CallScheduler([&] { service->requestStop("x"); }).code(), StatusCode::kCancelled);
}

TEST_F(ServiceTest, ASilentServerIsTakenForLost) {
  SchedulerService::Config config = MakeConfig(1);
  config.lease_ms = 300;
  auto service = std::move(SchedulerService::Start(config)).value();
  control::Registered registered;
  service->registerNode(registered, RegistrationOf(control::NodeKind::SERVER));
  TestNode worker(service.get(), control::NodeKind::WORKER);  // the job begins, the server is mute
  while (service->StatusJson().find("was silent for longer than its lease") == std::string::npos) {
    EXPECT_FALSE(service->WaitFor(20));
  }
  TestNode server(service.get(), control::NodeKind::SERVER);  // another one takes its place
  EXPECT_TRUE(service->WaitUntilDone().ok());
}

// ---- HTTP --------------------------------------------------------------------------------------

TEST_F(ServiceTest, ServesStatusAndMetricsOverHttp) {
  auto service = StartService(1);
  auto http = HttpServer::Start(
      "127.0.0.1", 0, [&] { return service->StatusJson(); },
      [&] { return service->PrometheusText(); });
  ASSERT_TRUE(http.ok()) << http.status().ToString();
  httplib::Client client("127.0.0.1", (*http)->port());
  auto status = client.Get("/status");
  ASSERT_TRUE(status);
  EXPECT_EQ(status->status, 200);
  EXPECT_EQ(json::parse(status->body)["state"], "waiting for nodes");
  EXPECT_THAT(client.Get("/metrics")->body, HasSubstr("emporium_workers 0"));
  EXPECT_EQ(client.Get("/healthz")->body, "ok\n");
  EXPECT_EQ(client.Get("/nothing")->status, 404);
  EXPECT_EQ(client.Post("/status", std::string(1 << 20, 'x'), "text/plain")->status, 413);

  auto taken = HttpServer::Start(
      "127.0.0.1", (*http)->port(), [] { return ""; }, [] { return ""; });
  EXPECT_EQ(taken.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(taken.status().message(), HasSubstr("the port is in use"));
  auto open = HttpServer::Start(
      "0.0.0.0", 0, [] { return ""; }, [] { return ""; });
  EXPECT_EQ(open.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_FALSE(HttpServer::Start(
                   "127.0.0.1", 70'000, [] { return ""; }, [] { return ""; })
                   .ok());
  (*http)->Stop();
  EXPECT_FALSE(client.Get("/healthz"));
}

TEST(HttpServer, StartsAndStopsManyTimes) {
  for (int i = 0; i < 50; ++i) {
    auto http = HttpServer::Start(
        "127.0.0.1", 0, [] { return ""; }, [] { return ""; });
    ASSERT_TRUE(http.ok()) << http.status().ToString();
  }
}

}  // namespace
}  // namespace emporium::scheduler::testing
