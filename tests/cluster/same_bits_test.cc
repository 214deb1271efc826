// The promise that everything else leans on: the model is the same bits for any number of workers,
// shards and lanes, in one process or many, and whatever is killed or interrupted on the way.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/cluster/small_job.h"

namespace emporium::cluster {
namespace {

std::vector<std::string> Shape(int workers, int servers, int shards, int lanes) {
  return {"--workers=" + std::to_string(workers), "--servers=" + std::to_string(servers),
          "--shards_per_server=" + std::to_string(shards), "--lanes=" + std::to_string(lanes)};
}

TEST(SameBits, InEveryShape) {
  const SmallJob job;
  const Output run = RunEmporium(job.Arguments("run", "run", Shape(1, 1, 1, 1)));
  ASSERT_EQ(run.code, 0) << run.text;
  const std::string digest = job.Digest("run");
  ASSERT_EQ(digest.size(), 64u) << run.text;
  struct Case {
    int workers, servers, shards, lanes;
  };
  for (const Case& c :
       {Case{1, 1, 1, 1}, Case{1, 2, 2, 2}, Case{2, 3, 1, 1}, Case{3, 1, 2, 1}, Case{4, 1, 1, 2}}) {
    const std::string name = "launch-" + std::to_string(c.workers) + "-" +
                             std::to_string(c.servers * c.shards) + "-" + std::to_string(c.lanes);
    const Output launch =
        RunEmporium(job.Arguments("launch", name, Shape(c.workers, c.servers, c.shards, c.lanes)));
    ASSERT_EQ(launch.code, 0) << name << "\n" << launch.text;
    EXPECT_EQ(job.Digest(name), digest) << name;
  }
}

// Gradients are clipped by a norm over all shards, and a worker is killed on the way.
TEST(SameBits, WhenGradientsAreClippedByTheirNorm) {
  const SmallJob job(12, 0, "clip_global_norm: 0.05");
  const Output run = RunEmporium(job.Arguments("run", "run", Shape(1, 1, 1, 1)));
  ASSERT_EQ(run.code, 0) << run.text;
  const std::string digest = job.Digest("run");
  ASSERT_EQ(digest.size(), 64u) << run.text;
  EXPECT_NE(ReadText(job.work_dir("run") + "/status.json").find("gradient_norm"),
            std::string::npos);
  const SmallJob plain(12);
  ASSERT_EQ(RunEmporium(plain.Arguments("run", "run", Shape(1, 1, 1, 1))).code, 0);
  EXPECT_NE(plain.Digest("run"), digest);

  const Output launch = RunEmporium(job.Arguments("launch", "launch", Shape(3, 2, 2, 1)));
  ASSERT_EQ(launch.code, 0) << launch.text;
  EXPECT_EQ(job.Digest("launch"), digest);

  Program killed(job.Arguments("launch", "killed", Shape(2, 1, 2, 2)));
  ASSERT_TRUE(killed.WaitForText("pretrain ["));
  const std::vector<pid_t> workers = ChildrenWithVerb(killed.pid(), "worker");
  ASSERT_EQ(workers.size(), 2u);
  kill(workers[1], SIGKILL);
  const Output output = killed.Finish();
  EXPECT_EQ(output.code, 0) << output.text;
  EXPECT_NE(output.text.find("was killed by signal 9"), std::string::npos) << output.text;
  EXPECT_EQ(job.Digest("killed"), digest);
}

// A job that is long enough to be caught in the middle, and what it comes to undisturbed.
class Disturbed : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    job_ = new SmallJob(30, 15);
    const Output run = RunEmporium(job_->Arguments("run", "calm"));
    ASSERT_EQ(run.code, 0) << run.text;
    digest_ = job_->Digest("calm");
    ASSERT_EQ(digest_.size(), 64u);
  }
  static void TearDownTestSuite() { delete job_; }

  // Starts a launch and waits until it trains.
  static std::unique_ptr<Program> Launch(const std::string& name) {
    auto program = std::make_unique<Program>(job_->Arguments("launch", name, Shape(2, 1, 2, 1)));
    EXPECT_TRUE(program->WaitForText("pretrain [")) << "never trained";
    return program;
  }
  // Micro-batches that workers have computed for others so far.
  static int64_t Backups(const std::string& name) {
    const Output status = RunEmporium(job_->Arguments("status", name));
    const auto json = nlohmann::json::parse(status.text, nullptr, false);
    int64_t backups = 0;
    if (json.is_discarded()) return backups;
    for (const auto& node : json.value("nodes", nlohmann::json::array())) {
      backups += node.at("counters").at("backup_micro_batches").get<int64_t>();
    }
    return backups;
  }
  // The same command again, to the end.
  static void ExpectGoesOn(const std::string& name) {
    const Output again = RunEmporium(job_->Arguments("launch", name, Shape(1, 1, 1, 2)));
    EXPECT_EQ(again.code, 0) << again.text;
    EXPECT_EQ(job_->Digest(name), digest_);
  }

