// One connection as the replication code uses it: decoded messages in, a queue of messages out that one task (pump) sends.
// Beacons and their answers overtake queued data, so that a busy link does not look like a dead peer. Numbered messages
// (writes) are given to the connection only while few of them are unanswered there: a slow peer's backlog waits here, where a
// beacon can overtake it, and where it can be seen and bounded.
#pragma once

#include <deque>
#include <memory>
#include <utility>

#include "async/intrusive_list.h"
#include "async/sync.h"
#include "env/network.h"
#include "replica/wire.h"

namespace resilver::replica {

struct Received {
  std::uint64_t epoch = 0;
  Body body;
  Buffer payload;
};

class Session : public ListHook {
 public:
  // More queued messages than this: the peer does not read; the session is closed.
  static constexpr std::size_t kMaxQueued = 8192;
  // Numbered messages that the peer has and has not answered.
  static constexpr std::size_t kWindow = 1024;
  static constexpr std::uint64_t kWindowBytes = 32 << 20;

  Session(Scheduler& scheduler, std::unique_ptr<Connection> connection)
      : connection_(std::move(connection)), wake_(scheduler), ended_(scheduler) {}

  void send(Message message) {
    if (!room()) return;
    out_.push_back({std::move(message), 0});
    wake_.wake_all();
  }
  // Numbers grow, and start at 1.
  void send_numbered(std::uint64_t number, Message message, Nanos now) {
    if (!room()) return;
    unanswered_.push_back({number, message.body.size(), now});
    unanswered_bytes_ += message.body.size();
    out_.push_back({std::move(message), number});
    wake_.wake_all();
  }
  void answered(std::uint64_t number) {
    bool any = false;
    for (; !unanswered_.empty() && unanswered_.front().number <= number; unanswered_.pop_front()) {
      unanswered_bytes_ -= unanswered_.front().bytes;
      if (unanswered_.front().number <= given_) {
        --outside_;
        outside_bytes_ -= unanswered_.front().bytes;
      }
      any = true;
    }
    if (any) wake_.wake_all();
  }
  // Numbered messages that are not answered, here and at the peer.
  std::size_t unanswered() const noexcept { return unanswered_.size(); }
  std::uint64_t unanswered_bytes() const noexcept { return unanswered_bytes_; }
  // When the oldest of them came. Precondition: there is one.
  Nanos oldest_unanswered() const noexcept { return unanswered_.front().at; }

  void send_urgent(Message message) {
    if (!room()) return;
    out_.push_front({std::move(message), 0});
    wake_.wake_all();
  }
  std::size_t queued() const noexcept { return out_.size(); }

  // Sends what is queued until close(). Whoever opened the session runs it once and waits for it.
  Task<void> pump() {
    while (!closed()) {
      const bool full = outside_ >= kWindow || outside_bytes_ >= kWindowBytes;
      if (out_.empty() || (out_.front().number != 0 && full)) {
        co_await wake_.wait();
        continue;
      }
      Out next = std::move(out_.front());
      out_.pop_front();
      if (next.number != 0 && !unanswered_.empty() && unanswered_.front().number <= next.number) {
        given_ = next.number;
        ++outside_;
        outside_bytes_ += next.message.body.size();
      }
      const Status sent = co_await connection_->send(std::move(next.message), kNever);
      if (!sent) close();
    }
    out_.clear();
    unanswered_.clear();
    unanswered_bytes_ = 0;
  }

  // The next message; after any error but timeout the session is closed.
  Task<Result<Received>> receive(Nanos deadline) {
    if (closed()) co_return fail(Errc::closed);
    Result<Message> message = co_await connection_->receive(deadline);
    if (!message) {
      if (message.error().code == Errc::corrupt) garbage_ = Errc::corrupt;
      if (message.error().code != Errc::timeout) close();
      co_return std::unexpected(message.error());
    }
    Result<Decoded> decoded = decode(message->head);
    if (!decoded) {
      garbage_ = decoded.error().code;
      close();
      co_return std::unexpected(decoded.error());
    }
    co_return Received{decoded->epoch, std::move(decoded->body), std::move(message->body)};
  }

  // Before pump() runs: sends one message directly.
  Task<Status> send_now(Message message, Nanos deadline) {
    if (closed()) co_return fail(Errc::closed);
    co_return co_await connection_->send(std::move(message), deadline);
  }

  void close() noexcept {
    if (closed()) return;
    connection_->close();
    ended_.set();
    wake_.wake_all();
  }
  bool closed() const noexcept { return ended_.is_set(); }
  Event& ended() noexcept { return ended_; }
  // Why the session ended, if it was for bytes that are no message of this version; else ok.
  Errc garbage() const noexcept { return garbage_; }

 private:
  bool room() {
    if (closed()) return false;
    if (out_.size() < kMaxQueued) return true;
    close();
    return false;
  }

  Errc garbage_ = Errc::ok;
  std::unique_ptr<Connection> connection_;
  struct Out {
    Message message;
    std::uint64_t number;  // 0: none
  };
  struct Unanswered {
    std::uint64_t number;
    std::uint64_t bytes;
    Nanos at;
  };
  std::deque<Out> out_;
  std::deque<Unanswered> unanswered_;
  std::uint64_t unanswered_bytes_ = 0;
  std::uint64_t given_ = 0;  // the last number that the connection got
  std::size_t outside_ = 0;  // of unanswered_, those up to given_
  std::uint64_t outside_bytes_ = 0;
  Event wake_;
  Event ended_;
};

}  // namespace resilver::replica
