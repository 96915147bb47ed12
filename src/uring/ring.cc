#include "uring/ring.h"

#include <fmt/format.h>
#include <liburing.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "async/task_group.h"
#include "base/log.h"
#include "uring/wait.h"

namespace resilver::uring {
namespace {

constexpr int kReadyBatch = 256;                              // items run before new I/O goes to the kernel
constexpr std::size_t kMaxRegistered = std::size_t{1} << 30;  // the kernel's limit for one registered buffer

int current_thread() noexcept { return static_cast<int>(syscall(SYS_gettid)); }

bool earlier(const Timer& a, const Timer& b) noexcept { return a.at != b.at ? a.at < b.at : a.sequence < b.sequence; }

Error set_up_error(int error) {
  switch (error) {
    case EPERM:
    case EACCES:
      return {Errc::permission,
              "io_uring is forbidden here: set kernel.io_uring_disabled=0, or in a container allow the io_uring system "
              "calls (seccomp); --time virtual needs none"};
    case ENOSYS:
      return {
          Errc::unsupported,
          "io_uring is not in this kernel, or a container hides it: allow the io_uring system calls (seccomp) or use "
          "Linux 6.1 or newer; --time virtual needs none"};
    case EINVAL:
      return {Errc::unsupported,
              "this kernel's io_uring is too old: use Linux 6.1 or newer; --time virtual needs none"};
    case ENOMEM:
      return {
          Errc::limit,
          "no memory for an io_uring: raise the limits of locked memory (ulimit -l) and of address space (ulimit -v); "
          "--time virtual needs none"};
    case EMFILE:
    case ENFILE: return {Errc::limit, "no file descriptor for an io_uring: raise the limit of open files (ulimit -n)"};
    default: return {Errc::io, fmt::format("io_uring cannot be set up: {}", std::strerror(error))};
  }
}

}  // namespace

Result<std::unique_ptr<Ring>> Ring::create(const RingOptions& options) {
  CHECK(options.queue_depth >= 8 && options.queue_depth <= 4096 && options.max_in_flight >= 1);
  std::unique_ptr<Ring> ring(new Ring(options));
  if (auto status = ring->set_up(); !status) return std::unexpected(status.error());
  ring->register_extras();
  return ring;
}

Ring::Ring(const RingOptions& options) : options_(options), ring_(new io_uring), thread_(current_thread()) {}

Status Ring::set_up() {
  io_uring_params parameters{};
  parameters.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                     IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
  // Room for every operation in flight and as many cancellations, so that the completion queue cannot overflow.
  parameters.cq_entries = std::max(options_.max_in_flight, options_.queue_depth) * 2;
  const int error = -io_uring_queue_init_params(options_.queue_depth, ring_.get(), &parameters);
  if (error != 0) return std::unexpected(set_up_error(error));
  ring_open_ = true;
  return {};
}

void Ring::register_extras() {
  io_uring_register_ring_fd(ring_.get());  // saves a look-up for each system call; works without
  unsigned workers[2] = {options_.workers, options_.workers};
  if (io_uring_register_iowq_max_workers(ring_.get(), workers) != 0) {
    notice_slower("workers", "io_uring: the number of kernel workers cannot be limited here");
  }
  if (io_uring_register_files_sparse(ring_.get(), options_.max_files) == 0) {
    for (std::uint32_t slot = options_.max_files; slot-- > 0;) free_files_.push_back(slot);
  } else {
    notice_slower("files", "io_uring: files cannot be registered here; going on without");
  }
  if (options_.pool != nullptr) register_arena();
}

void Ring::register_arena() {
  auto arena = options_.pool->arena();
  arena = arena.first(std::min(arena.size(), kMaxRegistered));
  madvise(arena.data(), arena.size(), MADV_HUGEPAGE);  // fewer pages to pin and to walk; a hint
  iovec vector{arena.data(), arena.size()};
  const int error = -io_uring_register_buffers(ring_.get(), &vector, 1);
  if (error != 0) {
    notice_slower(
        "buffers",
        fmt::format("io_uring: {} MiB of buffers cannot be registered ({}); going on with unregistered ones{}",
                    arena.size() >> 20, std::strerror(error),
                    error == ENOMEM ? " (ulimit -l limits locked memory)" : ""));
    return;
  }
  fixed_begin_ = reinterpret_cast<std::uintptr_t>(arena.data());
  fixed_end_ = fixed_begin_ + arena.size();
}

Ring::~Ring() {
  if (!ring_open_) return;
  CHECK(thread_ == current_thread(), "a ring belongs to the thread that made it");
  if (!end_operations()) forsake();
  CHECK(timers_.empty(), "a timer outlives its scheduler");
  io_uring_queue_exit(ring_.get());
}

// False: some did not end in time.
bool Ring::end_operations() noexcept {
  const Nanos deadline = now() + options_.end_patience;
  bool cancelled = false;
  while (in_flight_ > 0 || waiting_ != nullptr || ready_ != nullptr) {
    while (waiting_ != nullptr) cancel(*waiting_);
    if (in_flight_ > 0 && !cancelled) submit_cancel(0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
    cancelled = true;
    if (in_flight_ > 0) {
      if (now() >= deadline) return false;
      enter(ready_ == nullptr, deadline);
      reap();
      expire_timers();
    }
    if (ready_ == nullptr) continue;
    run_ready();
    cancelled = false;  // what ran may have started more
  }
  return true;
}

// What the kernel has in its hands must not be freed, and nobody is there any more who could wait.
void Ring::forsake() noexcept {
  notice("forsaken", fmt::format("{} operations do not end: a disk does not answer; ends without them", in_flight_));
  static IntrusiveList<LeftBehind> forsaken;
  take_left_behind(forsaken);
  if (options_.pool != nullptr) options_.pool->keep();
}

Nanos Ring::now() const noexcept {
  timespec time;
  clock_gettime(CLOCK_BOOTTIME, &time);
  return static_cast<Nanos>(time.tv_sec) * kSecond + time.tv_nsec;
}

// ---- the loop --------------------------------------------------------------------------------------------------------

void Ring::run_until_ended(Task<void> task) {
  CHECK(thread_ == current_thread(), "a ring belongs to the thread that made it");
  TaskGroup root(*this);
  root.spawn(std::move(task));
  turn_time_ = 0;
  while (root.running() != 0) {
    run_ready();
    if (root.running() == 0) break;
    CHECK(ready_ != nullptr || in_flight_ > 0 || !timers_.empty(), "every task waits and nothing can wake one");
    turn(true);
  }
}

void Ring::run_ready() noexcept {
  for (int i = 0; i < kReadyBatch && ready_ != nullptr; ++i) {
    Runnable& item = *ready_;
    ready_ = item.next_ready;
    if (ready_ == nullptr) ready_tail_ = &ready_;
    item.run(item);
  }
}

// Gives the kernel what the tasks have started since the last turn, and the tasks what has happened: one system call.
void Ring::turn(bool may_wait) noexcept {
  enter(may_wait && ready_ == nullptr);
  turn_time_ = 0;
  reap();
  expire_timers();
}

void Ring::enter(bool wait, Nanos until) noexcept {
  int result = 0;
  if (!wait) {
    // Deferred completions are run only on request; the flag tells whether there are any.
    const bool deferred = (IO_URING_READ_ONCE(*ring_->sq.kflags) & IORING_SQ_TASKRUN) != 0;
    if (io_uring_sq_ready(ring_.get()) == 0 && !deferred) return;
    result = io_uring_submit_and_get_events(ring_.get());
  } else if (timers_.empty() && until == kNever) {
    result = io_uring_submit_and_wait(ring_.get(), 1);
  } else {
    if (!timers_.empty()) until = std::min(until, timers_.front()->at);
    const Nanos left = std::max<Nanos>(until - now(), 0);
    __kernel_timespec timeout{left / kSecond, left % kSecond};
    io_uring_cqe* first;
    result = io_uring_submit_and_wait_timeout(ring_.get(), &first, 1, &timeout, nullptr);
  }
  // -EAGAIN and -EBUSY: the kernel is short of memory for requests; what was not taken stays in the submission queue.
  CHECK(result >= 0 || result == -ETIME || result == -EINTR || result == -EAGAIN || result == -EBUSY,
        "io_uring_enter failed");
}

void Ring::reap() noexcept {
  io_uring_cqe* cqe;
  while (io_uring_peek_cqe(ring_.get(), &cqe) == 0) complete(*cqe);
}

void Ring::complete(io_uring_cqe& cqe) noexcept {
  auto* op = reinterpret_cast<Op*>(cqe.user_data);
  const int result = cqe.res;
  io_uring_cqe_seen(ring_.get(), &cqe);
  CHECK(in_flight_ > 0);
  --in_flight_;
  if (op != nullptr) op->kind->complete(*op, result);  // null: a cancellation's own completion
  while (waiting_ != nullptr && in_flight_ < options_.max_in_flight) {
    Op& next = *waiting_;
    waiting_ = next.next;
    if (waiting_ == nullptr) waiting_tail_ = &waiting_;
    next.queued = false;
    submit_op(next);
  }
}

// ---- operations ------------------------------------------------------------------------------------------------------

void Ring::start(Op& op) noexcept {
  if (in_flight_ < options_.max_in_flight && waiting_ == nullptr) {
    submit_op(op);
    return;
  }
  op.next = nullptr;
  op.queued = true;
  *waiting_tail_ = &op;
  waiting_tail_ = &op.next;
}

void Ring::submit_op(Op& op) noexcept {
  io_uring_sqe& sqe = entry();
  op.kind->prepare(op, sqe);
  sqe.user_data = reinterpret_cast<std::uintptr_t>(&op);
  ++in_flight_;
}

// A free submission entry. The queue is full once in queue_depth operations of one turn: then they go to the kernel early.
// Completions are not looked at here, since some of them start operations themselves.
io_uring_sqe& Ring::entry() noexcept {
  io_uring_sqe* sqe = io_uring_get_sqe(ring_.get());
  for (int tries = 0; sqe == nullptr; ++tries) {
    CHECK(tries < 10'000, "the kernel takes no more operations");
    io_uring_submit(ring_.get());
    sqe = io_uring_get_sqe(ring_.get());
  }
  return *sqe;
}

void Ring::cancel(Op& op) noexcept {
  if (op.queued) {
    Op** at = &waiting_;
    while (*at != &op) at = &(*at)->next;
    *at = op.next;
    if (op.next == nullptr) waiting_tail_ = at;
    op.queued = false;
    op.kind->complete(op, -ECANCELED);
    return;
  }
  // The address is free for another operation only after this one's completion was seen, which comes after the kernel has
  // taken the cancellation, or found it too late: so it can hit no other.
  submit_cancel(reinterpret_cast<std::uintptr_t>(&op), 0);
}

void Ring::submit_cancel(std::uint64_t user_data, unsigned flags) noexcept {
  io_uring_sqe& sqe = entry();
  io_uring_prep_cancel64(&sqe, user_data, static_cast<int>(flags));
  sqe.user_data = 0;
  ++in_flight_;
}

std::optional<std::uint32_t> Ring::register_file(int fd) noexcept {
  if (free_files_.empty()) return std::nullopt;
  const std::uint32_t slot = free_files_.back();
  if (io_uring_register_files_update(ring_.get(), slot, &fd, 1) != 1) return std::nullopt;
  free_files_.pop_back();
  return slot;
}

void Ring::release_file(std::uint32_t slot) noexcept {
  const int none = -1;
  io_uring_register_files_update(ring_.get(), slot, &none, 1);
  free_files_.push_back(slot);
}

void Ring::notice(std::string_view kind, std::string_view line) {
  if (std::find(noticed_.begin(), noticed_.end(), kind) != noticed_.end()) return;
  noticed_.emplace_back(kind);
  if (options_.notice != nullptr) {
    options_.notice(line);
  } else {
    log_info("{}", line);
  }
}

void Ring::notice_slower(std::string_view kind, std::string_view line) {
  if (options_.tell_slower) notice(kind, line);
}

Task<Result<int>> Ring::wait_fd(int fd, short events, Nanos deadline) {
  const int result = co_await Wait::poll(*this, fd, events, deadline);
  if (result == -ETIME) co_return fail(Errc::timeout);
  if (result < 0) co_return fail(Errc::io, fmt::format("poll: {}", std::strerror(-result)));
  co_return result;
}

// ---- timers ----------------------------------------------------------------------------------------------------------

void Ring::arm(Timer& timer, Nanos at) noexcept {
  CHECK(!timer.armed(), "armed twice");
  timer.at = at;
  timer.sequence = next_sequence_++;
  timers_.push_back(&timer);
  timer.heap_index = static_cast<std::uint32_t>(timers_.size() - 1);
  sift_up(timers_.size() - 1);
}

bool Ring::disarm(Timer& timer) noexcept {
  if (!timer.armed()) return false;
  const std::size_t index = timer.heap_index;
  timer.heap_index = Timer::kIdle;
  Timer& last = *timers_.back();
  timers_.pop_back();
  if (&last != &timer) {
    place(last, index);
    sift_up(index);
    sift_down(last.heap_index);
  }
  return true;
}

void Ring::expire_timers() noexcept {
  if (timers_.empty()) return;
  const Nanos time = now();
  while (!timers_.empty() && timers_.front()->at <= time) {
    Timer& timer = *timers_.front();
    disarm(timer);
    post(timer);
  }
}

void Ring::place(Timer& timer, std::size_t index) noexcept {
  timers_[index] = &timer;
  timer.heap_index = static_cast<std::uint32_t>(index);
}

void Ring::sift_up(std::size_t index) noexcept {
  Timer& timer = *timers_[index];
  while (index > 0) {
    const std::size_t parent = (index - 1) / 2;
    if (!earlier(timer, *timers_[parent])) break;
    place(*timers_[parent], index);
    index = parent;
  }
  place(timer, index);
}

void Ring::sift_down(std::size_t index) noexcept {
  Timer& timer = *timers_[index];
  for (;;) {
    std::size_t child = 2 * index + 1;
    if (child >= timers_.size()) break;
    if (child + 1 < timers_.size() && earlier(*timers_[child + 1], *timers_[child])) ++child;
    if (!earlier(*timers_[child], timer)) break;
    place(*timers_[child], index);
    index = child;
  }
  place(timer, index);
}

// ---- signals ---------------------------------------------------------------------------------------------------------

namespace {

sigset_t stop_signals() noexcept {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGHUP);
  return set;
}

}  // namespace

Result<std::unique_ptr<StopSignal>> StopSignal::create(Ring& ring) {
  const sigset_t set = stop_signals();
  const int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd < 0) return fail(Errc::limit, fmt::format("signalfd: {}", std::strerror(errno)));
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return std::unique_ptr<StopSignal>(new StopSignal(ring, fd));
}

StopSignal::~StopSignal() {
  CHECK(waiting_ == nullptr, "somebody waits for a signal");
  ::close(fd_);
  reset_signals_in_child();
}

Task<int> StopSignal::wait() {
  while (!closed_) {
    signalfd_siginfo info;
    if (::read(fd_, &info, sizeof info) == static_cast<ssize_t>(sizeof info))
      co_return static_cast<int>(info.ssi_signo);
    Wait poll = Wait::poll(ring_, fd_, POLLIN, kNever);
    waiting_ = &poll;
    co_await poll;
    waiting_ = nullptr;
  }
  co_return 0;
}

bool StopSignal::pending() noexcept {
  sigset_t pending;
  return sigpending(&pending) == 0 && (sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGTERM) == 1);
}

void StopSignal::close() noexcept {
  closed_ = true;
  if (waiting_ != nullptr) waiting_->cancel();
}

void StopSignal::reset_signals_in_child() noexcept {
  const sigset_t set = stop_signals();
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace resilver::uring
