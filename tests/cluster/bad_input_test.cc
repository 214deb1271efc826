// What a user, a disk or a stranger can do wrong: each gets a message that says what, where and
// what to do, and the exit code that scripts expect.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include <nlohmann/json.hpp>

#include "runtime/file.h"
#include "tests/cluster/small_job.h"

namespace emporium::cluster {
namespace {

namespace fs = std::filesystem;

void ExpectSays(const Output& output, int code, const std::string& text) {
  EXPECT_EQ(output.code, code) << output.text;
  EXPECT_NE(output.text.find(text), std::string::npos) << "no \"" << text << "\" in\n"
                                                       << output.text;
}

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Flags, AreChecked) {
  ExpectSays(RunEmporium({"frobnicate"}), 2, "unknown verb \"frobnicate\"");
  ExpectSays(RunEmporium({"run", "x.textproto", "--sped=3"}), 2, "unknown flag --sped=3 for `run`");
  ExpectSays(RunEmporium({"run", "x.textproto", "--lanes=many"}), 2, "does not take the value");
  ExpectSays(RunEmporium({"run"}), 2, "usage: emporium run JOB");
  ExpectSays(RunEmporium({"run", "missing.textproto"}), 2, "missing.textproto");
  ExpectSays(RunEmporium({"query", "/nonexistent", "--user=1"}), 1, "/nonexistent");
  ExpectSays(RunEmporium({"query", "x"}), 2, "--user=ID");
  ExpectSays(RunEmporium({}), 2, "usage: emporium VERB");
}

TEST(Help, IsThereForEveryVerb) {
  ExpectSays(RunEmporium({"--help"}), 0, "usage: emporium VERB");
  ExpectSays(RunEmporium({"--version"}), 0, "emporium ");
  ExpectSays(RunEmporium({"run", "--version"}), 0, "emporium ");
  for (const char* verb : {"run", "launch", "check", "status", "checkpoint", "convert", "generate",
                           "export", "query"}) {
    ExpectSays(RunEmporium({verb, "--help"}), 0, std::string("usage: emporium ") + verb);
  }
}

class BadData : public testing::Test {
 protected:
  std::string events() const { return job_.dir() / "events.csv"; }
  Output Check() const { return RunEmporium(job_.Arguments("check", "work")); }
  Output Start() const { return RunEmporium(job_.Arguments("run", "work")); }
  // Replaces every n-th row by one that cannot be read.
  void Break(int every) {
    std::istringstream in(ReadText(events()));
    std::string out, line;
    for (int row = 0; std::getline(in, line); ++row) {
      out += (row > 0 && row % every == 0 ? "yesterday," + line.substr(line.find(',') + 1) : line) +
             "\n";
    }
    WriteText(events(), out);
  }
  SmallJob job_{1};
};

TEST_F(BadData, JobWithATypo) {
  WriteText(job_.job_path(),
            Replaced(ReadText(job_.job_path()), "micro_batch_size: 32", "micro_batch_sise: 32"));
  ExpectSays(Check(), 2, "micro_batch_sise");
}

TEST_F(BadData, EveryFaultAtOnceWithItsLine) {
  std::string text = ReadText(job_.job_path());
  text = Replaced(text, "optimizer { rowwise_adagrad { learning_rate: 0.05 } }", "");
  text = Replaced(text, "item_feature: \"item\"", "item_feature: \"itme\"");
  WriteText(job_.job_path(), text);
  const Output output = Check();
  ExpectSays(output, 2, "small.textproto:");
  ExpectSays(output, 2, "optimizer");
  ExpectSays(output, 2, "itme");
}

TEST_F(BadData, ColumnThatTheFileLacks) {
  WriteText(events(), Replaced(ReadText(events()), "time,user,item", "time,person,item"));
  ExpectSays(Check(), 2, "person");
}

TEST_F(BadData, MissingFile) {
  fs::remove(events());
  ExpectSays(Check(), 2, "events.csv");
}

TEST_F(BadData, EmptyFile) {
  WriteText(events(), "");
  ExpectSays(Start(), 2, "empty");
}

TEST_F(BadData, OnePercentOfBrokenRowsIsSkippedAndCounted) {
  Break(100);
  const Output output = Start();
  EXPECT_EQ(output.code, 0) << output.text;
  ExpectSays(output, 0, "bad rows were skipped");
}

TEST_F(BadData, SixtyPercentOfBrokenRowsStopTheJob) {
  Break(2);
  WriteText(job_.job_path(),
            Replaced(ReadText(job_.job_path()), "data {", "data { max_bad_rows: 10"));
  ExpectSays(Start(), 1, "events.csv:");
}

TEST_F(BadData, NotANumber) {
  WriteText(job_.job_path(),
            Replaced(ReadText(job_.job_path()), "column { name: \"time\" type: INT }",
                     "column { name: \"time\" type: FLOAT }"));
  WriteText(events(), ReadText(events()) + "nan,u1,i1,view,\n");
  ExpectSays(Start(), 0, "1 bad rows");
}

TEST_F(BadData, TimesThatGoBackwardsAreSorted) {
  std::string text = ReadText(events());
  const size_t header = text.find('\n') + 1;
  const size_t first = text.find('\n', header) + 1;
  WriteText(events(),
            text.substr(0, header) + text.substr(first) + text.substr(header, first - header));
  EXPECT_EQ(Start().code, 0);
}

TEST_F(BadData, TruncatedGzip) {
  const std::string text = ReadText(events());
  const std::string path = job_.dir() / "events.csv.gz";
  gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
  fs::resize_file(path, fs::file_size(path) / 2);
  WriteText(job_.job_path(), Replaced(ReadText(job_.job_path()), "events.csv", "events.csv.gz"));
  ExpectSays(Start(), 1, "events.csv.gz");
}

class BadCheckpoint : public testing::Test {
 protected:
  BadCheckpoint() {
    const Output run = RunEmporium(job_.Arguments("run", "work"));
    EXPECT_EQ(run.code, 0) << run.text;
  }
  std::string ShardFile() const {
    for (const auto& entry : fs::directory_iterator(job_.NewestCheckpoint("work"))) {
      if (entry.path().extension() == ".h5") return entry.path().string();
    }
    return "";
  }
  SmallJob job_{1};
};

TEST_F(BadCheckpoint, IsVerifiedListedAndShown) {
  ExpectSays(RunEmporium({"checkpoint", "verify", job_.NewestCheckpoint("work")}), 0, "item");
  ExpectSays(RunEmporium({"checkpoint", "list", job_.work_dir("work") + "/checkpoints"}), 0,
             "digest");
  ExpectSays(RunEmporium({"checkpoint", "show", job_.NewestCheckpoint("work")}), 0,
             "content_digest");
}

TEST_F(BadCheckpoint, FlippedBit) {
  const std::string path = ShardFile();
  std::string bytes = ReadText(path);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 4);
  WriteText(path, bytes);
  ExpectSays(RunEmporium({"checkpoint", "verify", job_.NewestCheckpoint("work")}), 1,
             fs::path(path).filename().string());
}

