// One operation of the ring, awaited by a coroutine in whose frame it lives; taken back at a deadline. For sockets and polls;
// block I/O has leaner operations of its own (image.cc).
#pragma once

#include <cerrno>
#include <coroutine>
#include <cstdint>

#include "uring/ring.h"

namespace resilver::uring {

class Wait : public Op, public Timer {
 public:
  // `int result = co_await Wait::recv(...)`: >= 0 or a negative errno; -ETIME when the deadline came first and nothing
  // had happened.
  static Wait poll(Ring& ring, int fd, short events, Nanos deadline) noexcept;
  static Wait recv(Ring& ring, int fd, void* to, std::size_t size, int flags, Nanos deadline) noexcept;
  static Wait send(Ring& ring, int fd, const void* from, std::size_t size, int flags, Nanos deadline) noexcept;
  static Wait connect(Ring& ring, int fd, const void* address, std::uint32_t size, Nanos deadline) noexcept;
  static Wait accept(Ring& ring, int fd) noexcept;

  // Ends it early; the awaiter gets -ECANCELED (or a result that was faster).
  void cancel() noexcept {
    if (!done_) ring_.cancel(*this);
  }

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) noexcept {
    waiting_ = handle;
    ring_.start(*this);
    if (deadline_ != kNever) ring_.arm(*this, deadline_);
  }
  int await_resume() const noexcept { return timer_ran_ && result_ == -ECANCELED ? -ETIME : result_; }

 private:
  struct Fields {  // of the submission entry
    std::uint8_t opcode;
    std::uint64_t address = 0;
    std::uint32_t length = 0;
    std::uint64_t offset = 0;
    std::uint32_t flags = 0;
  };
  Wait(Ring& ring, int fd, const Fields& fields, Nanos deadline) noexcept
      : Op(kKind), Timer(&run_timer), ring_(ring), deadline_(deadline), fields_(fields), fd_(fd) {}
  static void prepare_op(Op& op, io_uring_sqe& entry) noexcept;
  static void complete_op(Op& op, int result) noexcept;
  static void run_timer(Runnable& self) noexcept;
  static const Kind kKind;

  Ring& ring_;
  Nanos deadline_;
  std::coroutine_handle<> waiting_;
  Fields fields_;
  int fd_;
  int result_ = 0;
  bool done_ = false;
  bool timer_ran_ = false;
};

}  // namespace resilver::uring
