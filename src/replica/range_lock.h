// Locks on byte ranges, first come first served among overlapping ones: keep overlapping writes in order and reads away from
// writes in flight (rule 5). The cost is linear in the requests under way, which are bounded.
//
// A copy to a peer (resync, reconciliation) excludes reads and writes, with one exception: a write that is done here and only
// waits to be acknowledged lets copies pass, because it may be waiting (min_in_sync) for the very peer that is copied to.
// For the same reason a copy overtakes requests that do not hold their lock yet.
#pragma once

#include <coroutine>
#include <cstdint>
#include <utility>

#include "async/intrusive_list.h"
#include "async/sync.h"

namespace resilver::replica {

class RangeLock {
 public:
  explicit RangeLock(Scheduler& scheduler) noexcept : scheduler_(scheduler) {}

  enum class Mode : std::uint8_t { read, write, copy };

  struct Entry : ListHook {
    std::uint64_t begin = 0, end = 0;
    Mode mode = Mode::read;
    bool granted = false;
    bool written = false;
    detail::Waiter* waiter = nullptr;
  };

  // Held until it is destroyed. Lives in a coroutine frame and does not move.
  class Guard {
   public:
    Guard(RangeLock& lock, std::uint64_t offset, std::uint64_t length, Mode mode) noexcept : lock_(lock) {
      entry_.begin = offset;
      entry_.end = offset + length;
      entry_.mode = mode;
    }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;
    ~Guard() { release(); }

    struct Awaiter : detail::Waiter {
      explicit Awaiter(Guard& g) noexcept : Waiter(g.lock_.scheduler_), guard(g) {}
      ~Awaiter() { guard.entry_.waiter = nullptr; }
      bool await_ready() noexcept {
        if (!guard.entry_.linked()) guard.queue();
        return guard.entry_.granted;
      }
      void await_suspend(std::coroutine_handle<> handle) noexcept {
        guard.entry_.waiter = this;
        wait(handle, kNever);
      }
      void await_resume() const noexcept {}
      Guard& guard;
    };
    // Takes the place in the queue, for an acquire() to follow.
    void queue() noexcept { lock_.enqueue(entry_); }
    // Takes the place in the queue, unless that is done, and waits for its turn. Once only.
    Awaiter acquire() noexcept { return Awaiter(*this); }
    // The data of this write is on the device: copies may read it.
    void written() noexcept {
      entry_.written = true;
      lock_.grant(entry_);
    }
    void release() noexcept {
      if (!entry_.linked()) return;
      entry_.unlink();
      lock_.grant(entry_);
    }

   private:
    friend class RangeLock;
    RangeLock& lock_;
    Entry entry_;
  };

  // Anything held or waiting that overlaps.
  bool busy(std::uint64_t offset, std::uint64_t length) noexcept {
    bool found = false;
    entries_.for_each([&](Entry& e) { found = found || (e.begin < offset + length && offset < e.end); });
    return found;
  }

 private:
  static bool conflict(const Entry& a, const Entry& b) noexcept {
    if (a.begin >= b.end || b.begin >= a.end) return false;
    if (a.mode == Mode::copy && b.written) return false;
    if (b.mode == Mode::copy && a.written) return false;
    return a.mode != Mode::read || b.mode != Mode::read;
  }
  // Whether nothing before `entry` stands in its way; for a copy, nothing that holds its lock.
  bool free_for(const Entry& entry) noexcept {
    bool reached = false, free = true;
    entries_.for_each([&](Entry& e) {
      if (&e == &entry) reached = true;
      const bool counts = entry.mode == Mode::copy ? e.granted : !reached || (e.mode == Mode::copy && e.granted);
      if (counts) {
        if (&e != &entry && free && conflict(e, entry)) free = false;
      }
    });
    return free;
  }
  void enqueue(Entry& entry) noexcept {
    entries_.push_back(entry);
    entry.granted = free_for(entry);
  }
  // `by` has left, or lets copies pass: only what overlaps it can have waited for it.
  void grant(const Entry& by) noexcept {
    entries_.for_each([&](Entry& e) {
      if (e.granted || e.begin >= by.end || by.begin >= e.end || !free_for(e)) return;
      e.granted = true;
      if (e.waiter != nullptr) e.waiter->wake();
    });
  }

  Scheduler& scheduler_;
  IntrusiveList<Entry> entries_;
};

}  // namespace resilver::replica
