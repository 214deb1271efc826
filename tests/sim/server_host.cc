#include "tests/sim/server_host.h"

#include <utility>

#include "ps/shard_commands.h"
#include "runtime/control_client.h"
#include "runtime/file.h"
#include "runtime/manifest.h"
#include "tests/ps/shard_fixture.h"

namespace emporium::sim {

using control::CommandKind;

void ServerHost::BeginLife() {
  shards_.clear();
  shards_.resize(count_);
  ledgers_.assign(count_, {});
  peers_.clear();
  routes_.clear();
  commands_.clear();
  running_ = false;
  outcome_ = {};
  making_.reset();
  written_ = {};
  heard_ = world_.now();
}

control::Registration ServerHost::MakeRegistration() {
  control::Registration r;
  r.kind = control::NodeKind::SERVER;
  for (size_t i = 0; i < count_; ++i) r.shard_endpoints.push_back(Endpoint(i));
  outcome_ = {};
  written_ = {};
  commands_.clear();
  return r;
}

bool ServerHost::Has(const std::string& endpoint) const {
  for (size_t i = 0; i < count_; ++i) {
    if (alive() && endpoint == Endpoint(i)) return true;
  }
  return false;
}

void ServerHost::Deliver(const std::string& endpoint, const std::string& peer, Bytes bytes,
                         const Reply& reply) {
  for (size_t i = 0; i < count_; ++i) {
    if (endpoint != Endpoint(i)) continue;
    peers_[peer] = reply;
    if (shards_[i] == nullptr) {
      const Result<FrameHeader> header = FrameView::ParseHeader(bytes);
      reply(EncodeError(*header, RouteVersion(0), emporium::Step(0), Busy("not restored yet")));
      return;
    }
    std::vector<ps::Send> out;
    const FrameHeader asked = *FrameView::ParseHeader(bytes);
    const Generation before = shards_[i]->generation();
    shards_[i]->Handle(peer, ps::FrameBytes(std::move(bytes)), &out);
    const bool accepted = Judge(asked, *shards_[i], before, out);
    do {
      SendOut(&out);
    } while (shards_[i]->AnswerNext(&out));
    const bool push = asked.type == FrameType::kPush;
    const std::string broken = ledgers_[i].Handled(asked, push && accepted, *shards_[i]);
    if (!broken.empty()) Violate(broken);
    return;
  }
}

// What comes from a time before is refused. Whether the frame was accepted.
bool ServerHost::Judge(const FrameHeader& asked, const ps::Shard& shard, Generation before,
                       const std::vector<ps::Send>& out) {
  const bool old = asked.route_version != shard.config().route_version || asked.generation < before;
  bool accepted = false;
  for (const ps::Send& send : out) {
    const FrameHeader answer = *FrameView::ParseHeader(send.bytes);
    if (answer.request_id != asked.request_id || answer.type == FrameType::kError) continue;
    if (old) Violate("took a frame of an earlier route or generation");
    accepted = true;
  }
  return accepted;
}

void ServerHost::SendOut(std::vector<ps::Send>* out) {
  for (ps::Send& send : *out) {
    const auto peer = peers_.find(send.peer);
    if (peer != peers_.end()) peer->second(std::move(send.bytes));
  }
  out->clear();
}

void ServerHost::Take(const control::Command& command) {
  commands_.push_back(command);
  RunNext();
}

// One command after another, each of which takes its time.
void ServerHost::RunNext() {
  if (running_ || commands_.empty()) return;
  running_ = true;
  const control::Command command = commands_.front();
  commands_.pop_front();
  world_.After(this, world_.Between(kMs, 20 * kMs), [this, command] {
    outcome_ = Carry(command);
    running_ = false;
    ReportSoon();
    RunNext();
  });
}

ServerHost::Outcome ServerHost::Carry(const control::Command& command) {
  Outcome outcome;
  outcome.sequence = command.sequence;
  if (command.kind == CommandKind::RESTORE) {
    outcome.status = Restore(command);
  } else if (command.kind == CommandKind::CHECKPOINT) {
    outcome.status = Checkpoint(command);
  }
  if (!outcome.status.ok()) world_.Note(name() + ": " + outcome.status.ToString());
  return outcome;
}

Status ServerHost::Restore(const control::Command& command) {
  EMPORIUM_ASSIGN_OR_RETURN(const runtime::Route route, runtime::RouteFromControl(command.route));
  making_.reset();
  if (!routes_.insert(route.version.value()).second) Violate("restored twice for one route");
  spec::CheckpointManifest manifest;
  const std::string& dir = command.checkpoint_dir;
  if (!dir.empty()) {
    EMPORIUM_ASSIGN_OR_RETURN(manifest, runtime::ReadManifest(dir));
    EMPORIUM_RETURN_IF_ERROR(runtime::VerifyFiles(dir, manifest));
  }
  for (size_t i = 0; i < count_; ++i) {
    ps::Shard::Config config = ps::ConfigOnRoute(
        ShardId(static_cast<uint16_t>(registered().first_shard + i)), route,
        Generation(static_cast<uint64_t>(command.generation)), ps::testing::TwoTables());
    config.follow_changes = true;
    std::vector<ps::Send> out;
    if (shards_[i] != nullptr) shards_[i]->RefuseParked("the shard is restored", &out);
    SendOut(&out);
    auto fresh = std::make_unique<ps::Shard>(std::move(config));
    if (!dir.empty()) EMPORIUM_RETURN_IF_ERROR(ps::RestoreShard(dir, manifest, "sim", fresh.get()));
    shards_[i] = std::move(fresh);
    ledgers_[i].Begin(*shards_[i]);
  }
  return Status::Ok();
}

// The cut; rows are copied and files written while frames are handled.
Status ServerHost::Checkpoint(const control::Command& command) {
  making_.reset();
  EMPORIUM_RETURN_IF_ERROR(runtime::MakeDirs(command.checkpoint_dir));
  Making making;
  making.number = command.checkpoint;
  making.dir = command.checkpoint_dir;
  making.pieces.resize(count_);
  for (const std::unique_ptr<ps::Shard>& shard : shards_) {
    if (shard == nullptr) return FailedPrecondition("a checkpoint of what was never restored");
    std::vector<ps::Send> out;
    const Status ready =
        shard->ReadyForCheckpoint(StageId(static_cast<uint32_t>(command.stage)),
                                  emporium::Step(static_cast<uint64_t>(command.until_step)), &out);
    SendOut(&out);
    if (!ready.ok() && scheduler_.alive() &&
        command.generation >= scheduler_.machine().generation()) {
      Violate("was told to write a checkpoint where it does not stand");
    }
    EMPORIUM_RETURN_IF_ERROR(ready);
    making.cuts.push_back(shard->BeginCut(static_cast<uint64_t>(command.checkpoint),
                                          static_cast<uint64_t>(command.parent)));
  }
  making_ = std::move(making);
  CopyOn(command.checkpoint);
  return Status::Ok();
}

void ServerHost::CopyOn(int64_t number) {
  if (!making_.has_value() || making_->number != number) return;
  constexpr size_t kPieceBytes = 1024;  // tables are small
  bool more = false;
  for (size_t i = 0; i < count_; ++i) {
    ps::CutPiece piece;
    if (!shards_[i]->NextPiece(kPieceBytes, &piece)) continue;
    making_->pieces[i].push_back(std::move(piece));
    more = true;
  }
  if (more) {
    world_.After(this, world_.Between(kMs / 10, kMs), [this, number] { CopyOn(number); });
    return;
  }
  Written written;
  written.checkpoint = number;
  written.status = WriteFiles(&written.files);
  if (!written.status.ok()) world_.Note(name() + ": " + written.status.ToString());
  written_ = std::move(written);
  making_.reset();
  ReportSoon();
}

Status ServerHost::WriteFiles(std::vector<control::ShardFile>* files) {
  if (disk_fails) return ResourceExhausted("no space left on device");
  for (size_t i = 0; i < count_; ++i) {
    std::deque<ps::CutPiece>& pieces = making_->pieces[i];
    const ps::CutSource source = [&pieces]() -> std::optional<ps::CutPiece> {
      if (pieces.empty()) return std::nullopt;
      ps::CutPiece piece = std::move(pieces.front());
      pieces.pop_front();
      return piece;
    };
    EMPORIUM_ASSIGN_OR_RETURN(const ps::ShardFileInfo info,
                              ps::WriteShardFile(making_->cuts[i], source, making_->dir, "sim",
                                                 static_cast<uint64_t>(registered().incarnation)));
    files->push_back(ps::ToControl(making_->cuts[i].shard, info));
  }
  return Status::Ok();
}

void ServerHost::AddToReport(control::Report* report) {
  report->done_sequence = outcome_.sequence;
  if (outcome_.sequence == seen()) {
    report->error = outcome_.status.ok() ? "" : outcome_.status.message();
    report->error_code = static_cast<int32_t>(outcome_.status.code());
  }
  report->checkpoint = written_.checkpoint;
  report->checkpoint_error = written_.status.ok() ? "" : written_.status.message();
  report->shard_files = written_.files;
  for (const std::unique_ptr<ps::Shard>& shard : shards_) {
    if (shard == nullptr) continue;
    report->generation =
        std::max(report->generation, static_cast<int64_t>(shard->generation().value()));
  }
}

void ServerHost::Heard(bool answered, Micros asked) {
  if (answered) heard_ = asked;
  const bool serving = world_.now() < heard_ + 3 * kSecond;
  for (const std::unique_ptr<ps::Shard>& shard : shards_) {
    if (shard != nullptr) shard->SetServing(serving);
  }
}

}  // namespace emporium::sim
