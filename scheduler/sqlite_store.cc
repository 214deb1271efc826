// The state store in a SQLite file: write-ahead log, synced at every commit. One change is one
// transaction.
#include <sqlite3.h>

#include <cmath>
#include <cstdlib>
#include <utility>

#include "scheduler/limits.h"
#include "scheduler/state_store.h"

namespace emporium::scheduler {
namespace {

constexpr int kBusyTimeoutMs = 2'000;
constexpr int kFormat = 1;

constexpr const char* kSchema = R"sql(
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS finished (stage INTEGER PRIMARY KEY, digest TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS metrics (
  stage INTEGER NOT NULL, step INTEGER NOT NULL, name TEXT NOT NULL, value REAL,
  PRIMARY KEY (stage, step, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checkpoints (
  number INTEGER PRIMARY KEY, stage INTEGER NOT NULL, step INTEGER NOT NULL, done INTEGER NOT NULL,
  bytes INTEGER NOT NULL, pause_ms INTEGER NOT NULL, content_digest TEXT NOT NULL,
  error TEXT NOT NULL, unix_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS curves (
  stage INTEGER NOT NULL, step INTEGER NOT NULL, steps INTEGER NOT NULL, name TEXT NOT NULL,
  value REAL, PRIMARY KEY (stage, step, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
  id INTEGER PRIMARY KEY AUTOINCREMENT, unix_ms INTEGER NOT NULL, level TEXT NOT NULL,
  text TEXT NOT NULL);
)sql";
// `step` of metrics: -1 stands for the stage's own. NULL stands for NaN, which SQLite has not.

Status ErrorOf(sqlite3* db, const std::string& path) {
  const std::string message = path + ": " + sqlite3_errmsg(db);
  switch (sqlite3_errcode(db)) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Busy(message + "; another scheduler has this work_dir, end it first");
    case SQLITE_FULL:
      return ResourceExhausted(message + "; make room there");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return DataLoss(message + "; move the file away to go on from the checkpoints without it");
    default:
      return Unavailable(message);
  }
}

// A prepared statement, bound and stepped; errors are kept until they are asked for.
class Statement {
 public:
  Statement(sqlite3* db, const char* sql) {
    code_ = sqlite3_prepare_v2(db, sql, -1, &statement_, nullptr);
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& Bind(int64_t value) {
    if (code_ == SQLITE_OK) code_ = sqlite3_bind_int64(statement_, ++bound_, value);
    return *this;
  }
  Statement& Bind(uint64_t value) { return Bind(static_cast<int64_t>(value)); }
  Statement& Bind(uint32_t value) { return Bind(static_cast<int64_t>(value)); }
  Statement& Bind(double value) {
    if (code_ == SQLITE_OK) code_ = sqlite3_bind_double(statement_, ++bound_, value);
    return *this;
  }
  Statement& Bind(const std::string& value) {
    if (code_ == SQLITE_OK) {
      code_ = sqlite3_bind_text(statement_, ++bound_, value.data(), static_cast<int>(value.size()),
                                SQLITE_TRANSIENT);
    }
    return *this;
  }
  // The next row is there; false at the end and on an error.
  bool Next() {
    if (code_ != SQLITE_OK) return false;
    const int stepped = sqlite3_step(statement_);
    if (stepped != SQLITE_ROW && stepped != SQLITE_DONE) code_ = stepped;
    return stepped == SQLITE_ROW;
  }
  // Runs to the end, and may be bound again.
  bool Run() {
    while (Next()) {
    }
    if (code_ != SQLITE_OK) return false;
    bound_ = 0;
    return sqlite3_reset(statement_) == SQLITE_OK;
  }
  bool ok() const { return code_ == SQLITE_OK; }
  int64_t Int(int column) const { return sqlite3_column_int64(statement_, column); }
  uint64_t Unsigned(int column) const { return static_cast<uint64_t>(Int(column)); }
  double Double(int column) const {
    if (sqlite3_column_type(statement_, column) == SQLITE_NULL) return std::nan("");
    return sqlite3_column_double(statement_, column);
  }
  std::string Text(int column) const {
    const auto* text = sqlite3_column_text(statement_, column);
    const auto size = static_cast<size_t>(sqlite3_column_bytes(statement_, column));
    return text == nullptr ? "" : std::string(reinterpret_cast<const char*>(text), size);
  }

 private:
  sqlite3_stmt* statement_ = nullptr;
  int code_ = SQLITE_OK;
  int bound_ = 0;
};

class SqliteStore final : public StateStore {
 public:
  SqliteStore(sqlite3* db, std::string path) : db_(db), path_(std::move(path)) {}
  ~SqliteStore() override { sqlite3_close(db_); }

  Status Prepare() {
    sqlite3_busy_timeout(db_, kBusyTimeoutMs);
    // One scheduler a work_dir: the lock is held until the process ends, however it ends.
    const bool ok = Execute("PRAGMA locking_mode=EXCLUSIVE") &&
                    Execute("PRAGMA journal_mode=WAL") && Execute("PRAGMA synchronous=FULL") &&
                    Execute(kSchema);
    if (!ok) return ErrorOf(db_, path_);
    const std::string format = Meta("format");
    if (format.empty()) {
      return SetMeta("format", kFormat) ? Status::Ok() : ErrorOf(db_, path_);
    }
    if (format != std::to_string(kFormat)) {
      return FailedPrecondition(path_ + ": of another version of Emporium (format " + format + ")");
    }
    return Status::Ok();
  }

  Result<StoredState> Load() override {
    StoredState state;
    state.fingerprint = Meta("fingerprint");
    state.generation = Number(Meta("generation"), 0);
    state.next_node = Number(Meta("next_node"), 1);
    state.runs = Number(Meta("runs"), 0);
    state.running = Meta("running");
    Statement finished(db_, "SELECT stage, digest FROM finished");
    while (finished.Next()) {
      state.finished[static_cast<uint32_t>(finished.Int(0))] = finished.Text(1);
    }
    const bool ok =
        LoadMetrics(&state) && LoadCheckpoints(&state) && LoadCurves(&state) && LoadEvents(&state);
    if (!ok || !finished.ok()) return ErrorOf(db_, path_);
    return state;
  }

  Status Apply(const StateChange& change) override {
    if (Execute("BEGIN IMMEDIATE") && Write(change) && Execute("COMMIT")) return Status::Ok();
    Status status = ErrorOf(db_, path_);
    (void)Execute("ROLLBACK");  // there may be nothing left to roll back
    return status;
  }

 private:
  bool Execute(const char* sql) {
    return sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) == SQLITE_OK;
  }
  std::string Meta(const std::string& name) {
    Statement select(db_, "SELECT value FROM meta WHERE name = ?");
    select.Bind(name);
    return select.Next() ? select.Text(0) : "";
  }
  bool SetMeta(const std::string& name, const std::string& value) {
    return Statement(db_, "INSERT OR REPLACE INTO meta VALUES (?, ?)").Bind(name).Bind(value).Run();
  }
  bool SetMeta(const std::string& name, int64_t value) {
    return SetMeta(name, std::to_string(value));
  }
  static int64_t Number(const std::string& text, int64_t otherwise) {
    return text.empty() ? otherwise : std::strtoll(text.c_str(), nullptr, 10);
  }

  bool LoadMetrics(StoredState* state) {
    Statement rows(db_, "SELECT stage, step, name, value FROM metrics ORDER BY stage, step, name");
    while (rows.Next()) {
      const auto stage = static_cast<uint32_t>(rows.Int(0));
      std::optional<uint64_t> step;
      if (rows.Int(1) >= 0) step = rows.Unsigned(1);
      if (state->metrics.empty() || state->metrics.back().stage != stage ||
          state->metrics.back().step != step) {
        state->metrics.push_back({stage, step, {}});
      }
      state->metrics.back().metrics[rows.Text(2)] = rows.Double(3);
    }
    return rows.ok();
  }

  bool LoadCheckpoints(StoredState* state) {
    Statement rows(db_,
                   "SELECT number, stage, step, done, bytes, pause_ms, content_digest, error, "
                   "unix_ms FROM checkpoints ORDER BY number");
    while (rows.Next()) {
      CheckpointRecord record;
      record.number = rows.Unsigned(0);
      record.position = {static_cast<uint32_t>(rows.Int(1)), rows.Unsigned(2), rows.Int(3) != 0};
      record.bytes = rows.Unsigned(4);
      record.pause_ms = rows.Int(5);
      record.content_digest = rows.Text(6);
      record.error = rows.Text(7);
      record.unix_ms = rows.Int(8);
      state->checkpoints.push_back(std::move(record));
    }
    return rows.ok();
  }

  bool LoadCurves(StoredState* state) {
    Statement rows(db_,
                   "SELECT stage, step, steps, name, value FROM curves ORDER BY stage, step, name");
    while (rows.Next()) {
      std::vector<CurvePoint>& curve = state->curves[static_cast<uint32_t>(rows.Int(0))];
      if (curve.empty() || curve.back().step != rows.Unsigned(1)) {
        curve.push_back({rows.Unsigned(1), rows.Unsigned(2), {}});
      }
      curve.back().terms[rows.Text(3)] = rows.Double(4);
    }
    return rows.ok();
  }

  bool LoadEvents(StoredState* state) {
    Statement rows(db_, "SELECT unix_ms, level, text FROM events ORDER BY id");
    while (rows.Next()) state->events.push_back({rows.Int(0), rows.Text(1), rows.Text(2)});
    return rows.ok();
  }

  bool Write(const StateChange& change) {
    if (change.fingerprint && !SetMeta("fingerprint", *change.fingerprint)) return false;
    if (change.generation && !SetMeta("generation", *change.generation)) return false;
    if (change.next_node && !SetMeta("next_node", *change.next_node)) return false;
    if (change.runs && !SetMeta("runs", *change.runs)) return false;
    if (change.running && !SetMeta("running", *change.running)) return false;
    if (change.rewind && !Rewind(*change.rewind)) return false;
    for (const auto& [stage, digest] : change.finished) {
      if (!Statement(db_, "INSERT OR REPLACE INTO finished VALUES (?, ?)")
               .Bind(stage)
               .Bind(digest)
               .Run()) {
        return false;
      }
    }
    return WriteMetrics(change) && WriteCheckpoints(change) && WriteCurves(change) &&
           WriteEvents(change);
  }

  bool Rewind(const Position& to) {
    return Statement(db_, "DELETE FROM finished WHERE stage >= ?").Bind(to.stage).Run() &&
           Statement(db_,
                     "DELETE FROM metrics WHERE stage > ?1 OR (stage = ?1 AND (step < 0 OR step > "
                     "?2))")
               .Bind(to.stage)
               .Bind(to.step)
               .Run() &&
           Statement(db_, "DELETE FROM curves WHERE stage >= ?").Bind(to.stage).Run();
  }

  bool WriteMetrics(const StateChange& change) {
    Statement forget(db_, "DELETE FROM metrics WHERE stage = ? AND step = ?");
    Statement insert(db_, "INSERT INTO metrics VALUES (?, ?, ?, ?)");
    for (const StageMetrics& m : change.metrics) {
      const int64_t step = m.step ? static_cast<int64_t>(*m.step) : -1;
      if (!forget.Bind(m.stage).Bind(step).Run()) return false;
      for (const auto& [name, value] : m.metrics) {
        if (!insert.Bind(m.stage).Bind(step).Bind(name).Bind(value).Run()) return false;
      }
    }
    return true;
  }

  bool WriteCheckpoints(const StateChange& change) {
    Statement insert(db_, "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
    for (const CheckpointRecord& r : change.checkpoints) {
      const bool ok = insert.Bind(r.number)
                          .Bind(r.position.stage)
                          .Bind(r.position.step)
                          .Bind(static_cast<int64_t>(r.position.done))
                          .Bind(r.bytes)
                          .Bind(r.pause_ms)
                          .Bind(r.content_digest)
                          .Bind(r.error)
                          .Bind(r.unix_ms)
                          .Run();
      if (!ok) return false;
    }
    return change.checkpoints.empty() ||
           Statement(db_,
                     "DELETE FROM checkpoints WHERE number NOT IN (SELECT number FROM checkpoints "
                     "ORDER BY number DESC LIMIT ?)")
               .Bind(uint64_t{limits::kMaxCheckpointRecords})
               .Run();
  }

  bool WriteCurves(const StateChange& change) {
    Statement forget(db_, "DELETE FROM curves WHERE stage = ?");
    Statement insert(db_, "INSERT INTO curves VALUES (?, ?, ?, ?, ?)");
    for (const auto& [stage, curve] : change.curves) {
      if (!forget.Bind(stage).Run()) return false;
      for (const CurvePoint& p : curve) {
        for (const auto& [name, value] : p.terms) {
          if (!insert.Bind(stage).Bind(p.step).Bind(p.steps).Bind(name).Bind(value).Run()) {
            return false;
          }
        }
      }
    }
    return true;
  }

  bool WriteEvents(const StateChange& change) {
    Statement insert(db_, "INSERT INTO events (unix_ms, level, text) VALUES (?, ?, ?)");
    for (const Event& e : change.events) {
      if (!insert.Bind(e.unix_ms).Bind(e.level).Bind(e.text).Run()) return false;
    }
    return change.events.empty() ||
           Statement(db_, "DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?")
               .Bind(uint64_t{limits::kMaxEvents})
               .Run();
  }

  sqlite3* const db_;
  const std::string path_;
};

}  // namespace

Result<std::unique_ptr<StateStore>> OpenSqliteStore(const std::string& path) {
  sqlite3* db = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  const int code = sqlite3_open_v2(path.c_str(), &db, flags, nullptr);
  if (db == nullptr) return ResourceExhausted(path + ": no memory to open it");
  auto store = std::make_unique<SqliteStore>(db, path);
  if (code != SQLITE_OK) return ErrorOf(db, path);
  EMPORIUM_RETURN_IF_ERROR(store->Prepare());
  return std::unique_ptr<StateStore>(std::move(store));
}

}  // namespace emporium::scheduler