  static SmallJob* job_;
  static std::string digest_;
};
SmallJob* Disturbed::job_ = nullptr;
std::string Disturbed::digest_;

TEST_F(Disturbed, AWorkerIsKilled) {
  const std::unique_ptr<Program> launch = Launch("worker-killed");
  const std::vector<pid_t> workers = ChildrenWithVerb(launch->pid(), "worker");
  ASSERT_EQ(workers.size(), 2u);
  kill(workers[0], SIGKILL);
  const Output output = launch->Finish();
  EXPECT_EQ(output.code, 0) << output.text;
  EXPECT_NE(output.text.find("was killed by signal 9"), std::string::npos) << output.text;
  EXPECT_EQ(job_->Digest("worker-killed"), digest_);
}

// A worker is stopped again and again, for less than its lease: the other one does what is its to
// do.
TEST_F(Disturbed, AWorkerIsSlow) {
  const std::unique_ptr<Program> launch = Launch("worker-slow");
  const std::vector<pid_t> workers = ChildrenWithVerb(launch->pid(), "worker");
  ASSERT_EQ(workers.size(), 2u);
  int64_t backups = 0;
  for (int burst = 0; burst < 15 && backups == 0; ++burst) {
    kill(workers[1], SIGSTOP);
    std::this_thread::sleep_for(std::chrono::milliseconds(700));
    kill(workers[1], SIGCONT);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    backups = Backups("worker-slow");
  }
  const Output output = launch->Finish();
  EXPECT_EQ(output.code, 0) << output.text;
  EXPECT_GT(backups, 0);
  EXPECT_EQ(output.text.find("was silent"), std::string::npos) << output.text;
  EXPECT_EQ(job_->Digest("worker-slow"), digest_);
}

TEST_F(Disturbed, AServerIsKilled) {
  const std::unique_ptr<Program> launch = Launch("server-killed");
  const std::vector<pid_t> servers = ChildrenWithVerb(launch->pid(), "server");
  ASSERT_EQ(servers.size(), 1u);
  kill(servers[0], SIGKILL);
  const Output output = launch->Finish();
  EXPECT_EQ(output.code, 0) << output.text;
  EXPECT_NE(output.text.find("server-0 was killed by signal 9"), std::string::npos) << output.text;
  EXPECT_EQ(job_->Digest("server-killed"), digest_);
}

TEST_F(Disturbed, TheSchedulerIsKilled) {
  const std::unique_ptr<Program> launch = Launch("scheduler-killed");
  const std::vector<pid_t> schedulers = ChildrenWithVerb(launch->pid(), "scheduler");
  ASSERT_EQ(schedulers.size(), 1u);
  kill(schedulers[0], SIGKILL);
  const Output output = launch->Finish();
  EXPECT_EQ(output.code, 0) << output.text;
  EXPECT_NE(output.text.find("scheduler was killed by signal 9"), std::string::npos) << output.text;
  EXPECT_EQ(job_->Digest("scheduler-killed"), digest_);
}

TEST_F(Disturbed, TheUserStopsALaunch) {
  const std::unique_ptr<Program> launch = Launch("stopped");
  launch->Signal(SIGINT);
  const Output output = launch->Finish();
  EXPECT_EQ(output.code, 3) << output.text;
  EXPECT_NE(output.text.find("goes on from checkpoint"), std::string::npos) << output.text;
  ExpectGoesOn("stopped");
}

TEST_F(Disturbed, TheUserStopsARun) {
  Program run(job_->Arguments("run", "stopped-run"));
  ASSERT_TRUE(run.WaitForText("pretrain ["));
  run.Signal(SIGINT);
  const Output output = run.Finish();
  EXPECT_EQ(output.code, 3) << output.text;
  EXPECT_NE(output.text.find("goes on from checkpoint"), std::string::npos) << output.text;
  ExpectGoesOn("stopped-run");
}

TEST_F(Disturbed, TheWholeLaunchIsKilled) {
  const std::unique_ptr<Program> launch = Launch("all-killed");
  launch->Signal(SIGKILL);
  launch->Finish();
  ExpectGoesOn("all-killed");
}

}  // namespace
}  // namespace emporium::cluster
