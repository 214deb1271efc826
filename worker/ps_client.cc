#include "worker/ps_client.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <future>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "proto/check.h"
#include "proto/limits.h"
#include "runtime/failpoint.h"
#include "runtime/log.h"
#include "runtime/thread_annotations.h"

namespace emporium::worker {
namespace {

using runtime::Message;
using runtime::MutexLock;
using TimePoint = std::chrono::steady_clock::time_point;

TimePoint Now() { return std::chrono::steady_clock::now(); }
constexpr std::chrono::milliseconds kTimeout(limits::kCallTimeoutMs);
constexpr std::chrono::milliseconds kBusyDelay(limits::kBusyDelayMs);

class Client final : public PsClient {
 public:
  explicit Client(runtime::Context& context) : context_(context) {
    std::promise<runtime::Waker> waker;
    std::future<runtime::Waker> made = waker.get_future();
    thread_ = std::thread([this, &waker] { Run(&waker); });
    waker_ = made.get();
  }

  ~Client() override {
    {
      MutexLock lock(mutex_);
      stopping_ = true;
    }
    waker_.Wake();
    thread_.join();
  }

  Status SetRoute(std::shared_ptr<const runtime::Route> route) override {
    MutexLock one(control_mutex_);
    Status status;
    Control([this, &route, &status] {
      status = Connect(*route);
      MutexLock lock(mutex_);
      route_ = status.ok() ? route : nullptr;
    });
    return status;
  }

  std::shared_ptr<const runtime::Route> route() const override {
    MutexLock lock(mutex_);
    return route_;
  }

  uint64_t NewRequestId() override {
    MutexLock lock(mutex_);
    return ++last_request_id_;
  }

  void Call(PsCall call) override {
    {
      MutexLock lock(mutex_);
      inbox_.push_back(std::move(call));
    }
    waker_.Wake();
  }

  void CancelAll() override {
    MutexLock one(control_mutex_);
    Control([] {});
  }

  void Interrupt() override {
    MutexLock one(control_mutex_);
    Control([this] { interrupted_ = true; });
  }

  void Resume() override {
    MutexLock one(control_mutex_);
    Control([this] { interrupted_ = false; });
  }

  PsClientCounters counters() const override {
    MutexLock lock(mutex_);
    return counters_;
  }

 private:
  struct Part {
    bool answered = false;
    bool repeated = false;
    TimePoint resend_at;
    Message reply;
  };
  struct Pending {
    PsCall call;
    std::vector<Part> parts;  // by shard
    size_t missing = 0;
    TimePoint give_up_at;
  };
  using PendingCalls = std::map<uint64_t, Pending>;

  // Runs `action` on the client's thread after it has ended every call; waits for it.
  void Control(const std::function<void()>& action) EMPORIUM_REQUIRES(control_mutex_) {
    MutexLock lock(mutex_);
    control_ = &action;
    waker_.Wake();
    while (control_ != nullptr) control_done_.Wait(mutex_);
  }

  // -- The client's thread from here on -----------------------------------------------------------

  // A socket belongs to the thread that makes it, so it is made here; `waker` tells the others.
  void Run(std::promise<runtime::Waker>* waker) {
    socket_ = runtime::ClientSocket::Create(context_);
    waker->set_value(socket_->waker());
    while (TakeWork()) {
      size_t peer = 0;
      Message message;
      if (socket_->Receive(peer, message, TimeoutMs())) TakeReply(peer, std::move(message));
      if (Now() >= next_resend_) Resend();
    }
    socket_.reset();
  }

  // Takes what others have handed over; false when it is time to stop.
  bool TakeWork() {
    std::deque<PsCall> calls;
    const std::function<void()>* control = nullptr;
    bool stopping = false;
    {
      MutexLock lock(mutex_);
      calls.swap(inbox_);
      control = control_;
      stopping = stopping_;
    }
    if (control != nullptr || stopping) {
      for (PsCall& call : calls) call.done(Cancelled("the call was cancelled"), {});
      EndAll(Cancelled("the call was cancelled"));
      if (control != nullptr) {
        (*control)();
        MutexLock lock(mutex_);
        control_ = nullptr;
        control_done_.NotifyAll();
      }
      return !stopping;
    }
    for (PsCall& call : calls) Begin(std::move(call));
    return true;
  }

