// What tasks wait for: events, semaphores, locks, queues and time. Every wake-up goes through the scheduler's queue; waiters
// are served in the order of their coming. Cancellation is an Event that tells to stop, waited for with a deadline or
// checked after each co_await: there is no second mechanism.
#pragma once

#include <coroutine>
#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

#include "async/intrusive_list.h"
#include "async/scheduler.h"
#include "async/task.h"

namespace resilver {

namespace detail {

struct Waiter : ListHook, ResumeTimer {
  explicit Waiter(Scheduler& s) noexcept : scheduler(s) {}
  ~Waiter() {
    if (armed() && !scheduler.killed()) scheduler.disarm(*this);
  }
  // Wakes the waiter once, whether or not a deadline was armed and even if that just expired.
  void wake() noexcept {
    unlink();
    woken = true;
    if (!has_deadline || scheduler.disarm(*this)) scheduler.post(*this);
  }
  void wait(std::coroutine_handle<> handle, Nanos deadline) noexcept {
    waiting = handle;
    if (deadline == kNever) return;
    has_deadline = true;
    scheduler.arm(*this, deadline);
  }

  Scheduler& scheduler;
  bool has_deadline = false;
  bool woken = false;
};

}  // namespace detail

// Sleeps until the scheduler's clock reads `at`; yields once if that is past.
struct SleepUntil : ResumeTimer {
  SleepUntil(Scheduler& s, Nanos at_time) noexcept : scheduler(s), wake_at(at_time) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) noexcept {
    waiting = handle;
    scheduler.arm(*this, wake_at);
  }
  void await_resume() const noexcept {}
  Scheduler& scheduler;
  Nanos wake_at;
};

inline SleepUntil sleep_until(Scheduler& scheduler, Nanos at) noexcept { return {scheduler, at}; }
inline SleepUntil sleep_for(Scheduler& scheduler, Nanos duration) noexcept {
  return {scheduler, scheduler.now() + duration};
}

// Lets everything that is ready run first.
struct Yield : ResumeTimer {
  explicit Yield(Scheduler& s) noexcept : scheduler(s) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) noexcept {
    waiting = handle;
    scheduler.post(*this);
  }
  void await_resume() const noexcept {}
  Scheduler& scheduler;
};
inline Yield yield(Scheduler& scheduler) noexcept { return Yield(scheduler); }

// Manual-reset event. set() wakes all who wait and lets everyone pass until reset().
class Event {
 public:
  explicit Event(Scheduler& scheduler) noexcept : scheduler_(scheduler) {}

  bool is_set() const noexcept { return set_; }
  void set() noexcept {
    set_ = true;
    wake_all();
  }
  void reset() noexcept { set_ = false; }
  // Wakes those who wait now and leaves the event as it is: for conditions that the woken check again.
  void wake_all() noexcept {
    while (!waiters_.empty()) waiters_.front().wake();
  }

  struct Awaiter : detail::Waiter {
    Awaiter(Event& e, Nanos d) noexcept : Waiter(e.scheduler_), event(e), deadline(d) {}
    bool await_ready() const noexcept { return event.set_; }
    void await_suspend(std::coroutine_handle<> handle) noexcept {
      event.waiters_.push_back(*this);
      wait(handle, deadline);
    }
    // True if the event was set or its waiters were woken, false if the deadline came first.
    bool await_resume() noexcept {
      unlink();
      return woken || event.set_;
    }
    Event& event;
    Nanos deadline;
  };

  // Waits until the event is set (or wake_all), at most until `deadline` on the scheduler's clock.
  Awaiter wait_until(Nanos deadline) noexcept { return Awaiter(*this, deadline); }
  Awaiter wait() noexcept { return Awaiter(*this, kNever); }

 private:
  Scheduler& scheduler_;
  bool set_ = false;
  IntrusiveList<detail::Waiter> waiters_;
};

