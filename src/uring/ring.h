// src/uring: THE REAL WORLD behind the seam of src/env: one io_uring per thread as the scheduler, image files and block
// devices as disks, TCP as the network, and the proxies that play the links between real processes.
//
// It may assume Linux 6.1 or newer. It is the only room that includes liburing. It never retries for its clients beyond
// finishing short transfers, EINTR and EAGAIN, never decides what an error means for redundancy, and starts no threads.
//
// This header: the ring. Facts it is built on are in docs (io-uring notes): SINGLE_ISSUER | DEFER_TASKRUN, completions
// are seen only when events are fetched, at most about 20 for one wait, and teardown does not wait for I/O in flight.
#pragma once

#include <poll.h>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "async/scheduler.h"
#include "async/task.h"
#include "base/error.h"
#include "env/buffer.h"

struct io_uring;
struct io_uring_sqe;
struct io_uring_cqe;

namespace resilver::uring {

class Ring;
class Wait;

// One operation of the kernel's. It lives in whoever started it and must stay, with all memory it points to, until
// `complete` was called: once, from the ring's loop, never inside start() (but maybe inside cancel(): see there).
struct Op {
  struct Kind {
    void (*prepare)(Op&, io_uring_sqe&) noexcept;  // fills all of the entry but user_data; called once per start()
    void (*complete)(Op&, int result) noexcept;    // the kernel's result: >= 0, or a negative errno
  };
  explicit Op(const Kind& k) noexcept : kind(&k) {}
  Op(const Op&) = delete;
  Op& operator=(const Op&) = delete;

  const Kind* kind;
  Op* next = nullptr;   // the ring's
  bool queued = false;  // the ring's: waits for a place among those in flight
};

struct RingOptions {
  std::uint32_t queue_depth = 256;     // submission entries: the largest batch for one system call; 8 to 4096
  std::uint32_t max_in_flight = 2048;  // operations in the kernel; more wait in the ring, first come first served
  std::uint32_t max_files = 64;        // registered files
  std::uint32_t workers = 4;           // kernel worker threads for what cannot be done without blocking, of each kind
  BufferPool* pool = nullptr;          // its arena is registered; must outlive the ring
  Nanos end_patience = 5 * kSecond;    // at the end: for what is in the kernel and cannot be cancelled
  // Told, one line and once per kind, what goes on with less than was asked for. Default: a line on standard error.
  void (*notice)(std::string_view line) = nullptr;
  bool tell_slower = true;  // also of what only costs speed
};

// The scheduler of the real world. All calls, from create() to the destructor, on one thread. now() is CLOCK_BOOTTIME, the
// monotonic clock that goes on while the machine sleeps: a lease must not outlive a suspend.
class Ring final : public Scheduler {
 public:
  // Errors: permission (io_uring is forbidden here; the line says what to do), unsupported (kernel too old), limit.
  static Result<std::unique_ptr<Ring>> create(const RingOptions& options);
  // Cancels what can be cancelled and waits for everything in flight, at most end_patience: a disk may never answer. Then it
  // says so, and all memory that the kernel may still use, the pool's too, stays until the process ends.
  ~Ring() override;

  // Runs until the task has ended; may be called again. What others posted meanwhile runs too. CHECKs that something
  // can still happen while it has not ended.
  template <typename T>
  T run(Task<T> task) {
    if constexpr (std::is_void_v<T>) {
      run_until_ended(std::move(task));
    } else {
      std::optional<T> value;
      run_until_ended(store(std::move(task), value));
      return std::move(*value);
    }
  }

  void post(Runnable& item) noexcept override {
    item.next_ready = nullptr;
    *ready_tail_ = &item;
    ready_tail_ = &item.next_ready;
  }
  Nanos now() const noexcept override;
  Nanos turn_time() const noexcept override {
    if (turn_time_ == 0) turn_time_ = now();
    return turn_time_;
  }
  void arm(Timer& timer, Nanos at) noexcept override;
  bool disarm(Timer& timer) noexcept override;

