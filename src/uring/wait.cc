#include "uring/wait.h"

#include <liburing.h>

#include <algorithm>

namespace resilver::uring {
namespace {

std::uint64_t address_of(const void* memory) noexcept { return reinterpret_cast<std::uintptr_t>(memory); }

}  // namespace

constinit const Op::Kind Wait::kKind = {&Wait::prepare_op, &Wait::complete_op};

Wait Wait::poll(Ring& ring, int fd, short events, Nanos deadline) noexcept {
  return Wait(ring, fd, {.opcode = IORING_OP_POLL_ADD, .flags = static_cast<std::uint16_t>(events)}, deadline);
}

Wait Wait::recv(Ring& ring, int fd, void* to, std::size_t size, int flags, Nanos deadline) noexcept {
  const auto length = static_cast<std::uint32_t>(std::min<std::size_t>(size, 1u << 30));
  return Wait(
      ring, fd,
      {.opcode = IORING_OP_RECV, .address = address_of(to), .length = length, .flags = static_cast<std::uint32_t>(flags)},
      deadline);
}

Wait Wait::send(Ring& ring, int fd, const void* from, std::size_t size, int flags, Nanos deadline) noexcept {
  const auto length = static_cast<std::uint32_t>(std::min<std::size_t>(size, 1u << 30));
  return Wait(ring, fd,
              {.opcode = IORING_OP_SEND,
               .address = address_of(from),
               .length = length,
               .flags = static_cast<std::uint32_t>(flags)},
              deadline);
}

Wait Wait::connect(Ring& ring, int fd, const void* address, std::uint32_t size, Nanos deadline) noexcept {
  return Wait(ring, fd, {.opcode = IORING_OP_CONNECT, .address = address_of(address), .offset = size}, deadline);
}

Wait Wait::accept(Ring& ring, int fd) noexcept {
  return Wait(ring, fd, {.opcode = IORING_OP_ACCEPT, .flags = SOCK_CLOEXEC}, kNever);
}

void Wait::prepare_op(Op& op, io_uring_sqe& entry) noexcept {
  const auto& self = static_cast<Wait&>(op);
  io_uring_prep_rw(self.fields_.opcode, &entry, self.fd_, nullptr, self.fields_.length, self.fields_.offset);
  entry.addr = self.fields_.address;
  entry.rw_flags = static_cast<__kernel_rwf_t>(self.fields_.flags);  // the same place for all opcodes used here
}

// The timer is also what resumes the coroutine. When it has expired but not run yet, it is queued already and will.
void Wait::complete_op(Op& op, int result) noexcept {
  auto& self = static_cast<Wait&>(op);
  self.result_ = result;
  self.done_ = true;
  if (self.deadline_ == kNever || self.timer_ran_ || self.ring_.disarm(self)) self.ring_.post(self);
}

void Wait::run_timer(Runnable& runnable) noexcept {
  auto& self = static_cast<Wait&>(runnable);
  if (self.done_) {
    self.waiting_.resume();
    return;
  }
  self.timer_ran_ = true;
  self.ring_.cancel(self);
}

}  // namespace resilver::uring
