// A server in the simulator: real shards and real files of checkpoints, with the rules of
// ps/server.cc around them.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ps/checkpoint.h"
#include "ps/cut.h"
#include "ps/shard.h"
#include "tests/sim/ledger.h"
#include "tests/sim/node.h"

namespace emporium::sim {

class ServerHost final : public Node {
 public:
  using Reply = std::function<void(Bytes)>;  // to whoever sent the frame

  ServerHost(World* world, SchedulerHost* scheduler, std::string name, uint32_t shards)
      : Node(world, scheduler, std::move(name)), count_(shards) {}

  // A frame for the shard of that number, as endpoint() names it. Nothing when the shard is not of
  // this life of the process.
  void Deliver(const std::string& endpoint, const std::string& peer, Bytes bytes,
               const Reply& reply);
  bool Has(const std::string& endpoint) const;
  const std::vector<std::unique_ptr<ps::Shard>>& shards() const { return shards_; }

  // What a shard did that it must not; empty: nothing.
  const std::string& violation() const { return violation_; }

  bool disk_fails = false;  // no checkpoint file can be written

 protected:
  void BeginLife() override;
  control::Registration MakeRegistration() override;
  void Take(const control::Command& command) override;
  void AddToReport(control::Report* report) override;
  void Forgotten() override {}
  void Heard(bool answered, Micros asked) override;

 private:
  struct Outcome {
    int64_t sequence = 0;
    Status status;
  };
  // A checkpoint whose cut was taken, and what has been copied of it.
  struct Making {
    int64_t number = 0;
    std::string dir;
    std::vector<ps::Cut> cuts;                     // by shard
    std::vector<std::deque<ps::CutPiece>> pieces;  // likewise
  };
  struct Written {
    int64_t checkpoint = 0;
    Status status;
    std::vector<control::ShardFile> files;
  };
  std::string Endpoint(size_t i) const {
    return name() + "/" + std::to_string(life()) + "/" + std::to_string(i);
  }
  void RunNext();
  Outcome Carry(const control::Command& command);
  Status Restore(const control::Command& command);
  Status Checkpoint(const control::Command& command);
  void CopyOn(int64_t number);
  Status WriteFiles(std::vector<control::ShardFile>* files);
  void SendOut(std::vector<ps::Send>* out);
  bool Judge(const FrameHeader& asked, const ps::Shard& shard, Generation before,
             const std::vector<ps::Send>& out);
  void Violate(const std::string& what) {
    if (violation_.empty()) violation_ = what;
  }

  const uint32_t count_;
  std::vector<std::unique_ptr<ps::Shard>> shards_;
  std::vector<Ledger> ledgers_;  // of each
  std::map<std::string, Reply> peers_;
  std::deque<control::Command> commands_;
  bool running_ = false;
  Outcome outcome_;
  std::optional<Making> making_;
  Written written_;
  Micros heard_ = 0;
  std::set<uint64_t> routes_;  // that were restored in this life
  std::string violation_;
};

}  // namespace emporium::sim
