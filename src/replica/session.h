// One connection as the replication code uses it: decoded messages in, a queue of messages out that one task (pump) sends.
// Beacons and their answers overtake queued data, so that a busy link does not look like a dead peer.
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

  Session(Scheduler& scheduler, std::unique_ptr<Connection> connection)
      : connection_(std::move(connection)), wake_(scheduler), ended_(scheduler) {}

  void send(Message message) {
    if (!room()) return;
    out_.push_back(std::move(message));
    wake_.wake_all();
  }
  void send_urgent(Message message) {
    if (!room()) return;
    out_.push_front(std::move(message));
    wake_.wake_all();
  }
  std::size_t queued() const noexcept { return out_.size(); }

  // Sends what is queued until close(). Whoever opened the session runs it once and waits for it.
  Task<void> pump() {
    while (!closed()) {
      if (out_.empty()) {
        co_await wake_.wait();
        continue;
      }
      Message next = std::move(out_.front());
      out_.pop_front();
      const Status sent = co_await connection_->send(std::move(next), kNever);
      if (!sent) close();
    }
    out_.clear();
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
  std::deque<Message> out_;
  Event wake_;
  Event ended_;
};

}  // namespace resilver::replica
