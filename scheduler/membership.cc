#include "scheduler/membership.h"

#include <algorithm>
#include <utility>

#include "proto/limits.h"
#include "proto/planted_bug.h"
#include "scheduler/limits.h"

namespace emporium::scheduler {

std::string Node::Name() const {
  return std::string(is_server() ? "server " : "worker ") + std::to_string(id) + " (host " +
         registration.host_name + ", process " + std::to_string(registration.pid) + ")";
}

Result<Node*> Membership::Add(int64_t now_ms, const control::Registration& registration) {
  if (nodes_.size() >= emporium::limits::kMaxNodes) {
    return Busy("there are " + std::to_string(nodes_.size()) + " nodes already, which is the most");
  }
  Node node;
  node.registration = registration;
  if (node.is_server()) {
    if (node.shards() == 0) return InvalidArgument("a server registered without shards");
    node.first_shard = FreeShards(node.shards());
    if (node.first_shard + node.shards() > emporium::limits::kMaxShards) {
      return Busy("there are more than " + std::to_string(emporium::limits::kMaxShards) +
                  " shards; start fewer");
    }
  }
  node.id = next_node_++;
  node.incarnation = incarnation_base_ + node.id;
  node.heard_ms = now_ms;
  return &nodes_.emplace(node.id, std::move(node)).first->second;
}

void Membership::Restore(int64_t id, int64_t incarnation, int32_t first_shard,
                         const control::Registration& registration) {
  Node node;
  node.id = id;
  node.incarnation = incarnation;
  node.first_shard = first_shard;
  node.registration = registration;
  next_node_ = std::max(next_node_, id + 1);
  nodes_.emplace(id, std::move(node));
}

void Membership::Remove(int64_t id) { removals_ += nodes_.erase(id); }

Node* Membership::Find(int64_t id) {
  const auto found = nodes_.find(id);
  return found == nodes_.end() ? nullptr : &found->second;
}

Result<Node*> Membership::Find(int64_t id, int64_t incarnation) {
  Node* node = Find(id);
  if (node == nullptr || node->incarnation != incarnation) {
    return Stale("node " + std::to_string(id) +
                 " is not counted on any more: it was silent for longer than its lease, or the "
                 "scheduler was started again; register anew");
  }
  return node;
}

std::vector<Node*> Membership::All() {
  std::vector<Node*> all;
  for (auto& [id, node] : nodes_) all.push_back(&node);
  return all;
}

std::vector<Node*> Membership::Servers() {
  std::vector<Node*> servers;
  for (auto& [id, node] : nodes_) {
    if (node.is_server()) servers.push_back(&node);
  }
  return servers;
}

std::vector<int64_t> Membership::Workers() const {
  std::vector<int64_t> workers;
  for (const auto& [id, node] : nodes_) {
    if (!node.is_server()) workers.push_back(id);
  }
  return workers;
}

int32_t Membership::FreeShards(size_t count) const {
  // A server that went away before the job began leaves a gap for another one of its size.
  std::map<int32_t, int32_t> ranges;  // first -> end
  for (const auto& [id, node] : nodes_) {
    if (!node.is_server()) continue;
    ranges[node.first_shard] = node.first_shard + static_cast<int32_t>(node.shards());
  }
  int32_t first = 0;
  for (const auto& [begin, end] : ranges) {
    if (begin - first >= static_cast<int32_t>(count)) return first;
    first = end;
  }
  return first;
}

bool Membership::Complete(size_t servers) const {
  size_t count = 0, shards = 0;
  int32_t end = 0;
  for (const auto& [id, node] : nodes_) {
    if (!node.is_server()) continue;
    ++count;
    shards += node.shards();
    end = std::max(end, node.first_shard + static_cast<int32_t>(node.shards()));
  }
  return count == servers && shards == static_cast<size_t>(end);
}

std::vector<std::string> Membership::EndpointsOfShards() const {
  std::map<int32_t, std::string> endpoints;
  for (const auto& [id, node] : nodes_) {
    if (!node.is_server()) continue;
    for (size_t i = 0; i < node.shards(); ++i) {
      endpoints[node.first_shard + static_cast<int32_t>(i)] = node.registration.shard_endpoints[i];
    }
  }
  std::vector<std::string> in_order;
  for (auto& [shard, endpoint] : endpoints) {
    EMPORIUM_CHECK(shard == static_cast<int32_t>(in_order.size()), "shards have no gap");
    in_order.push_back(std::move(endpoint));
  }
  return in_order;
}

std::vector<int64_t> Membership::Expired(int64_t now_ms) const {
  std::vector<int64_t> expired;
  if (Planted(PlantedBug::kKeepsSilentNodes)) return expired;
  for (const auto& [id, node] : nodes_) {
    if (node.heard_ms + lease_ms_ <= now_ms) expired.push_back(id);
  }
  return expired;
}

std::optional<int64_t> Membership::next_expiry_ms() const {
  std::optional<int64_t> next;
  if (Planted(PlantedBug::kKeepsSilentNodes)) return next;
  for (const auto& [id, node] : nodes_) {
    const int64_t expiry = node.heard_ms + lease_ms_;
    next = next.has_value() ? std::min(*next, expiry) : expiry;
  }
  return next;
}

void Membership::RenewAll(int64_t now_ms) {
  for (auto& [id, node] : nodes_) node.heard_ms = now_ms;
}

const control::Command& Membership::Give(Node* node, control::Command command) {
  const int64_t first = Planted(PlantedBug::kSequencesBeginAnew) ? 0 : first_sequence_;
  command.sequence = std::max(node->command.sequence, first) + 1;
  node->command = command;
  node->finished = false;
  node->failure = Status::Ok();
  if (node->command.kind == control::CommandKind::TRAIN) {
    node->train_sequence = node->command.sequence;
    node->begun.reset();
  }
  return node->command;
}

void Membership::Take(int64_t now_ms, const control::Report& report, Node* node) {
  node->heard_ms = now_ms;
  if (!std::exchange(node->reported, true)) node->generation = report.generation;
  const int64_t newest = node->command.sequence;
  node->seen_sequence = std::clamp(report.seen_sequence, node->seen_sequence, newest);
  if (report.error.empty()) {
    const bool any = Planted(PlantedBug::kAnyDoneCounts) && report.done_sequence > 0;
    if (newest > 0 && (any || report.done_sequence == newest)) node->finished = true;
  } else if (newest > 0 && report.seen_sequence == newest && !node->finished) {
    const bool known =
        report.error_code > 0 && report.error_code <= static_cast<int>(StatusCode::kInternal);
    node->failure =
        Status(known ? static_cast<StatusCode>(report.error_code) : StatusCode::kInternal,
               report.error.substr(0, limits::kMaxErrorText));
    node->failed.reset();
    if (report.__isset.failed) node->failed = report.failed;
  }
  const bool trains = node->train_sequence > 0 && node->seen_sequence >= node->train_sequence;
  const auto first = static_cast<uint64_t>(std::max<int64_t>(node->command.from_step, 0));
  if (trains && report.highest_step >= 0 && static_cast<uint64_t>(report.highest_step) >= first) {
    node->begun = std::max(node->begun.value_or(0), static_cast<uint64_t>(report.highest_step));
  }
  if (report.tables.size() <= limits::kMaxReportNames) node->tables = report.tables;
  if (report.seconds_by_part.size() <= limits::kMaxReportNames) {
    node->seconds_by_part = report.seconds_by_part;
  }
  node->counters = report.counters;
}

}  // namespace emporium::scheduler
