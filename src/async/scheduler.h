// src/async: coroutines, their structured concurrency and the queue that runs them.
//
// One Scheduler runs everything of one node (in the real world: of one ring and thread). Every completion and wake-up goes
// through its queue and never resumes inline, so there is no recursion and the simulator may permute what is ready. This
// room knows nothing of disks, networks or worlds, starts no thread and reads no clock of its own.
#pragma once

#include <coroutine>
#include <cstdint>

#include "async/intrusive_list.h"
#include "base/check.h"
#include "base/time.h"

namespace resilver {

// Something a Scheduler can run once per post(). Lives in whoever waits (usually a coroutine frame) and must stay until it
// has run, or until its scheduler was killed.
struct Runnable {
  using Function = void (*)(Runnable&) noexcept;

  Runnable() noexcept = default;
  explicit Runnable(Function function) noexcept : run(function) {}
  Runnable(const Runnable&) = delete;
  Runnable& operator=(const Runnable&) = delete;

  Function run = nullptr;
  Runnable* next_ready = nullptr;  // the scheduler's
};

// A Runnable that a Scheduler posts at a time. One arming at a time.
struct Timer : Runnable {
  using Runnable::Runnable;

  Nanos at = 0;                // the scheduler's, as are the others
  std::uint64_t sequence = 0;  // ties are broken by the order of arming
  std::uint32_t heap_index = kIdle;
  static constexpr std::uint32_t kIdle = 0xffffffff;
  bool armed() const noexcept { return heap_index != kIdle; }
};

// Something whose owner has gone before the last of its completions came, as that of I/O that a disk still holds: it deletes
// itself with the last one. Until then it belongs to the scheduler, so that it ends with it when none will come any more.
struct LeftBehind : ListHook {
  virtual ~LeftBehind() = default;
};

// Implementations: uring::Ring (real time, one thread), sim::NodeScheduler (virtual time), and test doubles.
// Not thread-safe; all calls from the scheduler's own thread.
class Scheduler {
 public:
  virtual ~Scheduler() = default;

  // Queues `item`; it runs later, never inside this call. Precondition: not queued already.
  // A killed scheduler ignores it.
  virtual void post(Runnable& item) noexcept = 0;

  // This node's monotonic clock, in nanoseconds. It may run fast or slow against other nodes' clocks.
  virtual Nanos now() const noexcept = 0;

  // now(), or a reading of it taken since the loop last turned to the world: for time stamps on every request, where a read
  // of the clock each would cost. Never ahead of now(), behind it at most by what ran since.
  virtual Nanos turn_time() const noexcept { return now(); }

  // Posts `timer` once now() >= at (at once if that is past). Precondition: not armed and not queued.
  virtual void arm(Timer& timer, Nanos at) noexcept = 0;

  // Takes an armed timer back. Returns false if it was not armed (idle, or expired and already queued: it will still run).
  virtual bool disarm(Timer& timer) noexcept = 0;

  // True after the simulator killed this node: nothing runs any more, frames are being destroyed unfinished.
  virtual bool killed() const noexcept { return false; }

  // Takes over what waits for completions and has no owner any more. It unlinks itself when it is deleted.
  void leave_behind(LeftBehind& thing) noexcept { left_behind_.push_back(thing); }
  bool anything_left_behind() const noexcept { return !left_behind_.empty(); }
  // For whoever ends a killed scheduler, before the memory goes that is used here: deletes what waits in vain.
  void end_left_behind() noexcept {
    while (!left_behind_.empty()) delete &left_behind_.front();
  }

 protected:
  void take_left_behind(IntrusiveList<LeftBehind>& into) noexcept {
    while (!left_behind_.empty()) into.push_back(left_behind_.pop_front());
  }

 private:
  IntrusiveList<LeftBehind> left_behind_;
};

// A Runnable base for awaiters: resumes the coroutine that awaits.
struct ResumeTimer : Timer {
  ResumeTimer() noexcept : Timer(&resume) {}
  std::coroutine_handle<> waiting;

  static void resume(Runnable& self) noexcept { static_cast<ResumeTimer&>(self).waiting.resume(); }
};

}  // namespace resilver