  Status Connect(const runtime::Route& route) {
    for (size_t shard = 0; shard < route.shards(); ++shard) {
      EMPORIUM_RETURN_IF_ERROR(socket_->Connect(shard, route.endpoint_of_shard[shard]));
    }
    shards_ = route.shards();
    return Status::Ok();
  }

  void Begin(PsCall call) {
    if (interrupted_) return call.done(Cancelled("the call was cancelled"), {});
    if (pending_.size() >= limits::kMaxPendingCalls) {
      return call.done(Busy("too many calls to the shards at once"), {});
    }
    if (call.frames.size() != shards_) {
      return call.done(Cancelled("the route changed before the call was sent"), {});
    }
    Pending pending;
    pending.parts.resize(shards_);
    pending.missing = shards_;
    pending.give_up_at = Now() + kTimeout * limits::kMaxCallAttempts;
    int64_t bytes = 0;
    for (size_t shard = 0; shard < shards_; ++shard) {
      bytes += static_cast<int64_t>(call.frames[shard].size());
      socket_->Send(shard, std::move(call.frames[shard]));
      if (shard == 0 && call.answer == FrameType::kAck) EMPORIUM_FAILPOINT("worker.push_half_sent");
      ScheduleResend(&pending.parts[shard], Now() + kTimeout);
    }
    const uint64_t id = call.request_id;
    pending.call = std::move(call);
    EMPORIUM_CHECK(pending_.emplace(id, std::move(pending)).second, "request ids are used once");
    MutexLock lock(mutex_);
    counters_.bytes_sent += bytes;
  }

  void ScheduleResend(Part* part, TimePoint at) {
    part->resend_at = at;
    next_resend_ = std::min(next_resend_, at);
  }

  int64_t TimeoutMs() const {
    if (next_resend_ == TimePoint::max()) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next_resend_ - Now());
    return std::max<int64_t>(0, left.count());
  }

  void TakeReply(size_t shard, Message message) {
    const auto header = FrameView::ParseHeader(message.bytes());
    {
      MutexLock lock(mutex_);
      counters_.bytes_received += static_cast<int64_t>(message.bytes().size());
      if (!header.ok()) ++counters_.refused_frames;
    }
    if (!header.ok()) {
      runtime::Log(runtime::LogLevel::kWarning, "worker", "answer of shard {}: {}", shard,
                   header.status().message());
      return;
    }
    const auto found = pending_.find(header->request_id);
    // Late answers to repetitions and to cancelled calls have nobody who waits for them.
    if (found == pending_.end() || shard >= found->second.parts.size()) return;
    Pending& pending = found->second;
    Part& part = pending.parts[shard];
    if (part.answered) return;
    if (header->type == FrameType::kError) {
      if (header->error == StatusCode::kBusy) return ScheduleResend(&part, Now() + kBusyDelay);
      if (header->error == StatusCode::kNotFound && !part.repeated) {
        return ScheduleResend(&part, Now());
      }
      const auto frame = FrameView::Parse(message.bytes());
      const std::string why = frame.ok() ? std::string(frame->error_message()) : "no reason given";
      return End(found, Status(header->error, "shard " + std::to_string(shard) + ": " + why));
    }
    if (header->type != pending.call.answer) {
      return End(found, Internal("shard " + std::to_string(shard) +
                                 " gave an answer that does not fit the request"));
    }
    part.answered = true;
    part.reply = std::move(message);
    if (--pending.missing == 0) End(found, Status::Ok());
  }

  // Sends again what is due, and finds the next time at which something will be.
  void Resend() {
    const TimePoint now = Now();
    next_resend_ = TimePoint::max();
    for (auto call = pending_.begin(); call != pending_.end();) {
      const auto current = call++;  // End removes it
      Pending& pending = current->second;
      if (now >= pending.give_up_at) {
        End(current, DeadlineExceeded(Unanswered(pending)));
        continue;
      }
      for (size_t shard = 0; shard < pending.parts.size(); ++shard) {
        Part& part = pending.parts[shard];
        if (part.answered) continue;
        if (part.resend_at <= now) {
          socket_->Send(shard, pending.call.encode(shard));
          part.repeated = true;
          part.resend_at = now + kTimeout;
          MutexLock lock(mutex_);
          ++counters_.repetitions;
        }
        next_resend_ = std::min(next_resend_, part.resend_at);
      }
    }
  }

