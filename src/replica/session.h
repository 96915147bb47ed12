// One connection as the replication code uses it: decoded messages in, a queue of messages out that one task (pump) sends.
// Beacons and their answers overtake queued data, so that a busy link does not look like a dead peer. Numbered messages
// (writes) and pieces of a copy are given to the connection only while few of them are unanswered there: a slow peer's
// backlog waits here, where a beacon can overtake it, and where it can be seen and bounded. send_window.h: how many bytes.
#pragma once

#include <algorithm>
#include <deque>
#include <memory>
#include <utility>

#include "async/intrusive_list.h"
#include "async/sync.h"
#include "env/network.h"
#include "replica/send_window.h"
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
  // So many writes overtake a piece of a copy; then it is its turn, however many more there are.
  static constexpr unsigned kOvertaking = 16;

  Session(Scheduler& scheduler, std::unique_ptr<Connection> connection)
      : scheduler_(scheduler), connection_(std::move(connection)), wake_(scheduler), ended_(scheduler) {}

  void send(Message message) {
    if (!room()) return;
    out_.push_back({std::move(message)});
    wake_.wake_all();
  }
  // A piece of a copy, by a tag of its own: writes overtake it. The caller tells when it was answered, and how long a beacon
  // may wait at most. Precondition: no write to the same blocks is sent before that answer.
  void send_piece(std::uint64_t tag, Message message) {
    if (!room()) return;
    pieces_.push_back({std::move(message), tag});
    wake_.wake_all();
  }
  void answered_piece(std::uint64_t tag, Nanos now, Nanos most) {
    const auto piece = std::ranges::find(pieces_outside_, tag, &PieceOutside::tag);
    if (piece == pieces_outside_.end()) return;
    take_back(piece->bytes, now - piece->at, most);
    pieces_outside_.erase(piece);
    wake_.wake_all();
  }
  // Numbers grow, and start at 1.
  void send_numbered(std::uint64_t number, Message message, Nanos now) {
    if (!room()) return;
    unanswered_.push_back({number, message.body.size(), now, kNever});
    unanswered_bytes_ += message.body.size();
    out_.push_back({.message = std::move(message), .number = number});
    wake_.wake_all();
  }
  void answered(std::uint64_t number, Nanos now, Nanos most) {
    bool any = false;
    for (; !unanswered_.empty() && unanswered_.front().number <= number; unanswered_.pop_front()) {
      unanswered_bytes_ -= unanswered_.front().bytes;
      if (unanswered_.front().number <= given_) {
        --outside_;
        take_back(unanswered_.front().bytes, now - unanswered_.front().given, most);
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
    out_.push_front({std::move(message)});
    wake_.wake_all();
  }
  std::size_t queued() const noexcept { return out_.size() + pieces_.size(); }

  // For bytes of writes and pieces. Whoever opened the session tells it of its beacons.
  SendWindow& send_window() noexcept { return send_window_; }
  bool send_window_filled() const noexcept { return send_window_.filled(outside_bytes_); }

  // Sends what is queued until close(). Whoever opened the session runs it once and waits for it.
  Task<void> pump() {
    while (!closed()) {
      const bool piece = !pieces_.empty() && (out_.empty() || (overtaken_ >= kOvertaking && out_.front().number != 0));
      if (piece ? !fits(pieces_.front().message) : out_.empty() || (out_.front().number != 0 && !write_fits())) {
        co_await wake_.wait();
        continue;
      }
      Message message = piece ? take_piece() : take();
      const Status sent = co_await connection_->send(std::move(message), kNever);
      if (!sent) close();
    }
    out_.clear();
    pieces_.clear();
    pieces_outside_.clear();
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
    if (queued() < kMaxQueued) return true;
    close();
    return false;
  }

  struct Out {
    Message message;
    std::uint64_t number = 0;  // 0: none
  };
  struct Piece {
    Message message;
    std::uint64_t tag;
  };
  struct PieceOutside {
    std::uint64_t tag;
    std::uint64_t bytes;
    Nanos at;
  };
  void take_back(std::uint64_t bytes, Nanos took, Nanos most) noexcept {
    send_window_.note_stored(bytes, outside_bytes_, took, most);
    outside_bytes_ -= bytes;
  }
  bool fits(const Message& message) const noexcept { return send_window_.takes(outside_bytes_, message.body.size()); }
  bool write_fits() const noexcept { return outside_ < kWindow && fits(out_.front().message); }
  Message take_piece() {
    Piece piece = std::move(pieces_.front());
    pieces_.pop_front();
    outside_bytes_ += piece.message.body.size();
    pieces_outside_.push_back({piece.tag, piece.message.body.size(), scheduler_.now()});
    overtaken_ = 0;
    return std::move(piece.message);
  }
  Message take() {
    Out next = std::move(out_.front());
    out_.pop_front();
    if (next.number != 0 && !unanswered_.empty() && unanswered_.front().number <= next.number) {
      given_ = next.number;
      unanswered_[outside_++].given = scheduler_.now();
      outside_bytes_ += next.message.body.size();
      if (!pieces_.empty()) ++overtaken_;
    }
    return std::move(next.message);
  }

  Scheduler& scheduler_;
  Errc garbage_ = Errc::ok;
  std::unique_ptr<Connection> connection_;
  struct Unanswered {
    std::uint64_t number;
    std::uint64_t bytes;
    Nanos at;
    Nanos given;  // to the connection
  };
  std::deque<Out> out_;
  std::deque<Piece> pieces_;
  std::deque<PieceOutside> pieces_outside_;
  unsigned overtaken_ = 0;  // how many writes have overtaken the first of them
  std::deque<Unanswered> unanswered_;
  std::uint64_t unanswered_bytes_ = 0;
  std::uint64_t given_ = 0;          // the last number that the connection got
  std::size_t outside_ = 0;          // of unanswered_, those up to given_
  std::uint64_t outside_bytes_ = 0;  // of those, and of pieces
  SendWindow send_window_;
  Event wake_;
  Event ended_;
};

}  // namespace resilver::replica