TEST_F(BadCheckpoint, MissingShardFile) {
  const std::string path = ShardFile();
  fs::remove(path);
  ExpectSays(RunEmporium({"checkpoint", "verify", job_.NewestCheckpoint("work")}), 1,
             fs::path(path).filename().string());
  // The one before is whole: the job goes on from there.
  const Output again = RunEmporium(job_.Arguments("run", "work"));
  EXPECT_EQ(again.code, 0) << again.text;
  EXPECT_EQ(RunEmporium({"checkpoint", "verify", job_.NewestCheckpoint("work")}).code, 0);
}

TEST_F(BadCheckpoint, OfAnotherJob) {
  WriteText(job_.job_path(), Replaced(ReadText(job_.job_path()), "seed: 7", "seed: 8"));
  ExpectSays(RunEmporium(job_.Arguments("run", "work")), 1, "another job");
}

TEST_F(BadCheckpoint, AFinishedJobIsNotRunAgain) {
  const std::string digest = job_.Digest("work");
  const Output again = RunEmporium(job_.Arguments("run", "work"));
  EXPECT_EQ(again.code, 0) << again.text;
  EXPECT_EQ(again.text.find("pretrain ["), std::string::npos) << again.text;
  EXPECT_EQ(job_.Digest("work"), digest);
}

