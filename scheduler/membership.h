// Who is there: nodes with their leases, the command that each was given last and what it said of
// itself. A node that does not report within its lease is gone; its id is never used again, and
// what it says later is refused.
//
// A state machine without time of its own: belongs to one thread. Invariants:
//  1. Node ids only grow; an incarnation belongs to one registration.
//  2. The shards of the servers that are there have distinct ids; when Complete() they are 0, 1,
//  ...
//  3. Sequences of the commands to a node grow by one.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "proto/control_types.h"
#include "proto/status.h"

namespace emporium::scheduler {

struct Node {
  int64_t id = 0;
  int64_t incarnation = 0;
  control::Registration registration;
  int32_t first_shard = 0;  // servers
  int64_t heard_ms = 0;
  control::Command command;   // newest
  int64_t seen_sequence = 0;  // newest that it has taken
  bool finished = true;       // it has finished `command`
  bool reported = false;      // to this run of the scheduler
  int64_t generation = 0;     // servers: the highest that their shards had been told by then
  Status failure;             // of `command`
  std::optional<control::MicroBatchName> failed;  // what failed, if it was one
  // TRAIN commands of a worker: sequence of the newest, and the highest step that it says it has
  // begun since.
  int64_t train_sequence = 0;
  std::optional<uint64_t> begun;
  std::vector<control::TableStatus> tables;
  control::Counters counters;
  std::map<std::string, double> seconds_by_part;

  bool is_server() const { return registration.kind == control::NodeKind::SERVER; }
  size_t shards() const { return registration.shard_endpoints.size(); }
  bool settled() const { return finished || !failure.ok(); }
  // "worker 3 (host h, process 12)"
  std::string Name() const;
};

class Membership {
 public:
  // Ids start at `first_node`; incarnations are `incarnation_base` + id, so that those of two runs
  // of the scheduler differ. Commands have sequences after `first_sequence`.
  Membership(int64_t first_node, int64_t incarnation_base, int64_t lease_ms,
             int64_t first_sequence = 0)
      : next_node_(first_node),
        incarnation_base_(incarnation_base),
        lease_ms_(lease_ms),
        first_sequence_(first_sequence) {}

  // A node that an earlier run of the scheduler knew. Its lease begins with RenewAll.
  void Restore(int64_t id, int64_t incarnation, int32_t first_shard,
               const control::Registration& registration);
  Result<Node*> Add(int64_t now_ms, const control::Registration& registration);
  void Remove(int64_t id);
  // Null when there is no such node.
  Node* Find(int64_t id);
  // Stale when there is no such node or it has another incarnation.
  Result<Node*> Find(int64_t id, int64_t incarnation);

  const std::map<int64_t, Node>& nodes() const { return nodes_; }
  std::vector<Node*> All();
  std::vector<Node*> Servers();
  std::vector<int64_t> Workers() const;  // ascending
  size_t servers() const { return nodes_.size() - Workers().size(); }
  int64_t next_node() const { return next_node_; }
  uint64_t removals() const { return removals_; }  // so far

  // `servers` servers are there and their shards are numbered without a gap.
  bool Complete(size_t servers) const;
  // Index: shard. Only when Complete.
  std::vector<std::string> EndpointsOfShards() const;

  // Nodes whose lease has run out.
  std::vector<int64_t> Expired(int64_t now_ms) const;
  // When the next lease runs out.
  std::optional<int64_t> next_expiry_ms() const;
  // Every lease starts anew.
  void RenewAll(int64_t now_ms);

  // Gives the node its next command (its sequence is set here) and returns it as sent.
  const control::Command& Give(Node* node, control::Command command);
  // Takes what a report says about commands and the node's numbers.
  static void Take(int64_t now_ms, const control::Report& report, Node* node);

 private:
  int32_t FreeShards(size_t count) const;

  int64_t next_node_;
  uint64_t removals_ = 0;
  const int64_t incarnation_base_;
  const int64_t lease_ms_;
  const int64_t first_sequence_;
  std::map<int64_t, Node> nodes_;
};

}  // namespace emporium::scheduler
