// What a TCP connection consists of, apart from the Connection object: it lives until the last operation that uses it has
// ended. Inside src/uring only.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "async/sync.h"
#include "env/frame.h"
#include "env/network.h"
#include "uring/ring.h"

namespace resilver::uring {

class Stream {
 public:
  // Takes over the fd. `live` counts the streams of a network.
  Stream(Ring& ring, BufferPool& pool, int fd, std::shared_ptr<std::uint32_t> live);
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void retain() noexcept { ++references_; }
  void release() noexcept {
    if (--references_ == 0) delete this;
  }

  Task<Status> send(Message message, Nanos deadline);
  Task<Result<Message>> receive(Nanos deadline);
  void close() noexcept;

 private:
  static constexpr std::size_t kMaxPieces = 64;  // of one sendmsg
  // Room for the largest head, and for what else comes with one recv.
  static constexpr std::size_t kReceiveBytes = kFrameBytes + Message::kMaxHead + 32 * 1024;
  static constexpr std::size_t kDirectBytes = 16 * 1024;  // what is missing of a body is received in place from here on

  struct Outgoing {
    Message message;
    std::array<std::byte, kFrameBytes> prefix;
    std::size_t bytes() const noexcept { return wire_bytes(message); }
  };
  struct SendOp : Op {
    explicit SendOp(Stream& owner) noexcept : Op(kKind), stream(owner) {}
    static void prepare_op(Op& op, io_uring_sqe& entry) noexcept;
    static void complete_op(Op& op, int result) noexcept;
    static const Kind kKind;
    Stream& stream;
  };
  struct Kick : Runnable {
    explicit Kick(Stream& owner) noexcept : Runnable(&run_kick), stream(owner) {}
    static void run_kick(Runnable& self) noexcept;
    Stream& stream;
  };
  enum class Progress : std::uint8_t { message, more, no_memory, corrupt };

  ~Stream();
  bool has_room() const noexcept;
  void start_sending() noexcept;
  void sending_ended(int result) noexcept;
  void gather() noexcept;
  void sent(std::size_t bytes) noexcept;
  Progress advance();
  Progress take_head();
  void fill_body() noexcept;

  Ring& ring_;
  BufferPool& pool_;
  int fd_;
  std::shared_ptr<std::uint32_t> live_;
  std::uint32_t references_ = 0;
  bool closed_ = false;

  std::deque<Outgoing> outgoing_;
  std::size_t outgoing_bytes_ = 0;
  std::uint32_t frames_sent_ = 0, frames_taken_ = 0;  // of the next ones: their numbers
  std::size_t front_sent_ = 0;                        // of the first message
  bool sending_ = false;
  bool kicked_ = false;
  SendOp send_op_;
  Kick kick_;
  Event room_;
  msghdr header_ = {};
  std::array<iovec, kMaxPieces> pieces_;

  bool receiving_ = false;
  std::vector<std::byte> received_;
  std::size_t begin_ = 0;  // what of received_ is not used yet
  std::size_t end_ = 0;
  bool in_body_ = false;  // the head of incoming_ is complete, its body misses bytes from body_got_ on
  FramePrefix prefix_;
  Message incoming_;
  std::size_t body_got_ = 0;
};

class StreamRef {
 public:
  explicit StreamRef(Stream& stream) noexcept : stream_(&stream) { stream.retain(); }
  StreamRef(StreamRef&& other) noexcept : stream_(std::exchange(other.stream_, nullptr)) {}
  StreamRef& operator=(StreamRef&&) = delete;
  ~StreamRef() {
    if (stream_ != nullptr) stream_->release();
  }
  Stream* operator->() const noexcept { return stream_; }

 private:
  Stream* stream_;
};

}  // namespace resilver::uring