  static std::string Unanswered(const Pending& pending) {
    std::string shards;
    for (size_t shard = 0; shard < pending.parts.size(); ++shard) {
      if (!pending.parts[shard].answered) shards += " " + std::to_string(shard);
    }
    return "no answer in " + std::to_string((kTimeout * limits::kMaxCallAttempts).count() / 1000) +
           " s from shard" + shards + "; does its server still run, and has it memory left?";
  }

  void End(PendingCalls::iterator call, const Status& status) {
    Pending pending = std::move(call->second);
    pending_.erase(call);
    std::vector<Message> replies;
    if (status.ok()) {
      replies.reserve(pending.parts.size());
      for (Part& part : pending.parts) replies.push_back(std::move(part.reply));
    }
    pending.call.done(status, std::move(replies));
  }

  void EndAll(const Status& status) {
    while (!pending_.empty()) End(pending_.begin(), status);
    next_resend_ = TimePoint::max();
  }

  runtime::Context& context_;
  // The client's thread only.
  std::unique_ptr<runtime::ClientSocket> socket_;
  size_t shards_ = 0;
  bool interrupted_ = false;
  PendingCalls pending_;
  TimePoint next_resend_ = TimePoint::max();

  runtime::Waker waker_;
  std::thread thread_;
  runtime::Mutex control_mutex_;  // one Control at a time; taken before mutex_
  mutable runtime::Mutex mutex_;
  std::deque<PsCall> inbox_ EMPORIUM_GUARDED_BY(mutex_);
  const std::function<void()>* control_ EMPORIUM_GUARDED_BY(mutex_) = nullptr;
  runtime::CondVar control_done_;
  std::shared_ptr<const runtime::Route> route_ EMPORIUM_GUARDED_BY(mutex_);
  uint64_t last_request_id_ EMPORIUM_GUARDED_BY(mutex_) = 0;
  bool stopping_ EMPORIUM_GUARDED_BY(mutex_) = false;
  PsClientCounters counters_ EMPORIUM_GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<PsClient> PsClient::Start(runtime::Context& context) {
  return std::make_unique<Client>(context);
}

Result<std::vector<Message>> CallAndWait(PsClient& client, PsCall call) {
  std::promise<std::pair<Status, std::vector<Message>>> promise;
  auto answer = promise.get_future();
  call.done = [&promise](const Status& status, std::vector<Message> replies) {
    promise.set_value({status, std::move(replies)});
  };
  client.Call(std::move(call));
  auto [status, replies] = answer.get();
  if (!status.ok()) return status;
  return std::move(replies);
}

FrameHeader AnyVersionPull(PsClient& client, const runtime::Route& route, StageId stage,
                           Generation generation) {
  FrameHeader header;
  header.type = FrameType::kPull;
  header.any_version = true;
  header.request_id = client.NewRequestId();
  header.route_version = route.version;
  header.generation = generation;
  header.stage = stage;
  return header;
}

Result<std::vector<ShardPosition>> ProbeShards(PsClient& client, StageId stage,
                                               Generation generation) {
  const auto route = client.route();
  if (route == nullptr) return FailedPrecondition("no route to the shards is known yet");
  const FrameHeader header = AnyVersionPull(client, *route, stage, generation);
  PsCall call;
  call.request_id = header.request_id;
  call.encode = [header](size_t) { return FrameBuilder(header, {}).Finish(); };
  for (size_t shard = 0; shard < route->shards(); ++shard) {
    call.frames.push_back(call.encode(shard));
  }
  EMPORIUM_ASSIGN_OR_RETURN(const std::vector<Message> replies,
                            CallAndWait(client, std::move(call)));
  std::vector<ShardPosition> positions;
  for (const Message& reply : replies) {
    EMPORIUM_ASSIGN_OR_RETURN(const FrameHeader answer, FrameView::ParseHeader(reply.bytes()));
    positions.push_back({answer.stage, answer.step, answer.micro_batch.value()});
  }
  return positions;
}

}  // namespace emporium::worker
