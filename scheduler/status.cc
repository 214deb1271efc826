#include "scheduler/status.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/metrics.h"
#include "scheduler/table_status.h"

namespace emporium::scheduler {
namespace {

using nlohmann::json;

constexpr uint64_t kLeftOutShown = 5;

std::string KindOf(const spec::Stage& stage) {
  if (stage.has_train()) return "train";
  return stage.has_evaluate() ? "evaluate" : "export";
}

const char* StateName(StageView::State state) {
  switch (state) {
    case StageView::State::kWaiting:
      return "waiting";
    case StageView::State::kRunning:
      return "running";
    case StageView::State::kDone:
      return "done";
  }
  return "unknown";
}

const char* CommandName(control::CommandKind::type kind) {
  switch (kind) {
    case control::CommandKind::WAIT:
      return "wait";
    case control::CommandKind::RESTORE:
      return "restore";
    case control::CommandKind::CHECKPOINT:
      return "checkpoint";
    case control::CommandKind::TRAIN:
      return "train";
    case control::CommandKind::EVALUATE:
      return "evaluate";
    case control::CommandKind::EXPORT:
      return "export";
    case control::CommandKind::COMBINE:
      return "combine";
    case control::CommandKind::PAUSE:
      return "pause";
    case control::CommandKind::STOP:
      return "stop";
    case control::CommandKind::HOLD:
      return "hold";
  }
  return "unknown";
}

std::string Doing(const JobMachine& machine) {
  const bool in_stage = machine.stage() < machine.stage_count();
  if (in_stage && machine.phase() == Phase::kEvaluating) {
    if (machine.validating()) return "validating";
    if (machine.config().job.stage(static_cast<int>(machine.stage())).has_export_()) {
      return "exporting";
    }
  }
  return PhaseName(machine.phase());
}

bool InWork(const JobMachine& machine) {
  return machine.stage() < machine.stage_count() && machine.phase() != Phase::kOver;
}

// How many micro-batches the stage goes on without, and the first few of them.
void AddLeftOut(const JobMachine& machine, size_t stage, json* j) {
  uint64_t count = 0;
  (*j)["left_out"] = json::array();
  for (const LeftOut& one : machine.left_out()) {
    if (one.stage != stage || ++count > kLeftOutShown) continue;
    (*j)["left_out"].push_back(
        {{"step", one.step}, {"micro_batch", one.micro_batch}, {"error", one.why}});
  }
  (*j)["quarantined_micro_batches"] = count;
}

json StageJson(const JobMachine& machine, size_t i, const StageView& view, int64_t now_ms) {
  const spec::Stage& stage = machine.config().job.stage(static_cast<int>(i));
  json j = {{"name", stage.name()}, {"kind", KindOf(stage)}, {"state", StateName(view.state)},
            {"done", view.done},    {"total", view.total},   {"metrics", view.metrics}};
  if (!stage.has_train()) return j;
  j["samples"] = view.samples;
  AddLeftOut(machine, i, &j);
  j["validations"] = json::array();
  for (const auto& [step, metrics] : view.validations) {
    j["validations"].push_back({{"step", step}, {"metrics", metrics}});
  }
  j["curve"] = json::array();
  for (const CurvePoint& point : view.curve) {
    j["curve"].push_back({{"step", point.step}, {"steps", point.steps}, {"terms", point.terms}});
  }
  if (i == machine.stage() && machine.losses() != nullptr) {
    j["samples_per_second"] = machine.samples_per_second(now_ms);
    j["losses"] = machine.losses()->newest();
    if (machine.losses()->smoothed()) j["loss"] = *machine.losses()->smoothed();
  } else if (!view.curve.empty()) {
    j["losses"] = view.curve.back().terms;
  }
  return j;
}

json NodeJson(const Node& node, int64_t now_ms) {
  const control::Counters& c = node.counters;
  const bool idle = node.command.sequence == 0 || node.finished;
  json j = {{"id", node.id},
            {"kind", node.is_server() ? "server" : "worker"},
            {"host", node.registration.host_name},
            {"process", node.registration.pid},
            {"started_unix_ms", node.registration.started_ms},
            {"state", idle ? "idle" : CommandName(node.command.kind)},
            {"heard_ms_ago", now_ms - node.heard_ms},
            {"seconds_by_part", node.seconds_by_part},
            {"counters",
             {{"samples", c.samples},
              {"micro_batches", c.micro_batches},
              {"bytes_pulled", c.bytes_pulled},
              {"bytes_pushed", c.bytes_pushed},
              {"refused_frames", c.refused_frames},
              {"staged_bytes", c.staged_bytes},
              {"backup_micro_batches", c.backup_micro_batches},
              {"backups_first", c.backups_first}}}};
  if (!node.failure.ok()) j["error"] = node.failure.message();
  if (!node.is_server()) {
    j["lanes"] = node.registration.lanes;
    if (c.first_push_ms > 0) j["first_push_unix_ms"] = c.first_push_ms;
    return j;
  }
  j["first_shard"] = node.first_shard;
  j["shards"] = node.registration.shard_endpoints;
  j["tables"] = json::array();
  for (const control::TableStatus& table : node.tables) {
    j["tables"].push_back({{"name", table.table}, {"rows", table.rows}, {"bytes", table.bytes}});
  }
  return j;
}

std::map<std::string, control::TableStatus> TablesOf(const JobMachine& machine) {
  std::map<std::string, control::TableStatus> tables;
  for (const auto& [id, node] : machine.members().nodes()) {
    for (const control::TableStatus& table : node.tables) AddTable(table, &tables[table.table]);
  }
  return tables;
}

json CheckpointJson(const JobMachine& machine, const CheckpointRecord& record) {
  const int stage = static_cast<int>(record.position.stage);
  const bool known = stage < machine.config().job.stage_size();
  return {{"number", record.number},
          {"stage", known ? machine.config().job.stage(stage).name() : ""},
          {"step", record.position.step},
          {"stage_done", record.position.done},
          {"bytes", record.bytes},
          {"pause_ms", record.pause_ms},
          {"content_digest", record.content_digest},
          {"unix_ms", record.unix_ms},
          {"error", record.error}};
}

}  // namespace

Progress ProgressOf(const JobMachine& machine, int64_t now_ms) {
  Progress progress;
  progress.doing = Doing(machine);
  progress.over = machine.phase() == Phase::kOver;
  if (!InWork(machine)) return progress;
  const StageView view = machine.stages()[machine.stage()];
  if (view.state != StageView::State::kRunning) return progress;
  progress.stage = machine.config().job.stage(static_cast<int>(machine.stage())).name();
  progress.done = view.done;
  progress.total = view.total;
  progress.samples = view.samples;
  progress.samples_per_second = machine.samples_per_second(now_ms);
  if (machine.losses() != nullptr && machine.losses()->smoothed().has_value()) {
    progress.loss = *machine.losses()->smoothed();
    progress.has_loss = true;
  }
  const double rate = machine.done_per_second(now_ms);
  if (rate > 0 && view.total >= view.done) {
    progress.seconds_left = static_cast<double>(view.total - view.done) / rate;
    progress.has_seconds_left = true;
  }
  return progress;
}

std::vector<StageOutcome> OutcomesOf(const JobMachine& machine) {
  std::vector<StageOutcome> outcomes;
  const std::vector<StageView> views = machine.stages();
  for (size_t i = 0; i < views.size(); ++i) {
    const spec::Stage& stage = machine.config().job.stage(static_cast<int>(i));
    StageOutcome outcome;
    outcome.name = stage.name();
    outcome.kind = KindOf(stage);
    outcome.done = views[i].state == StageView::State::kDone;
    outcome.metrics = views[i].metrics;
    if (stage.has_train()) {
      outcome.steps = views[i].done;
      outcome.samples = views[i].samples;
      // Where the stage ended: a stage that goes back to its best has later ones.
      const auto after = views[i].validations.upper_bound(views[i].done);
      if (after != views[i].validations.begin()) outcome.metrics = std::prev(after)->second;
    }
    outcomes.push_back(std::move(outcome));
  }
  return outcomes;
}

std::string StatusJson(const JobMachine& machine, const std::deque<Event>& events,
                       const ServiceCounts& counts, int64_t now_ms) {
  const JobMachine::Counts& c = machine.counts();
  json j = {
      {"job", machine.config().job.name()},
      {"state", Doing(machine)},
      {"stage",
       InWork(machine) ? machine.config().job.stage(static_cast<int>(machine.stage())).name() : ""},
      {"generation", machine.generation()},
      {"workers_wanted", machine.workers_wanted()},
      {"stop_requested", machine.stop_requested()},
      {"how_to_go_on", machine.HowToGoOn()},
      {"counters",
       {{"lost_nodes", c.lost_nodes},
        {"refused_registrations", c.refused_registrations},
        {"failed_checkpoints", c.failed_checkpoints},
        {"generations", c.generations},
        {"returns", c.returns},
        {"store_failures", counts.store_failures},
        {"calls", counts.calls},
        {"refused_calls", counts.refused_calls}}}};
  if (machine.phase() == Phase::kOver) {
    j["result"] = {{"ok", machine.result().ok()}, {"message", machine.result().ToString()}};
  }
  for (const char* list : {"stages", "nodes", "tables", "checkpoints", "events"}) {
    j[list] = json::array();
  }
  const Progress progress = ProgressOf(machine, now_ms);
  const std::vector<StageView> views = machine.stages();
  for (size_t i = 0; i < views.size(); ++i) {
    j["stages"].push_back(StageJson(machine, i, views[i], now_ms));
    if (i == machine.stage() && progress.has_seconds_left) {
      j["stages"][i]["seconds_left"] = progress.seconds_left;
    }
  }
  for (const auto& [id, node] : machine.members().nodes()) {
    j["nodes"].push_back(NodeJson(node, now_ms));
  }
  for (const auto& [name, total] : TablesOf(machine)) {
    j["tables"].push_back(TableJson(total));
  }
  if (machine.checkpoint_in_work() > 0) j["checkpoint_in_work"] = machine.checkpoint_in_work();
  for (const CheckpointRecord& record : machine.checkpoints()) {
    j["checkpoints"].push_back(CheckpointJson(machine, record));
  }
  for (const Event& event : events) {
    j["events"].push_back(
        {{"unix_ms", event.unix_ms}, {"level", event.level}, {"text", event.text}});
  }
  // Names and texts come from other processes: bytes that are no UTF-8 are replaced.
  return j.dump(2, ' ', false, json::error_handler_t::replace);
}

namespace {

// A count over the rows of a table: its total, and what shares of the rows stay below.
template <class Set>
void SetCount(const control::CountStatus& count, const std::string& name, const char* total,
              const char* quantile, const std::string& label, const Set& set) {
  set((name + "_total").c_str(), total, count.total, label);
  for (const double share : kCountQuantiles) {
    set(name.c_str(), quantile, CountQuantile(count, share),
        label + ",quantile=\"" + ShareText(share) + "\"");
  }
}

template <class Set>
void SetTable(const control::TableStatus& table, const Set& set) {
  std::string label = "table=\"";
  for (const char letter : table.table) {
    if (letter == '"' || letter == '\\') label += '\\';
    label += letter == '\n' ? ' ' : letter;
  }
  label += '"';
  const auto number = [](auto n) { return static_cast<double>(n); };
  set("table_rows", "Rows of a table", number(table.rows), label);
  set("table_bytes", "Memory of a table", number(table.bytes), label);
  set("table_keys_refused", "Keys of steps whose gradients were dropped: not admitted",
      number(table.keys_refused), label);
  set("table_rows_expired", "Rows of a table that have expired", number(table.rows_expired), label);
  if (table.__isset.popularity) {
    SetCount(table.popularity, "table_popularity", "Decayed sightings of a table's keys",
             "Popularity of a row that is above this share of the rows", label, set);
  }
  for (const control::CountStatus& counter : table.counters) {
    SetCount(counter, "table_counter", "Decayed sum of a counter over a table",
             "Counter of a row that is above this share of the rows",
             label + ",counter=\"" + counter.name + "\"", set);
  }
}

}  // namespace

std::string PrometheusText(const JobMachine& machine, const ServiceCounts& counts, int64_t now_ms) {
  runtime::Registry registry;
  const auto set = [&registry](const char* name, const char* help, double value,
                               const std::string& label = "") {
    registry.gauge(std::string("emporium_") + name, label, help).Set(value);
  };
  const auto number = [](auto n) { return static_cast<double>(n); };
  const Progress progress = ProgressOf(machine, now_ms);
  const JobMachine::Counts& c = machine.counts();
  const size_t servers = machine.members().servers();
  set("stage", "Position of the stage in work", number(machine.stage()));
  set("stage_done", "Steps or chunks done of the stage in work", number(progress.done));
  set("stage_total", "Steps or chunks of the stage in work", number(progress.total));
  set("samples_per_second", "Samples trained per second", progress.samples_per_second);
  if (progress.has_loss) set("loss", "Smoothed loss", progress.loss);
  set("workers", "Workers that hold a lease", number(machine.members().nodes().size() - servers));
  set("servers", "Servers that hold a lease", number(servers));
  set("generation", "Number of the set of workers", number(machine.generation()));
  set("lost_nodes", "Nodes lost since the scheduler started", number(c.lost_nodes));
  set("returns", "Times that the job went back to a checkpoint, since the scheduler started",
      number(c.returns));
  set("failed_checkpoints", "Failed checkpoints since the scheduler started",
      number(c.failed_checkpoints));
  int64_t backups = 0;
  for (const auto& [id, node] : machine.members().nodes()) {
    backups += node.counters.backup_micro_batches;
  }
  set("backup_micro_batches", "Micro-batches that the present workers have computed for others",
      number(backups));
  set("quarantined_micro_batches", "Micro-batches that fail everywhere and are left out",
      number(machine.left_out().size()));
  set("refused_registrations", "Registrations refused since the scheduler started",
      number(c.refused_registrations));
  set("refused_calls", "Calls refused since the scheduler started", number(counts.refused_calls));
  set("store_failures", "Writes of the state store that failed", number(counts.store_failures));
  if (!machine.checkpoints().empty()) {
    set("checkpoint_pause_ms", "Pause that the newest checkpoint took",
        number(machine.checkpoints().back().pause_ms));
  }
  for (const auto& [name, total] : TablesOf(machine)) SetTable(total, set);
  return registry.PrometheusText();
}

}  // namespace emporium::scheduler