// Counting semaphore, first come first served: a large request is not overtaken by small ones.
class Semaphore {
 public:
  Semaphore(Scheduler& scheduler, std::size_t units) noexcept : scheduler_(scheduler), available_(units) {}

  std::size_t available() const noexcept { return available_; }

  bool try_acquire(std::size_t units = 1) noexcept {
    if (!waiters_.empty() || available_ < units) return false;
    available_ -= units;
    return true;
  }
  void release(std::size_t units = 1) noexcept {
    available_ += units;
    while (!waiters_.empty() && static_cast<Awaiter&>(waiters_.front()).units <= available_) {
      auto& waiter = static_cast<Awaiter&>(waiters_.front());
      available_ -= waiter.units;
      waiter.wake();
    }
  }

  struct Awaiter : detail::Waiter {
    Awaiter(Semaphore& s, std::size_t n) noexcept : Waiter(s.scheduler_), semaphore(s), units(n) {}
    bool await_ready() noexcept { return semaphore.try_acquire(units); }
    void await_suspend(std::coroutine_handle<> handle) noexcept {
      semaphore.waiters_.push_back(*this);
      wait(handle, kNever);
    }
    void await_resume() const noexcept {}
    Semaphore& semaphore;
    std::size_t units;
  };
  Awaiter acquire(std::size_t units = 1) noexcept { return Awaiter(*this, units); }

 private:
  Scheduler& scheduler_;
  std::size_t available_;
  IntrusiveList<detail::Waiter> waiters_;
};

// Releases semaphore units at the end of a scope: `co_await s.acquire(n); SemaphoreGuard guard(s, n);`
class SemaphoreGuard {
 public:
  explicit SemaphoreGuard(Semaphore& semaphore, std::size_t units = 1) noexcept
      : semaphore_(&semaphore), units_(units) {}
  SemaphoreGuard(SemaphoreGuard&& other) noexcept
      : semaphore_(std::exchange(other.semaphore_, nullptr)), units_(other.units_) {}
  SemaphoreGuard& operator=(SemaphoreGuard&&) = delete;
  ~SemaphoreGuard() {
    if (semaphore_ != nullptr) semaphore_->release(units_);
  }

 private:
  Semaphore* semaphore_;
  std::size_t units_;
};

// Mutual exclusion among the tasks of one scheduler: `co_await m.acquire(); SemaphoreGuard guard(m);`
class Mutex : public Semaphore {
 public:
  explicit Mutex(Scheduler& scheduler) noexcept : Semaphore(scheduler, 1) {}
};

// Bounded queue between tasks. After close(), push is refused and pop gives what is left, then nothing.
template <typename T>
class Channel {
 public:
  Channel(Scheduler& scheduler, std::size_t capacity) noexcept
      : capacity_(capacity), readable_(scheduler), writable_(scheduler) {}

  std::size_t size() const noexcept { return items_.size(); }
  bool closed() const noexcept { return closed_; }

  bool try_push(T&& item) {
    if (closed_ || items_.size() >= capacity_) return false;
    items_.push_back(std::move(item));
    readable_.wake_all();
    return true;
  }
  // False if the channel was closed before the item was taken in.
  Task<bool> push(T item) {
    while (!closed_ && items_.size() >= capacity_) co_await writable_.wait();
    co_return try_push(std::move(item));
  }
  std::optional<T> try_pop() {
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    writable_.wake_all();
    return item;
  }
  // Nothing when the channel is closed and empty, or when `deadline` has passed.
  Task<std::optional<T>> pop(Nanos deadline = kNever) {
    while (items_.empty() && !closed_) {
      if (!co_await readable_.wait_until(deadline)) break;
    }
    co_return try_pop();
  }
  void close() noexcept {
    closed_ = true;
    readable_.wake_all();
    writable_.wake_all();
  }

 private:
  std::size_t capacity_;
  std::deque<T> items_;
  bool closed_ = false;
  Event readable_;
  Event writable_;
};

}  // namespace resilver
