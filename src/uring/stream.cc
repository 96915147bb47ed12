#include "uring/stream.h"

#include <liburing.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "uring/tcp.h"
#include "uring/wait.h"

namespace resilver::uring {

Stream::Stream(Ring& ring, BufferPool& pool, int fd, std::shared_ptr<std::uint32_t> live)
    : ring_(ring),
      pool_(pool),
      fd_(fd),
      live_(std::move(live)),
      send_op_(*this),
      kick_(*this),
      room_(ring),
      received_(kReceiveBytes) {
  ++*live_;
}

Stream::~Stream() {
  ::close(fd_);
  --*live_;
}

void Stream::close() noexcept {
  if (closed_) return;
  closed_ = true;
  if (!sending_ && !outgoing_.empty()) {  // a last word before a refusal has a good chance this way, but no promise
    gather();
    ::sendmsg(fd_, &header_, MSG_DONTWAIT | MSG_NOSIGNAL);
    outgoing_.clear();
  }
  ::shutdown(fd_, SHUT_RDWR);  // ends what is in flight in both directions
  room_.wake_all();
}

// ---- sending: one sendmsg in flight, of as many queued messages as fit -------------------------------------------------

bool Stream::has_room() const noexcept {
  return outgoing_.size() < TcpNetwork::kQueueMessages && outgoing_bytes_ < TcpNetwork::kQueueBytes;
}

Task<Status> Stream::send(Message message, Nanos deadline) {
  StreamRef keep(*this);
  while (!closed_ && !has_room()) {
    if (!co_await room_.wait_until(deadline) && !has_room()) co_return fail(Errc::timeout);
  }
  if (closed_) co_return fail(Errc::closed);
  Outgoing& queued = outgoing_.emplace_back();
  queued.message = std::move(message);
  encode_frame(queued.message, frames_sent_++, queued.prefix);
  outgoing_bytes_ += queued.bytes();
  if (!sending_ && !kicked_) {  // later in this turn, so that what else is sent in it goes along
    kicked_ = true;
    retain();
    ring_.post(kick_);
  }
  co_return Status{};
}

void Stream::Kick::run_kick(Runnable& self) noexcept {
  Stream& stream = static_cast<Kick&>(self).stream;
  stream.kicked_ = false;
  stream.start_sending();
  stream.release();
}

void Stream::start_sending() noexcept {
  if (sending_ || closed_ || outgoing_.empty()) return;
  gather();
  // What fits goes at once, mostly all of it: cheaper than an operation of the ring, which is for the rest and for errors.
  if (const ssize_t n = ::sendmsg(fd_, &header_, MSG_DONTWAIT | MSG_NOSIGNAL); n > 0) {
    sent(static_cast<std::size_t>(n));
    if (has_room()) room_.wake_all();
    if (outgoing_.empty()) return;
    gather();
  }
  sending_ = true;
  retain();
  ring_.start(send_op_);
}

void Stream::gather() noexcept {
  std::size_t count = 0;
  std::size_t skip = front_sent_;
  const auto add = [&](const std::byte* data, std::size_t size) noexcept {
    if (skip >= size) {
      skip -= size;
    } else {
      pieces_[count++] = {const_cast<std::byte*>(data) + skip, size - skip};
      skip = 0;
    }
  };
  for (const Outgoing& out : outgoing_) {
    if (count + 3 > kMaxPieces) break;
    add(out.prefix.data(), out.prefix.size());
    add(out.message.head.data(), out.message.head.size());
    add(out.message.body.data(), out.message.body.size());
  }
  header_ = {};
  header_.msg_iov = pieces_.data();
  header_.msg_iovlen = count;
}

constinit const Op::Kind Stream::SendOp::kKind = {&SendOp::prepare_op, &SendOp::complete_op};

void Stream::SendOp::prepare_op(Op& op, io_uring_sqe& entry) noexcept {
  Stream& stream = static_cast<SendOp&>(op).stream;
  io_uring_prep_sendmsg(&entry, stream.fd_, &stream.header_, MSG_NOSIGNAL | MSG_WAITALL);
}

void Stream::SendOp::complete_op(Op& op, int result) noexcept {
  Stream& stream = static_cast<SendOp&>(op).stream;
  stream.sending_ended(result);
  stream.release();
}

void Stream::sending_ended(int result) noexcept {
  sending_ = false;
  if (result < 0 && result != -EINTR && result != -EAGAIN) close();
  if (closed_) {
    outgoing_.clear();
    return;
  }
  if (result > 0) sent(static_cast<std::size_t>(result));
  if (has_room()) room_.wake_all();
  start_sending();
}

void Stream::sent(std::size_t bytes) noexcept {
  front_sent_ += bytes;
  while (!outgoing_.empty() && front_sent_ >= outgoing_.front().bytes()) {
    front_sent_ -= outgoing_.front().bytes();
    outgoing_bytes_ -= outgoing_.front().bytes();
    outgoing_.pop_front();
  }
}

// ---- receiving ---------------------------------------------------------------------------------------------------------

Task<Result<Message>> Stream::receive(Nanos deadline) {
  StreamRef keep(*this);
  CHECK(!receiving_, "one receive() at a time");
  receiving_ = true;
  Errc error = Errc::ok;
  while (error == Errc::ok) {
    if (closed_) {
      error = Errc::closed;
      break;
    }
    const Progress progress = advance();
    if (progress == Progress::message) {
      receiving_ = false;
      co_return std::exchange(incoming_, {});
    }
    if (progress == Progress::corrupt) {
      close();
      error = Errc::corrupt;
    } else if (progress == Progress::no_memory) {  // the pool is used up: the peer is held back meanwhile
      if (ring_.now() >= deadline) error = Errc::timeout;
      co_await sleep_for(ring_, kMillisecond);
    } else {
      const bool direct = in_body_ && prefix_.body_len - body_got_ >= kDirectBytes;
      std::byte* to = direct ? incoming_.body.data() + body_got_ : received_.data() + end_;
      const std::size_t size = direct ? prefix_.body_len - body_got_ : received_.size() - end_;
      const int got = co_await Wait::recv(ring_, fd_, to, size, direct ? MSG_WAITALL : 0, deadline);
      if (got > 0) {
        (direct ? body_got_ : end_) += static_cast<std::size_t>(got);
      } else if (got == -ETIME) {
        error = Errc::timeout;
      } else if (got != -EINTR && got != -EAGAIN) {
        close();
        error = Errc::closed;
      }
    }
  }
  receiving_ = false;
  co_return fail(error);
}

// Goes as far as the bytes that are here allow. What is there of a message stays over a deadline.
Stream::Progress Stream::advance() {
  if (!in_body_) {
    const Progress progress = take_head();
    if (progress != Progress::message) return progress;
  }
  fill_body();
  if (body_got_ < prefix_.body_len) return Progress::more;
  if (!check_frame_body(prefix_, incoming_.body.bytes())) return Progress::corrupt;
  in_body_ = false;
  return Progress::message;
}

Stream::Progress Stream::take_head() {
  const std::size_t available = end_ - begin_;
  if (available >= kFrameBytes) {
    const std::span<const std::byte, kFrameBytes> raw(&received_[begin_], kFrameBytes);
    const auto prefix = decode_frame(raw);
    if (!prefix) return Progress::corrupt;
    if (available >= kFrameBytes + prefix->head_len) {
      const std::span<const std::byte> head(received_.data() + begin_ + kFrameBytes, prefix->head_len);
      if (!check_frame_head(raw, frames_taken_, head)) return Progress::corrupt;
      Buffer body;
      if (prefix->body_len > 0 && !(body = pool_.allocate(prefix->body_len))) return Progress::no_memory;
      incoming_.head.assign(head.begin(), head.end());
      incoming_.body = std::move(body);
      prefix_ = *prefix;
      begin_ += kFrameBytes + prefix->head_len;
      body_got_ = 0;
      ++frames_taken_;
      in_body_ = true;
      return Progress::message;
    }
  }
  // The next recv wants room for a whole head behind what is here.
  if (begin_ == end_) {
    begin_ = end_ = 0;
  } else if (begin_ + kFrameBytes + Message::kMaxHead > received_.size()) {
    std::memmove(received_.data(), received_.data() + begin_, available);
    begin_ = 0;
    end_ = available;
  }
  return Progress::more;
}

void Stream::fill_body() noexcept {
  const std::size_t bytes = std::min<std::size_t>(end_ - begin_, prefix_.body_len - body_got_);
  if (bytes > 0) std::memcpy(incoming_.body.data() + body_got_, received_.data() + begin_, bytes);
  body_got_ += bytes;
  begin_ += bytes;
  if (begin_ == end_) begin_ = end_ = 0;
}

}  // namespace resilver::uring
