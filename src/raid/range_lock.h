// Range locks over member offsets: shared for reads, exclusive for writes and for windows of rebuild, resync and scrub.
// First come, first served among ranges that overlap, so a read is ordered after the write that it overlaps (rule 8) and
// nobody starves.
#pragma once

#include <coroutine>
#include <cstdint>

#include "async/intrusive_list.h"
#include "async/scheduler.h"
#include "base/planted_bug.h"

namespace resilver::raid {

class RangeLock {
 public:
  // Lives in whoever locks. As a Runnable it is posted when the lock is granted later than in acquire().
  struct Entry : ListHook, Runnable {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    bool exclusive = false;
    bool granted = false;
  };

  explicit RangeLock(Scheduler& scheduler) noexcept : scheduler_(scheduler) {}

  // True: granted at once. False: `entry` will be posted.
  bool acquire(Entry& entry) noexcept;
  void release(Entry& entry) noexcept;
  Scheduler& scheduler() noexcept { return scheduler_; }

 private:
  static bool conflict(const Entry& a, const Entry& b) noexcept {
    return (a.exclusive || b.exclusive) && a.begin < b.end && b.begin < a.end;
  }
  bool blocked(const Entry& entry) noexcept;

  Scheduler& scheduler_;
  IntrusiveList<Entry> entries_;  // held and waiting, in the order of their coming
  std::uint32_t total_ = 0;
  std::uint32_t exclusives_ = 0;
  std::uint32_t waiting_ = 0;
};

// `RangeGuard lock(locks, begin, end, exclusive); co_await lock;`
class RangeGuard : RangeLock::Entry {
 public:
  RangeGuard(RangeLock& lock, std::uint64_t from, std::uint64_t to, bool is_exclusive) noexcept : lock_(lock) {
    begin = from;
    end = to;
    exclusive = is_exclusive;
    run = [](Runnable& self) noexcept { static_cast<RangeGuard&>(self).waiting_.resume(); };
  }
  ~RangeGuard() {
    if (granted && !lock_.scheduler().killed()) lock_.release(*this);
  }

  bool await_ready() noexcept { return lock_.acquire(*this); }
  void await_suspend(std::coroutine_handle<> handle) noexcept { waiting_ = handle; }
  void await_resume() noexcept {}

 private:
  RangeLock& lock_;
  std::coroutine_handle<> waiting_;
};

}  // namespace resilver::raid
