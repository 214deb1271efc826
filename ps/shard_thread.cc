#include "ps/shard_thread.h"

#include <chrono>
#include <future>
#include <utility>

#include "proto/frame.h"
#include "proto/limits.h"
#include "ps/checkpoint.h"
#include "runtime/clock.h"
#include "runtime/failpoint.h"

namespace emporium::ps {

// The inside: everything here is touched by the shard's thread alone.
class ShardThread::Loop {
 public:
  Loop(ShardThread* outside, std::unique_ptr<runtime::ServerSocket> socket)
      : outside_(outside), socket_(std::move(socket)) {}

  void Run() {
    PeerId peer;
    runtime::Message message;
    for (;;) {
      if (socket_->Receive(peer, message, WaitMs())) {
        HandleFrame(peer, std::move(message));
        if (feed_ != nullptr) busy_until_ = Now() + kBusyFor;
      }
      Orders orders = outside_->TakeOrders();
      for (auto& [task, feed] : orders.tasks) {
        task(shard_, &out_);
        if (feed != nullptr) feed_ = std::move(feed);
        SendOut();
      }
      if (feed_ != nullptr) CopyOn();
      if (orders.status || !orders.tasks.empty()) outside_->Publish(Status());
      if (orders.stop) return;
    }
  }

 private:
  using Time = std::chrono::steady_clock::time_point;
  static Time Now() { return std::chrono::steady_clock::now(); }
  // Of the thread's time that goes into copying a cut, while frames come: one part in so many; more
  // when much of what may be copied aside has been.
  int CopyShare() const {
    const uint64_t aside = shard_->cut_bytes();
    if (aside < limits::kMaxCutBytes / 2) return 8;
    return aside < limits::kMaxCutBytes / 4 * 3 ? 4 : 2;
  }
  // Frames come when one came so lately.
  static constexpr std::chrono::milliseconds kBusyFor{20};

  bool MayCopy(Time now) const {
    return feed_->HasRoom() && (now >= busy_until_ || now >= next_copy_);
  }

  // For a frame: until the next piece of a cut may be copied.
  int64_t WaitMs() const {
    if (feed_ == nullptr || !feed_->HasRoom()) return -1;
    const Time now = Now();
    if (MayCopy(now)) return 0;
    return std::chrono::ceil<std::chrono::milliseconds>(next_copy_ - now).count();
  }

  void HandleFrame(const PeerId& peer, runtime::Message message) {
    if (shard_ == nullptr) return RefuseEarly(peer, message);
    const runtime::Stopwatch watch;
    const uint64_t steps = shard_->counters().steps_applied;
    EMPORIUM_FAILPOINT("server.frame_received");
    shard_->Handle(peer, FrameBytes(std::move(message)), &out_);
    EMPORIUM_FAILPOINT("server.frame_handled");
    const bool applied = shard_->counters().steps_applied != steps;
    if (applied) EMPORIUM_FAILPOINT("server.step_applied");
    do {
      SendOut();
    } while (shard_->AnswerNext(&out_));
    EMPORIUM_FAILPOINT("server.frame_answered");
    (applied ? seconds_applying_ : seconds_serving_) += watch.Seconds();
  }

  // The next piece of the cut, if it is wanted now or must not wait.
  void CopyOn() {
    if (shard_ == nullptr || feed_->closed()) {
      if (shard_ != nullptr) shard_->EndCut();
      feed_.reset();
      return;
    }
    const Time begun = Now();
    const auto must = [this] { return shard_->cut_bytes() > limits::kMaxCutBytes; };
    if (!MayCopy(begun) && !must()) return;
    do {
      CutPiece piece;
      if (!shard_->NextPiece(kCutPieceBytes, &piece)) {
        feed_->Close();
        feed_.reset();
        return;
      }
      // The writer may have closed it: the next call ends the cut.
      if (!feed_->Put(std::move(piece))) return;
    } while (must());
    const Time ended = Now();
    next_copy_ = ended + (CopyShare() - 1) * (ended - begun);
  }