// A few megabytes of memory as a disk.
class SmallDisk {
 public:
  SmallDisk(const std::string& path, const std::string& size) : path_(path) {
    fs::create_directories(path);
    mounted_ = mount("tmpfs", path.c_str(), "tmpfs", 0, ("size=" + size).c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_) umount2(path_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }

 private:
  std::string path_;
  bool mounted_;
};

TEST(FullDisk, TrainingGoesOnAndNothingHalfWrittenIsBelieved) {
  const SmallJob job(3, 10);
  const SmallDisk disk(job.work_dir("work") + "/checkpoints", "64k");
  ASSERT_TRUE(disk.mounted()) << "this test mounts a tmpfs: run it as root";
  const Output output = RunEmporium(job.Arguments("run", "work"));
  EXPECT_EQ(output.code, 0) << output.text;
  const std::string status = ReadText(job.work_dir("work") + "/status.json");
  const auto json = nlohmann::json::parse(status, nullptr, false);
  ASSERT_FALSE(json.is_discarded());
  EXPECT_GT(json["counters"]["failed_checkpoints"].get<int>(), 0);
  EXPECT_EQ(job.NewestCheckpoint("work"), "");
  EXPECT_EQ(job.Digest("work"), "");
  for (const auto& entry :
       fs::recursive_directory_iterator(job.work_dir("work") + "/checkpoints")) {
    EXPECT_TRUE(entry.is_directory()) << entry.path() << " was left behind";
  }
}

// A TCP socket that listens, or is connected, on the loopback address.
class Socket {
 public:
  Socket() : fd_(socket(AF_INET, SOCK_STREAM, 0)) {}
  ~Socket() { close(fd_); }
  int Listen() {
    sockaddr_in address = Address(0);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(fd_, 1), 0);
    getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    return ntohs(address.sin_port);
  }
  void SendTo(int port, const std::string& bytes) {
    const sockaddr_in address = Address(port);
    ASSERT_EQ(connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }

 private:
  static sockaddr_in Address(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }
  int fd_;
};

TEST(Ports, OneInUseIsNamed) {
  const SmallJob job(1);
  Socket taken;
  const int port = taken.Listen();
  const Output output =
      RunEmporium(job.Arguments("launch", "work", {"--port=" + std::to_string(port)}));
  ExpectSays(output, 1, std::to_string(port));
}

// The port that an "...:port" text ends with.
int PortOf(const std::string& endpoint) {
  return std::stoi(endpoint.substr(endpoint.rfind(':') + 1));
}

TEST(Strangers, GarbageIsRefusedAndTheJobGoesOn) {
  const SmallJob job(12);
  const Output calm = RunEmporium(job.Arguments("run", "calm"));
  ASSERT_EQ(calm.code, 0) << calm.text;
  Program launch(job.Arguments("launch", "work"));
  ASSERT_TRUE(launch.WaitForText("pretrain ["));
  const auto address =
      nlohmann::json::parse(ReadText(job.work_dir("work") + "/scheduler.json"), nullptr, false);
  ASSERT_FALSE(address.is_discarded());
  const Output status = RunEmporium(job.Arguments("status", "work"));
  const auto json = nlohmann::json::parse(status.text, nullptr, false);
  ASSERT_FALSE(json.is_discarded()) << status.text;
  const std::string garbage(100'000, '\xff');
  std::vector<std::string> endpoints = {address["control"], address["http"]};
  for (const auto& node : json["nodes"]) {
    if (!node.contains("shards")) continue;
    for (const auto& shard : node["shards"]) endpoints.push_back(shard);
  }
  EXPECT_EQ(endpoints.size(), 3u) << status.text;
  for (const std::string& endpoint : endpoints) {
    Socket stranger;
    stranger.SendTo(PortOf(endpoint), garbage);
  }
  const Output output = launch.Finish();
  EXPECT_EQ(output.code, 0) << output.text;
  EXPECT_EQ(job.Digest("work"), job.Digest("calm"));
}

}  // namespace
}  // namespace emporium::cluster