  // Starts an operation: goes to the kernel with the others of this turn of the loop.
  void start(Op& op) noexcept;
  // Asks to end a started operation early. It completes in any case, with -ECANCELED or as if nothing had been asked; if
  // it had not reached the kernel yet, inside this call.
  void cancel(Op& op) noexcept;
  std::size_t in_flight() const noexcept { return in_flight_; }

  // Registered files: a slot for `fd`, or nothing when the table is full (then use the fd itself).
  std::optional<std::uint32_t> register_file(int fd) noexcept;
  void release_file(std::uint32_t slot) noexcept;

  // Index of the registered buffer that holds [data, data + size), -1 if none does.
  int fixed_buffer(const void* data, std::size_t size) const noexcept {
    const auto at = reinterpret_cast<std::uintptr_t>(data);
    return at >= fixed_begin_ && at + size <= fixed_end_ ? 0 : -1;
  }

  // Says `line` unless a line with this `kind` was said before.
  void notice(std::string_view kind, std::string_view line);
  void notice_slower(std::string_view kind, std::string_view line);

  // Waits until poll(2) would give one of `events` for `fd` (a pidfd: POLLIN when the child has ended). Gives revents.
  // Errors: timeout, io. The fd must stay open until then.
  Task<Result<int>> wait_fd(int fd, short events, Nanos deadline = kNever);

 private:
  explicit Ring(const RingOptions& options);
  Status set_up();
  void register_extras();
  void register_arena();
  template <typename T>
  static Task<void> store(Task<T> task, std::optional<T>& value) {
    value.emplace(co_await std::move(task));
  }
  void run_until_ended(Task<void> task);
  void run_ready() noexcept;
  void turn(bool may_wait) noexcept;
  void enter(bool wait, Nanos until = kNever) noexcept;
  bool end_operations() noexcept;
  void forsake() noexcept;
  void reap() noexcept;
  void complete(io_uring_cqe& cqe) noexcept;
  void submit_op(Op& op) noexcept;
  void submit_cancel(std::uint64_t user_data, unsigned flags) noexcept;
  io_uring_sqe& entry() noexcept;
  void expire_timers() noexcept;
  void sift_up(std::size_t index) noexcept;
  void sift_down(std::size_t index) noexcept;
  void place(Timer& timer, std::size_t index) noexcept;

  RingOptions options_;
  std::unique_ptr<io_uring> ring_;
  bool ring_open_ = false;
  int thread_ = 0;
  mutable Nanos turn_time_ = 0;  // 0: not read in this turn
  Runnable* ready_ = nullptr;
  Runnable** ready_tail_ = &ready_;
  std::vector<Timer*> timers_;  // a binary heap by (at, sequence)
  std::uint64_t next_sequence_ = 0;
  std::size_t in_flight_ = 0;  // in the kernel or in the submission queue, cancellations included
  Op* waiting_ = nullptr;      // for a place among max_in_flight
  Op** waiting_tail_ = &waiting_;
  std::vector<std::uint32_t> free_files_;
  std::uintptr_t fixed_begin_ = 0;
  std::uintptr_t fixed_end_ = 0;
  std::vector<std::string> noticed_;
};

// SIGINT, SIGTERM and SIGHUP as something to wait for; they no longer end the process while this lives. One per process, made
// before any child is started (children get the old mask back by reset_signals_in_child()).
class StopSignal {
 public:
  // Blocks both signals for the calling thread and those it starts. Error: limit.
  static Result<std::unique_ptr<StopSignal>> create(Ring& ring);
  ~StopSignal();  // precondition: nobody waits

  // The signal's number; 0 after close().
  Task<int> wait();
  // Whether one has come that nobody waited for.
  static bool pending() noexcept;
  // Ends wait(). Idempotent.
  void close() noexcept;

  // Between fork and exec: async-signal-safe.
  static void reset_signals_in_child() noexcept;

 private:
  StopSignal(Ring& ring, int fd) noexcept : ring_(ring), fd_(fd) {}
  Ring& ring_;
  int fd_;
  bool closed_ = false;
  Wait* waiting_ = nullptr;
};

}  // namespace resilver::uring