  // Before the scheduler has said what to restore.
  void RefuseEarly(const PeerId& peer, const runtime::Message& message) {
    const Result<FrameHeader> header = FrameView::ParseHeader(message.bytes());
    if (!header.ok()) {
      ++refused_early_;
      return;
    }
    if (!IsRequest(header->type)) return;
    socket_->Send(peer, EncodeError(*header, RouteVersion(0), Step(0),
                                    Busy("the shard has not been restored yet; ask again")));
  }

  void SendOut() {
    for (Send& send : out_) socket_->Send(send.peer, std::move(send.bytes));
    out_.clear();
  }

  ShardStatus::OfTable StatusOf(size_t i) const {
    const Table& table = shard_->table(i);
    const uint32_t step = shard_->position().global_step;
    ShardStatus::OfTable status{
        table.settings().name, table.rows(), table.bytes(), shard_->retention(i),
        std::nullopt,          {},           step};
    const Table::Totals totals = table.totals(step);
    if (table.settings().popularity) {
      status.popularity =
          ShardStatus::OfCount{"popularity", totals.popularity, table.popularity_summary(step)};
    }
    std::vector<PopularitySummary> summaries = table.counter_summaries(step);
    for (size_t c = 0; c < summaries.size(); ++c) {
      const std::string& name = table.settings().slots[table.counters()[c]].name;
      status.counters.push_back({name, totals.slots[c], std::move(summaries[c])});
    }
    return status;
  }

  ShardStatus Status() const {
    ShardStatus status;
    status.seconds_applying = seconds_applying_;
    status.seconds_serving = seconds_serving_;
    if (shard_ != nullptr) {
      status.counters = shard_->counters();
      status.generation = shard_->generation();
      for (size_t i = 0; i < shard_->tables(); ++i) {
        status.tables.push_back(StatusOf(i));
      }
    }
    status.counters.refused_frames += refused_early_;
    return status;
  }

  ShardThread* const outside_;
  const std::unique_ptr<runtime::ServerSocket> socket_;
  std::unique_ptr<Shard> shard_;
  std::shared_ptr<CutFeed> feed_;  // of the cut under way
  Time busy_until_, next_copy_;    // while it is
  std::vector<Send> out_;
  uint64_t refused_early_ = 0;
  double seconds_applying_ = 0;
  double seconds_serving_ = 0;
};

Result<std::unique_ptr<ShardThread>> ShardThread::Start(runtime::Context& context,
                                                        const std::string& endpoint) {
  auto self = std::make_unique<ShardThread>();
  std::promise<emporium::Status> bound;
  std::future<emporium::Status> answer = bound.get_future();
  // The socket belongs to the thread that makes it, so it is bound there.
  self->thread_ =
      std::thread([outside = self.get(), &context, endpoint, bound = std::move(bound)]() mutable {
        Result<std::unique_ptr<runtime::ServerSocket>> socket =
            runtime::ServerSocket::Bind(context, endpoint);
        if (!socket.ok()) return bound.set_value(socket.status());
        outside->endpoint_ = (*socket)->endpoint();
        outside->waker_ = (*socket)->waker();
        Loop loop(outside, std::move(socket).value());
        bound.set_value(emporium::Status::Ok());
        loop.Run();
      });
  EMPORIUM_RETURN_IF_ERROR(answer.get());
  return self;
}

ShardThread::~ShardThread() {
  {
    runtime::MutexLock lock(mutex_);
    orders_.stop = true;
  }
  waker_.Wake();
  thread_.join();
}

void ShardThread::Post(Task task) { PostCut(std::move(task), nullptr); }

void ShardThread::PostCut(Task task, std::shared_ptr<CutFeed> feed) {
  {
    runtime::MutexLock lock(mutex_);
    orders_.tasks.emplace_back(std::move(task), std::move(feed));
  }
  waker_.Wake();
}

void ShardThread::RefreshStatus() {
  {
    runtime::MutexLock lock(mutex_);
    orders_.status = true;
  }
  waker_.Wake();
}

ShardStatus ShardThread::status() const {
  runtime::MutexLock lock(mutex_);
  return status_;
}

ShardThread::Orders ShardThread::TakeOrders() {
  runtime::MutexLock lock(mutex_);
  return std::exchange(orders_, Orders{});
}

void ShardThread::Publish(ShardStatus status) {
  runtime::MutexLock lock(mutex_);
  status_ = std::move(status);
}

}  // namespace emporium::ps
