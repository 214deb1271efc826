#include "scheduler/running_state.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "scheduler/checkpoints.h"

namespace emporium::scheduler {
namespace {

using nlohmann::json;

json ToJson(const Position& position) {
  return {{"stage", position.stage}, {"step", position.step}, {"done", position.done}};
}

Position PositionFrom(const json& j) {
  return {j.at("stage").get<uint32_t>(), j.at("step").get<uint64_t>(), j.at("done").get<bool>()};
}

json ToJson(const control::DatasetFacts& facts) {
  return {{"digest", facts.digest},
          {"train_samples", facts.train_samples_of_stage},
          {"chunks", facts.chunks_of_stage},
          {"validation_chunks", facts.validation_chunks_of_stage}};
}

control::DatasetFacts FactsFrom(const json& j) {
  control::DatasetFacts facts;
  facts.digest = j.at("digest").get<std::string>();
  facts.train_samples_of_stage = j.at("train_samples").get<std::vector<int64_t>>();
  facts.chunks_of_stage = j.at("chunks").get<std::vector<int64_t>>();
  facts.validation_chunks_of_stage = j.at("validation_chunks").get<std::vector<int64_t>>();
  return facts;
}

// Without the facts of workers, which all have the same.
json ToJson(const RunningState::KnownNode& node) {
  const control::Registration& r = node.registration;
  return {{"id", node.id},
          {"incarnation", node.incarnation},
          {"first_shard", node.first_shard},
          {"server", r.kind == control::NodeKind::SERVER},
          {"host", r.host_name},
          {"process", r.pid},
          {"shards", r.shard_endpoints},
          {"job", r.job_fingerprint},
          {"lanes", r.lanes},
          {"name", r.name},
          {"started_ms", r.started_ms}};
}

RunningState::KnownNode NodeFrom(const json& j) {
  RunningState::KnownNode node;
  node.id = j.at("id").get<int64_t>();
  node.incarnation = j.at("incarnation").get<int64_t>();
  node.first_shard = j.at("first_shard").get<int32_t>();
  control::Registration& r = node.registration;
  r.kind = j.at("server").get<bool>() ? control::NodeKind::SERVER : control::NodeKind::WORKER;
  r.host_name = j.at("host").get<std::string>();
  r.pid = j.at("process").get<int32_t>();
  r.shard_endpoints = j.at("shards").get<std::vector<std::string>>();
  r.job_fingerprint = j.at("job").get<std::string>();
  r.lanes = j.at("lanes").get<int32_t>();
  r.name = j.at("name").get<std::string>();
  r.started_ms = j.at("started_ms").get<int64_t>();
  return node;
}

}  // namespace

std::string EncodeRunning(const RunningState& state) {
  if (state.ended.has_value()) {
    const json ended = {{"code", static_cast<int>(state.ended->code())},
                        {"message", state.ended->message()}};
    return json({{"format", 1}, {"ended", ended}})
        .dump(-1, ' ', false, json::error_handler_t::replace);
  }
  if (state.nodes.empty()) return "";
  json j = {{"format", 1},
            {"begun", state.begun},
            {"serving", state.serving},
            {"stage", state.stage},
            {"cursor", EncodeState({"", state.cursor})},
            {"workers_wanted", state.workers_wanted},
            {"saved_number", state.saved_number},
            {"next_checkpoint", state.next_checkpoint},
            {"nodes", json::array()}};
  for (const RunningState::KnownNode& node : state.nodes) {
    j["nodes"].push_back(ToJson(node));
    const bool worker = node.registration.kind == control::NodeKind::WORKER;
    if (worker && !j.contains("facts")) j["facts"] = ToJson(node.registration.facts);
  }
  if (state.weights) j["weights"] = ToJson(*state.weights);
  if (state.span) {
    j["span"] = {{"from", state.span->from},
                 {"until", state.span->until},
                 {"shortened", state.span->shortened}};
  }
  if (state.serving) {
    j["route"] = {{"version", state.route.version},
                  {"shards", state.route.shard_of_partition},
                  {"endpoints", state.route.endpoint_of_shard}};
  }
  return j.dump();
}

Result<RunningState> DecodeRunning(const std::string& text) {
  RunningState state;
  if (text.empty()) return state;
  try {
    const json j = json::parse(text);
    if (j.at("format").get<int>() != 1) return DataLoss("state of another version of Emporium");
    if (j.contains("ended")) {
      const int code = j["ended"].at("code").get<int>();
      const bool known = code >= 0 && code <= static_cast<int>(StatusCode::kInternal);
      const auto as = known ? static_cast<StatusCode>(code) : StatusCode::kInternal;
      const auto message = j["ended"].at("message").get<std::string>();
      state.ended = as == StatusCode::kOk ? Status::Ok() : Status(as, message);
      return state;
    }
    state.begun = j.at("begun").get<bool>();
    state.serving = j.at("serving").get<bool>();
    state.stage = j.at("stage").get<uint32_t>();
    EMPORIUM_ASSIGN_OR_RETURN(const CheckpointState cursor,
                              DecodeState(j.at("cursor").get<std::string>()));
    state.cursor = cursor.cursor;
    state.workers_wanted = j.at("workers_wanted").get<uint32_t>();
    state.saved_number = j.at("saved_number").get<uint64_t>();
    state.next_checkpoint = j.at("next_checkpoint").get<uint64_t>();
    for (const json& node : j.at("nodes")) state.nodes.push_back(NodeFrom(node));
    for (RunningState::KnownNode& node : state.nodes) {
      const bool worker = node.registration.kind == control::NodeKind::WORKER;
      if (worker) node.registration.facts = FactsFrom(j.at("facts"));
    }
    if (j.contains("weights")) state.weights = PositionFrom(j["weights"]);
    if (j.contains("span")) {
      const json& span = j["span"];
      state.span =
          RunningState::Span{span.at("from").get<uint64_t>(), span.at("until").get<uint64_t>(),
                             span.at("shortened").get<bool>()};
    }
    if (state.serving) {
      const json& route = j.at("route");
      state.route.version = route.at("version").get<int64_t>();
      state.route.shard_of_partition = route.at("shards").get<std::vector<int32_t>>();
      state.route.endpoint_of_shard = route.at("endpoints").get<std::vector<std::string>>();
    }
    return state;
  } catch (const json::exception& error) {
    return DataLoss(std::string("the scheduler's state of the running job cannot be read: ") +
                    error.what());
  }
}

}  // namespace emporium::scheduler
